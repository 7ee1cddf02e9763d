//! Rows that come as a whole body, JSON lines, CSV or an Arrow stream, into a table or push source.
//!
//! Invariants: all rows of a body are taken or none; what does not fit names its line; when the answer
//! comes the rows are durable; a request with a key that was taken before takes nothing and is answered as it was.
//! It is a COPY whose data are at hand, so it refuses what COPY refuses.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use bytes::Bytes;
use laminar_core::connector::options::Options;
use laminar_core::connector::{Decoder, RawRecord};
use laminar_core::engine::RequestKey;

use crate::arrow_body::ArrowBody;
use crate::copy::{CopyFormat, CopyIn, csv_table, malformed};
use crate::database::Database;
use crate::error::DbError;
use crate::execute::copy;
use crate::record;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFormat {
    /// One JSON object a line.
    JsonLines,
    /// CSV with a first line that names the columns.
    Csv,
    /// An Arrow IPC stream whose columns have the names of the target's.
    ArrowStream,
}

impl BodyFormat {
    /// Its name among the digests of requests; frozen.
    const fn name(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::Csv => "csv",
            Self::ArrowStream => "arrow",
        }
    }
}

/// What became of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingested {
    /// Rows that it brought.
    pub rows: u64,
    /// Whether they were there before: a request with the same key had brought them.
    pub repeated: bool,
}

/// The code of the error that a key came before with another body.
pub const KEY_REUSED: &str = "LDB-3016";

/// Longest idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 255;

pub(crate) const UNTAKEN: &str = "no row of this request was taken";

fn request_key(key: &str, format: BodyFormat, body: &[u8]) -> Result<RequestKey, DbError> {
    let printable = key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if key.is_empty() || key.len() > MAX_KEY_BYTES || !printable {
        let message =
            format!("an idempotency key has 1 to {MAX_KEY_BYTES} printable ASCII characters, not {} bytes", key.len());
        return Err(DbError::new("LDB-4078", "22023", message).with_hint("a UUID for each request will do"));
    }
    Ok(RequestKey::new(key, format.name(), body))
}

/// The columns with NULL allowed: NOT NULL is checked with the rows of the whole target.
fn relaxed(columns: &SchemaRef) -> SchemaRef {
    let nullable = |field: &FieldRef| field.as_ref().clone().with_nullable(true);
    Arc::new(Schema::new(columns.fields().iter().map(nullable).collect::<Vec<_>>()))
}

impl Database {
    /// Inserts all rows of a body, once for each key. A request without an answer is sent again with its key; while the
    /// first is under way this waits for it.
    ///
    /// # Errors
    /// The object is no table or push source, a line does not fit it, the rows cannot be stored, or the key came
    /// before with another body.
    pub async fn ingest(
        &self,
        target: &str,
        format: BodyFormat,
        body: Bytes,
        key: Option<&str>,
    ) -> Result<Ingested, DbError> {
        let request = key.map(|key| request_key(key, format, &body)).transpose()?;
        match format {
            BodyFormat::JsonLines => {
                let copy = self.begin_copy(target, None)?;
                let (decoder, row_bits) =
                    (self.json_decoder(&copy.columns())?, record::row_bits(copy.columns().fields()));
                let rows = reading(move || decode(decoder, &body, row_bits)).await?;
                copy.finish_with(rows, request).await
            }
            BodyFormat::Csv => {
                let (names, records) = reading(move || csv_table(&body)).await?;
                if names.iter().all(String::is_empty) {
                    return Err(malformed(1, "the names of the columns are missing")
                        .with_hint("the first line names the columns, with commas between them"));
                }
                let copy = self.begin_copy(target, Some(&names))?;
                copy.finish_records(records, request).await
            }
            BodyFormat::ArrowStream => self.ingest_arrow(target, body, request).await,
        }
    }

    async fn ingest_arrow(&self, target: &str, body: Bytes, request: Option<RequestKey>) -> Result<Ingested, DbError> {
        let bytes = Buffer::from(body);
        let body = reading(move || ArrowBody::open(bytes)).await?;
        let copy = self.begin_copy(target, Some(&body.names()))?;
        let wanted = relaxed(&copy.columns());
        let rows = reading(move || body.rows(&wanted)).await?;
        copy.finish_with(rows, request).await
    }

    fn begin_copy(&self, target: &str, columns: Option<&[String]>) -> Result<CopyIn, DbError> {
        let inner = &self.inner;
        let (target, columns) = inner.planner.copy_target(&inner.catalog(), target, columns.unwrap_or_default())?;
        copy::begin(inner, target, &columns, CopyFormat::csv())
    }

    fn json_decoder(&self, columns: &SchemaRef) -> Result<Box<dyn Decoder>, DbError> {
        let names: Vec<String> = columns.fields().iter().map(|field| field.name().clone()).collect();
        let factory = self.inner.planner.registry().decoders.get("json").cloned().ok_or_else(|| {
            DbError::new("LDB-4073", "0A000", "this server has no JSON decoder").with_hint("send text/csv")
        })?;
        factory
            .create(&names, relaxed(columns), &Options::new())
            .map_err(|error| DbError::new("LDB-4074", "0A000", error.message).with_hint("send text/csv"))
    }
}

/// Reads a body on a blocking thread; a panic is told to the client, since its bytes have caused it.
async fn reading<T: Send + 'static>(work: impl FnOnce() -> Result<T, DbError> + Send + 'static) -> Result<T, DbError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        DbError::new("LDB-4075", "22P03", format!("the body cannot be read: {error}")).with_hint(UNTAKEN)
    })?
}

/// The rows of JSON lines; each takes so many bits at least, however short its line is.
fn decode(mut decoder: Box<dyn Decoder>, body: &[u8], row_bits: usize) -> Result<RecordBatch, DbError> {
    let mut rows = 0;
    for (index, line) in body.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        rows += 1;
        record::rows_fit(rows, row_bits)?;
        let record = RawRecord { payload: line, key: None, offset: index as u64, timestamp_ms: None };
        decoder.push(&record).map_err(|refused| malformed(index + 1, &refused.reason).with_hint(UNTAKEN))?;
    }
    decoder.finish().map_err(|error| DbError::new("LDB-4072", "XX000", format!("internal: {}", error.message)))
}
