//! `COPY … FROM STDIN`: text or CSV from the client to rows of an object.
//!
//! Invariant: all rows of one COPY become visible together or not at all; what is malformed names
//! its line and column and the whole COPY fails.

mod lines;
mod rows;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::future::BoxFuture;
use laminar_core::engine::RequestKey;
use laminar_storage::log::MAX_RECORD_BYTES;

use crate::error::DbError;
use crate::ingest::Ingested;
use crate::record;
use crate::statement::Running;
use lines::LineReader;
pub(crate) use lines::{Record, malformed};

/// Most bytes of data before they are rows: a value is at most some four times as long as text as it is in the log.
pub(crate) const MAX_COPY_BYTES: usize = 4 * MAX_RECORD_BYTES;

/// How the data is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyFormat {
    /// Text (backslash escapes) or CSV (quotes).
    pub syntax: CopySyntax,
    /// Between columns.
    pub delimiter: u8,
    /// What stands for NULL.
    pub null: String,
    /// Whether the first line names the columns and is skipped.
    pub header: Header,
}

/// The two syntaxes of COPY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopySyntax {
    /// Backslash escapes.
    Text,
    /// Quoted with `"`.
    Csv,
}

/// Whether the data begins with a line of column names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// It does not.
    Absent,
    /// It does.
    Present,
}

impl CopyFormat {
    /// PostgreSQL's text format.
    pub fn text() -> Self {
        Self { syntax: CopySyntax::Text, delimiter: b'\t', null: "\\N".to_owned(), header: Header::Absent }
    }

    /// PostgreSQL's CSV format.
    pub fn csv() -> Self {
        Self { syntax: CopySyntax::Csv, delimiter: b',', null: String::new(), header: Header::Absent }
    }
}

/// Reads CSV whose first record names the columns.
///
/// # Errors
/// An open quote, or text that is not UTF-8.
pub(crate) fn csv_table(bytes: &[u8]) -> Result<(Vec<String>, Vec<Record>), DbError> {
    let mut reader = LineReader::new(CopyFormat::csv());
    reader.push(bytes)?;
    let mut records = reader.finish()?.into_iter();
    let names = records.next().map(|record| record.fields.into_iter().map(Option::unwrap_or_default).collect());
    Ok((names.unwrap_or_default(), records.collect()))
}

/// Writes the rows of a finished COPY, which come of a request that may come again; returns how many were accepted.
pub type CopyCommit =
    Box<dyn FnOnce(RecordBatch, Option<RequestKey>) -> BoxFuture<'static, Result<Ingested, DbError>> + Send>;

/// A COPY in progress.
pub struct CopyIn {
    columns: SchemaRef,
    /// Bits of a row with all columns of the target.
    row_bits: usize,
    lines: LineReader,
    received: usize,
    commit: CopyCommit,
    /// The statement that it belongs to, if one does.
    running: Option<Running>,
}

impl CopyIn {
    /// Begins a COPY into `columns` of a target whose rows take `row_bits` at least; `commit` is called once, with all
    /// rows.
    pub(crate) fn new(columns: SchemaRef, row_bits: usize, format: CopyFormat, commit: CopyCommit) -> Self {
        Self { columns, row_bits, lines: LineReader::new(format), received: 0, commit, running: None }
    }

    /// The COPY of a statement that runs.
    pub(crate) fn of(self, running: Running) -> Self {
        Self { running: Some(running), ..self }
    }

    /// Waits for more from the client, as long as the statement has time.
    ///
    /// # Errors
    /// 57014 when the time has ended.
    pub async fn wait<T>(&mut self, more: impl Future<Output = T>) -> Result<T, DbError> {
        match &mut self.running {
            Some(running) => running.within(async { Ok(more.await) }).await,
            None => Ok(more.await),
        }
    }

    /// The columns that the data must have, in order.
    pub fn columns(&self) -> SchemaRef {
        self.columns.clone()
    }

    /// Takes the next bytes; they may end anywhere.
    ///
    /// # Errors
    /// The COPY is larger than its rows may be, or a line is malformed.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), DbError> {
        self.received += bytes.len();
        if self.received > MAX_COPY_BYTES {
            let message = format!("COPY holds more than {MAX_COPY_BYTES} bytes");
            return Err(
                DbError::new("LDB-4010", "54000", message).with_hint("split the data into several COPY commands")
            );
        }
        self.lines.push(bytes)?;
        record::rows_fit(self.lines.rows(), self.row_bits)
    }

    /// Commits all rows; returns how many. When it returns, they are durable.
    ///
    /// # Errors
    /// A value does not fit its column, the write failed or the statement's time has ended; nothing was written then.
    pub async fn finish(mut self) -> Result<u64, DbError> {
        let batch = rows::to_batch(&self.columns, self.lines.finish()?)?;
        let commit = (self.commit)(batch, None);
        let done = match &mut self.running {
            Some(running) => running.within(commit).await,
            None => commit.await,
        };
        Ok(done?.rows)
    }

    /// Commits records that were read by [`csv_table`].
    ///
    /// # Errors
    /// As [`CopyIn::finish`].
    pub(crate) async fn finish_records(
        self,
        records: Vec<Record>,
        request: Option<RequestKey>,
    ) -> Result<Ingested, DbError> {
        let batch = rows::to_batch(&self.columns, records)?;
        self.finish_with(batch, request).await
    }

    /// Commits rows of [`CopyIn::columns`] instead of what was pushed, unless the request was taken before.
    ///
    /// # Errors
    /// As [`CopyIn::finish`]; the request's key names another one.
    pub(crate) async fn finish_with(self, rows: RecordBatch, request: Option<RequestKey>) -> Result<Ingested, DbError> {
        (self.commit)(rows, request).await
    }
}
