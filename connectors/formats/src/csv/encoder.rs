//! The CSV encoder: append-only rows, no header.

use arrow::array::Array;
use arrow::datatypes::{DataType, SchemaRef};
use laminar_connector_kit::{ConnectorError, ConnectorOptions, OptionSpec, Options};
use laminar_core::connector::{EncodedRecord, Encoder, EncoderFactory};
use laminar_core::data::Batch;
use laminar_core::graph::Envelope;
use laminar_core::ids::Epoch;

use super::options::CsvOptions;
use crate::json::Members;
use crate::json::write::{WriteCell, writer};
use crate::value::Kind;

/// Makes [`CsvEncoder`]s.
#[derive(Clone, Copy, Debug, Default)]
pub struct CsvEncoderFactory;

impl EncoderFactory for CsvEncoderFactory {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn options(&self) -> &'static [OptionSpec] {
        CsvOptions::OPTIONS
    }

    fn create(
        &self,
        schema: SchemaRef,
        envelope: Envelope,
        key: Option<&[usize]>,
        options: &Options,
    ) -> Result<Box<dyn Encoder>, ConnectorError> {
        if envelope != Envelope::Plain {
            let message = "format 'csv' writes append-only rows; choose format 'json' for a changing stream";
            return Err(ConnectorError::user("LDB-6206", message));
        }
        Ok(Box::new(CsvEncoder::new(&schema, key, &CsvOptions::read(options)?)?))
    }
}

/// Writes rows of one schema as CSV records without line end.
pub struct CsvEncoder {
    cells: Vec<(Cell, WriteCell)>,
    key: Option<Members>,
    marks: (u8, u8),
    null: Vec<u8>,
    body: Vec<u8>,
    cell: Vec<u8>,
    key_bytes: Vec<u8>,
}

/// How a cell's JSON form becomes its CSV form.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cell {
    /// Text: taken from the array.
    Text,
    /// As in JSON, without its quotes.
    Plain,
}

impl CsvEncoder {
    /// An encoder for `schema`; `key` names the columns of the message key, which is JSON.
    ///
    /// # Errors
    /// `LDB-6201` a type that CSV cannot hold, `LDB-6206` a header was asked for.
    pub fn new(schema: &SchemaRef, key: Option<&[usize]>, options: &CsvOptions) -> Result<Self, ConnectorError> {
        if options.header {
            let message = "option 'csv.header' is for reading: records of a sink have no first line";
            return Err(ConnectorError::user("LDB-6206", message));
        }
        let cell = |field: &arrow::datatypes::FieldRef| {
            let kind = Kind::of(field).map_or(Cell::Plain, |kind| match kind {
                Kind::Text | Kind::Json => Cell::Text,
                _ => Cell::Plain,
            });
            writer(field).map(|write| (kind, write)).ok_or_else(|| {
                let (name, ty) = (field.name(), field.data_type());
                ConnectorError::user("LDB-6201", format!("column \"{name}\": CSV cannot hold the type {ty}; cast it"))
            })
        };
        Ok(Self {
            cells: schema.fields().iter().map(cell).collect::<Result<_, _>>()?,
            key: key.map(|key| Members::new(schema, key.iter().copied())).transpose()?,
            marks: options.marks(),
            null: options.null.clone().into_bytes(),
            body: Vec::new(),
            cell: Vec::new(),
            key_bytes: Vec::new(),
        })
    }

    fn row(&mut self, batch: &Batch, row: usize) {
        self.body.clear();
        for (index, (cell, write)) in self.cells.iter().enumerate() {
            if index > 0 {
                self.body.push(self.marks.0);
            }
            let array = batch.rows.column(index);
            if array.is_null(row) {
                self.body.extend_from_slice(&self.null);
                continue;
            }
            self.cell.clear();
            if *cell == Cell::Text {
                self.cell.extend_from_slice(text(array.as_ref(), row).as_bytes());
            } else {
                write(array, row, &mut self.cell);
                unquote(&mut self.cell);
            }
            quote(&self.cell, self.marks, &self.null, &mut self.body);
        }
    }
}

fn text(array: &dyn Array, row: usize) -> &str {
    use arrow::array::AsArray;
    if *array.data_type() == DataType::Utf8View {
        array.as_string_view().value(row)
    } else {
        array.as_string::<i32>().value(row)
    }
}

/// Takes the quotes of a JSON string off; the only escape in one that is not text is BYTEA's backslash.
fn unquote(cell: &mut Vec<u8>) {
    if cell.first() == Some(&b'"') {
        cell.pop();
        let escaped = cell.get(1) == Some(&b'\\');
        cell.drain(..if escaped { 2 } else { 1 });
    }
}

/// Appends a field, in quotes where its text would be read as something else.
fn quote(cell: &[u8], (delimiter, quote): (u8, u8), null: &[u8], into: &mut Vec<u8>) {
    let special = |byte: &u8| *byte == delimiter || *byte == quote || matches!(byte, b'\n' | b'\r');
    if cell != null && !cell.is_empty() && !cell.iter().any(special) {
        into.extend_from_slice(cell);
        return;
    }
    into.push(quote);
    for byte in cell {
        if *byte == quote {
            into.push(quote);
        }
        into.push(*byte);
    }
    into.push(quote);
}

impl Encoder for CsvEncoder {
    fn encode(
        &mut self,
        batch: &Batch,
        _epoch: Epoch,
        into: &mut dyn FnMut(EncodedRecord<'_>),
    ) -> Result<(), ConnectorError> {
        if (0..batch.len()).any(|row| batch.weight(row) < 0) {
            let message = "format 'csv' cannot hold a retraction; choose format 'json' with envelope 'changelog'";
            return Err(ConnectorError::user("LDB-6203", message));
        }
        for row in 0..batch.len() {
            self.row(batch, row);
            let key = self.key.as_ref().map(|key| {
                self.key_bytes.clear();
                key.write_object(batch.rows.columns(), row, &mut self.key_bytes);
                self.key_bytes.as_slice()
            });
            for _ in 0..batch.weight(row) {
                into(EncodedRecord { key, value: Some(&self.body), row });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
