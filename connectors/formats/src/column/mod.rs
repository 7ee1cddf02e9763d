//! Growing columns that can be cut back to a row, which Arrow's builders cannot.
//!
//! Invariant: a column holds `row` or `row + 1` values while row `row` is being read; `cut` undoes
//! an unfinished row, so a refused record leaves no trace.

mod store;

pub use store::Store;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanBufferBuilder};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Field;
use laminar_core::connector::ConnectorError;

use crate::value::{Fault, Kind};

/// One column of a decoder.
pub struct Column {
    /// The record's name for it.
    pub name: Box<str>,
    /// How its values are read.
    pub kind: Kind,
    /// The values.
    pub store: Store,
    nullable: bool,
    /// Present from the first null of a batch on.
    valid: Option<BooleanBufferBuilder>,
    field: Field,
}

impl Column {
    /// An empty column.
    ///
    /// # Errors
    /// `LDB-6201`: no text format holds the type.
    pub fn new(name: &str, field: &Field) -> Result<Self, ConnectorError> {
        let refuse = || {
            let message =
                format!("column \"{}\": text formats cannot hold the type {}", field.name(), field.data_type());
            ConnectorError::user("LDB-6201", message)
        };
        let kind = Kind::of(field).ok_or_else(refuse)?;
        let store = Store::new(kind, field.data_type()).ok_or_else(refuse)?;
        Ok(Self { name: name.into(), kind, store, nullable: field.is_nullable(), valid: None, field: field.clone() })
    }

    /// Number of values.
    #[inline]
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Notes that the value just stored is there.
    #[inline(always)]
    pub fn stored(&mut self) {
        if let Some(valid) = &mut self.valid {
            valid.append(true);
        }
    }

    /// Appends a null.
    ///
    /// # Errors
    /// `reason` where the column is NOT NULL.
    pub fn push_null(&mut self, reason: Fault) -> Result<(), Fault> {
        if !self.nullable {
            return Err(reason);
        }
        let rows = self.len();
        let valid = self.valid.get_or_insert_with(|| {
            let mut valid = BooleanBufferBuilder::new(rows + 64);
            valid.append_n(rows, true);
            valid
        });
        valid.append(false);
        self.store.push_default();
        Ok(())
    }

    /// Undoes everything behind `rows` values.
    pub fn cut(&mut self, rows: usize) {
        self.store.cut(rows);
        if let Some(valid) = &mut self.valid
            && valid.len() > rows
        {
            valid.truncate(rows);
        }
    }

    /// Takes the values as an Arrow array of the field's type.
    ///
    /// # Errors
    /// `LDB-6202`: a defect of the column.
    pub fn finish(&mut self) -> Result<ArrayRef, ConnectorError> {
        let nulls = self.valid.take().map(|mut valid| NullBuffer::new(valid.finish()));
        self.store.finish(self.field.data_type(), nulls).map_err(|error| ConnectorError {
            code: "LDB-6202",
            fault: laminar_core::connector::Fault::Internal,
            message: format!("column \"{}\" cannot be finished: {error}", self.field.name()),
        })
    }
}

/// Takes all columns as one batch.
///
/// # Errors
/// `LDB-6202`: a defect of a column.
pub fn batch(
    columns: &mut [Column],
    schema: &arrow::datatypes::SchemaRef,
    rows: usize,
) -> Result<arrow::array::RecordBatch, ConnectorError> {
    let arrays = columns.iter_mut().map(Column::finish).collect::<Result<Vec<_>, _>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
    arrow::array::RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options).map_err(|error| {
        ConnectorError {
            code: "LDB-6202",
            fault: laminar_core::connector::Fault::Internal,
            message: format!("columns do not make a batch: {error}"),
        }
    })
}
