//! Rows that come as a whole body, JSON lines or CSV, into a table or push source.
//!
//! Invariants: all rows of a body are taken or none; what does not fit names its line; when the answer
//! comes the rows are durable. It is a COPY whose data are at hand, so it refuses what COPY refuses.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use laminar_core::connector::options::Options;
use laminar_core::connector::{Decoder, RawRecord};

use crate::copy::{CopyIn, csv_table, malformed};
use crate::database::Database;
use crate::error::DbError;
use crate::response::Response;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFormat {
    /// One JSON object a line.
    JsonLines,
    /// CSV with a first line that names the columns.
    Csv,
}

impl Database {
    /// Inserts all rows of a body; returns how many.
    ///
    /// # Errors
    /// The object is no table or push source, a line does not fit it, or the rows cannot be stored.
    pub async fn ingest(&self, target: &str, format: BodyFormat, body: &[u8]) -> Result<u64, DbError> {
        match format {
            BodyFormat::JsonLines => {
                let copy = self.begin_copy(target, None).await?;
                let rows = self.decode(&copy.columns(), body)?;
                copy.finish_with(rows).await
            }
            BodyFormat::Csv => {
                let (names, records) = csv_table(body)?;
                if names.iter().all(String::is_empty) {
                    return Err(malformed(1, "the names of the columns are missing")
                        .with_hint("the first line names the columns, with commas between them"));
                }
                let copy = self.begin_copy(target, Some(&names)).await?;
                copy.finish_records(records).await
            }
        }
    }

    async fn begin_copy(&self, target: &str, columns: Option<&[String]>) -> Result<CopyIn, DbError> {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let columns = columns.map_or_else(String::new, |columns| {
            format!(" ({})", columns.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", "))
        });
        let sql = format!("COPY {}{columns} FROM STDIN WITH (FORMAT csv)", quoted(target));
        let mut session = self.session("http");
        for statement in session.parse(&sql)? {
            if let Response::CopyIn(copy) = session.execute(&statement, &[]).await? {
                return Ok(*copy);
            }
        }
        Err(DbError::new("LDB-4071", "XX000", "COPY gives no place for its data"))
    }

    fn decode(&self, columns: &SchemaRef, body: &[u8]) -> Result<RecordBatch, DbError> {
        let mut decoder = self.json_decoder(columns)?;
        for (index, line) in body.split(|byte| *byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let record = RawRecord { payload: line, key: None, offset: index as u64, timestamp_ms: None };
            decoder.push(&record).map_err(|refused| {
                malformed(index + 1, &refused.reason).with_hint("no row of this request was taken")
            })?;
        }
        decoder.finish().map_err(|error| DbError::new("LDB-4072", "XX000", format!("internal: {}", error.message)))
    }

    fn json_decoder(&self, columns: &SchemaRef) -> Result<Box<dyn Decoder>, DbError> {
        let fields = columns.fields().iter();
        let names: Vec<String> = fields.clone().map(|field| field.name().clone()).collect();
        // NOT NULL is checked with the rows of the whole target.
        let relaxed: Vec<_> = fields.map(|field| field.as_ref().clone().with_nullable(true)).collect();
        let factory = self.inner.planner.registry().decoders.get("json").cloned().ok_or_else(|| {
            DbError::new("LDB-4073", "0A000", "this server has no JSON decoder").with_hint("send text/csv")
        })?;
        factory
            .create(&names, Arc::new(Schema::new(relaxed)), &Options::new())
            .map_err(|error| DbError::new("LDB-4074", "0A000", error.message).with_hint("send text/csv"))
    }
}
