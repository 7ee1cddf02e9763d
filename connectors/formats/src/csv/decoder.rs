//! The CSV decoder.
//!
//! Invariants: a refused record leaves the columns as they were. With `csv.header` the record with
//! offset 0 is the header: it says which field goes to which column and makes no row; a source that
//! begins in the middle hands it on first.

use arrow::array::RecordBatch;
use arrow::datatypes::{SchemaRef, TimeUnit};
use laminar_connector_kit::{ConnectorError, ConnectorOptions, OptionSpec, Options};
use laminar_core::connector::{Decoder, DecoderFactory, Malformed, RawRecord};

use super::fields::{Fields, Torn};
use super::options::CsvOptions;
use super::value;
use crate::column::{self, Column};
use crate::value::Fault;

/// Characters of a value that a refusal shows.
const SHOWN: usize = 60;

/// Makes [`CsvDecoder`]s.
#[derive(Clone, Copy, Debug, Default)]
pub struct CsvDecoderFactory;

impl DecoderFactory for CsvDecoderFactory {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn options(&self) -> &'static [OptionSpec] {
        CsvOptions::OPTIONS
    }

    fn create(
        &self,
        fields: &[String],
        schema: SchemaRef,
        options: &Options,
    ) -> Result<Box<dyn Decoder>, ConnectorError> {
        Ok(Box::new(CsvDecoder::new(fields, schema, &CsvOptions::read(options)?)?))
    }
}

/// Decodes CSV records to the columns of one schema.
pub struct CsvDecoder {
    schema: SchemaRef,
    columns: Vec<Column>,
    /// The column of each field; none = passed over. Empty until the header is known.
    places: Vec<Option<usize>>,
    header: bool,
    marks: (u8, u8),
    null: Vec<u8>,
    epoch: Option<TimeUnit>,
    max_record: usize,
    rows: usize,
    scratch: Vec<u8>,
}

impl CsvDecoder {
    /// A decoder of the record's `fields`, in order, to the columns of `schema`.
    ///
    /// # Errors
    /// `LDB-6201`: a type that CSV cannot hold.
    pub fn new(fields: &[String], schema: SchemaRef, options: &CsvOptions) -> Result<Self, ConnectorError> {
        let pairs = fields.iter().zip(schema.fields());
        let columns = pairs.map(|(name, field)| Column::new(name, field)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            places: if options.header { Vec::new() } else { (0..columns.len()).map(Some).collect() },
            schema,
            columns,
            header: options.header,
            marks: options.marks(),
            null: options.null.clone().into_bytes(),
            epoch: options.epoch_unit(),
            max_record: options.max_record.as_usize(),
            rows: 0,
            scratch: Vec::new(),
        })
    }

    fn read_header(&mut self, record: &[u8]) -> Result<(), String> {
        let mut fields = Fields::new(record, self.marks);
        let mut places = Vec::new();
        while let Some(field) = fields.next(&mut self.scratch).map_err(torn)? {
            let name = field.text.trim_ascii();
            places.push(self.columns.iter().position(|column| column.name.as_bytes() == name));
        }
        for (index, column) in self.columns.iter().enumerate() {
            if places.iter().filter(|place| **place == Some(index)).count() > 1 {
                return Err(format!("the header names \"{}\" twice", column.name));
            }
        }
        self.places = places;
        Ok(())
    }

    fn decode(&mut self, record: &[u8]) -> Result<(), String> {
        if std::str::from_utf8(record).is_err() {
            return Err(format!("the record {}", Fault::Utf8.text()));
        }
        if self.header && self.places.is_empty() {
            return Err("the header (the record with offset 0) was not read".to_string());
        }
        let mut fields = Fields::new(record, self.marks);
        let mut count = 0;
        while let Some(field) = fields.next(&mut self.scratch).map_err(torn)? {
            let Some(place) = self.places.get(count) else {
                return Err(format!("the record has more than the {} fields of the columns", self.places.len()));
            };
            count += 1;
            let Some(index) = *place else { continue };
            let column = &mut self.columns[index];
            let read = if !field.quoted && field.text == self.null {
                column.push_null(Fault::Null)
            } else {
                value::read(column, field.text, self.epoch)
            };
            read.map_err(|fault| {
                let text: String = String::from_utf8_lossy(field.text).chars().take(SHOWN).collect();
                // The sentence of a missing unit names the option of the other format.
                let why = if fault == Fault::Epoch {
                    "is a number; say its unit by option 'csv.timestamp'"
                } else {
                    fault.text()
                };
                format!("field \"{}\" ({}): '{text}' {why}", column.name, column.kind.sql())
            })?;
        }
        let rows = self.rows;
        for column in self.columns.iter_mut().filter(|column| column.len() == rows) {
            column.push_null(Fault::Missing).map_err(|fault| format!("field \"{}\" {}", column.name, fault.text()))?;
        }
        Ok(())
    }
}

impl Decoder for CsvDecoder {
    fn push(&mut self, record: &RawRecord<'_>) -> Result<usize, Malformed> {
        let bytes = record.payload;
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        if bytes.len() > self.max_record {
            let (length, limit) = (bytes.len(), self.max_record);
            let reason = format!("the record has {length} bytes, more than option 'csv.max_record' = {limit} allows");
            return Err(Malformed { reason });
        }
        if bytes.is_empty() && self.columns.len() > 1 {
            return Err(Malformed { reason: "the record is empty".to_string() });
        }
        if self.header && record.offset == 0 {
            return self.read_header(bytes).map(|()| 0).map_err(|reason| Malformed { reason });
        }
        match self.decode(bytes) {
            Ok(()) => {
                self.rows += 1;
                Ok(1)
            }
            Err(reason) => {
                let rows = self.rows;
                self.columns.iter_mut().for_each(|column| column.cut(rows));
                Err(Malformed { reason })
            }
        }
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn finish(&mut self) -> Result<RecordBatch, ConnectorError> {
        column::batch(&mut self.columns, &self.schema, std::mem::take(&mut self.rows))
    }
}

fn torn(torn: Torn) -> String {
    match torn {
        Torn::Open => "a quote is not closed".to_string(),
        Torn::Behind => "text stands behind a closing quote".to_string(),
    }
}

#[cfg(test)]
mod tests;
