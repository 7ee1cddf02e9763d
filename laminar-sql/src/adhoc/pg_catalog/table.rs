//! Building a small relation column by column.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Int16Array, Int16Builder, Int32Array, Int32Builder, Int64Array, ListBuilder,
    RecordBatch, RecordBatchOptions, StringArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;

/// A relation in the making; every column must have as many values as there are rows.
pub struct Table {
    rows: usize,
    fields: Vec<Field>,
    columns: Vec<ArrayRef>,
}

/// The type of a column of a relation that is always empty.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// An object number.
    Oid,
    /// A text, a name or a `"char"`.
    Text,
    /// A truth value.
    Bool,
    /// A small number.
    Short,
    /// A number.
    Int,
    /// A big number.
    Long,
}

impl Table {
    /// A relation of so many rows.
    pub fn new(rows: usize) -> Self {
        Self { rows, fields: Vec::new(), columns: Vec::new() }
    }

    fn column(mut self, name: &str, column: ArrayRef) -> Self {
        self.fields.push(Field::new(name, column.data_type().clone(), true));
        self.columns.push(column);
        self
    }

    /// Object numbers; announced to clients as such.
    pub fn oid(mut self, name: &str, values: impl IntoIterator<Item = u32>) -> Self {
        let column = Arc::new(Int32Array::from_iter_values(values.into_iter().map(|v| v as i32)));
        let tag = HashMap::from([("pg.oid_alias".to_owned(), "oid".to_owned())]);
        self.fields.push(Field::new(name, DataType::Int32, true).with_metadata(tag));
        self.columns.push(column);
        self
    }

    /// The same object number in every row.
    pub fn same_oid(self, name: &str, value: u32) -> Self {
        let rows = self.rows;
        self.oid(name, std::iter::repeat_n(value, rows))
    }

    /// Texts.
    pub fn text<T: Into<String>>(self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        self.column(name, Arc::new(StringArray::from_iter_values(values.into_iter().map(Into::into))))
    }

    /// Texts that may be NULL.
    pub fn optional(self, name: &str, values: impl IntoIterator<Item = Option<String>>) -> Self {
        self.column(name, Arc::new(values.into_iter().collect::<StringArray>()))
    }

    /// The same text in every row.
    pub fn same(self, name: &str, value: &str) -> Self {
        let rows = self.rows;
        self.text(name, std::iter::repeat_n(value, rows))
    }

    /// NULL texts.
    pub fn null(self, name: &str) -> Self {
        let rows = self.rows;
        self.column(name, new_null_array(&DataType::Utf8, rows))
    }

    /// NULL lists of texts.
    pub fn null_list(self, name: &str) -> Self {
        let rows = self.rows;
        self.column(name, new_null_array(&DataType::new_list(DataType::Utf8, true), rows))
    }

    /// Truth values.
    pub fn flag(self, name: &str, values: impl IntoIterator<Item = bool>) -> Self {
        self.column(name, Arc::new(values.into_iter().map(Some).collect::<BooleanArray>()))
    }

    /// The same truth value in every row, under several names.
    pub fn flags(self, names: &[&str], value: bool) -> Self {
        let rows = self.rows;
        names.iter().fold(self, |table, name| table.flag(name, std::iter::repeat_n(value, rows)))
    }

    /// Small numbers.
    pub fn short(self, name: &str, values: impl IntoIterator<Item = i16>) -> Self {
        self.column(name, Arc::new(Int16Array::from_iter_values(values)))
    }

    /// The same small number in every row.
    pub fn same_short(self, name: &str, value: i16) -> Self {
        let rows = self.rows;
        self.short(name, std::iter::repeat_n(value, rows))
    }

    /// Numbers.
    pub fn int(self, name: &str, values: impl IntoIterator<Item = i32>) -> Self {
        self.column(name, Arc::new(Int32Array::from_iter_values(values)))
    }

    /// The same number in every row.
    pub fn same_int(self, name: &str, value: i32) -> Self {
        let rows = self.rows;
        self.int(name, std::iter::repeat_n(value, rows))
    }

    /// Numbers that may be NULL.
    pub fn optional_int(self, name: &str, values: impl IntoIterator<Item = Option<i32>>) -> Self {
        self.column(name, Arc::new(values.into_iter().collect::<Int32Array>()))
    }

    /// The same fraction in every row.
    pub fn same_real(self, name: &str, value: f32) -> Self {
        let rows = self.rows;
        self.column(name, Arc::new(Float32Array::from_iter_values(std::iter::repeat_n(value, rows))))
    }

    /// Lists of small numbers; none = NULL.
    pub fn shorts(self, name: &str, values: impl IntoIterator<Item = Option<Vec<i16>>>) -> Self {
        let mut builder = ListBuilder::new(Int16Builder::new());
        for value in values {
            let present = value.is_some();
            builder.values().append_slice(&value.unwrap_or_default());
            builder.append(present);
        }
        self.column(name, Arc::new(builder.finish()))
    }

    /// Lists of object numbers.
    pub fn oids(self, name: &str, values: impl IntoIterator<Item = Vec<i32>>) -> Self {
        let mut builder = ListBuilder::new(Int32Builder::new());
        for value in values {
            builder.values().append_slice(&value);
            builder.append(true);
        }
        self.column(name, Arc::new(builder.finish()))
    }

    /// A column of a relation without rows.
    pub fn absent(self, name: &str, kind: Kind) -> Self {
        match kind {
            Kind::Oid => self.oid(name, []),
            Kind::Text => self.null(name),
            Kind::Bool => self.flag(name, []),
            Kind::Short => self.short(name, []),
            Kind::Int => self.int(name, []),
            Kind::Long => self.column(name, Arc::new(Int64Array::from_iter_values([]))),
        }
    }

    /// The relation.
    ///
    /// # Errors
    /// A column has another number of rows than announced: a defect of ours.
    pub fn build(self) -> Result<RecordBatch, ArrowError> {
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(self.fields)), self.columns, &options)
    }
}
