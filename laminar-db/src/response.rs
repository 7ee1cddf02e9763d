//! What a command answers.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use futures::stream::BoxStream;

use crate::copy::CopyIn;
use crate::error::{DbError, Notice};
use crate::statement::Running;

/// The tag of rows that never end.
pub(crate) const SUBSCRIBE: &str = "SUBSCRIBE";

/// Result rows as they come.
pub type RowStream = BoxStream<'static, Result<RecordBatch, DbError>>;

/// The answer to one statement.
pub enum Response {
    /// Rows.
    Rows {
        /// Columns of the rows.
        schema: SchemaRef,
        /// The rows; ends, unless the statement is SUBSCRIBE.
        batches: RowStream,
        /// Command tag without the count (`SELECT`, `SHOW`, `EXPLAIN`).
        tag: &'static str,
        /// What the user should know.
        notices: Vec<Notice>,
    },
    /// Done, no rows.
    Done {
        /// Complete command tag (`INSERT 0 3`, `CREATE SOURCE`).
        tag: String,
        /// What the user should know.
        notices: Vec<Notice>,
    },
    /// `COPY … FROM STDIN`: the client sends data.
    CopyIn(Box<CopyIn>),
    /// `COPY (…) TO STDOUT`: rows to be written as text.
    CopyOut {
        /// Columns of the rows.
        schema: SchemaRef,
        /// The rows; end, unless `tag` is `SUBSCRIBE`.
        batches: RowStream,
        /// What gives them: `SELECT` or `SUBSCRIBE`.
        tag: &'static str,
    },
}

impl Response {
    /// Done without notices.
    pub fn done(tag: impl Into<String>) -> Self {
        Self::Done { tag: tag.into(), notices: Vec::new() }
    }

    /// The answer as part of a statement that runs: what of it is still to come keeps the statement running.
    pub(crate) fn of(self, running: Running) -> Self {
        // A subscription lasts as long as its client wants.
        let of_tag = |running: Running, tag| if tag == SUBSCRIBE { running.without_limit() } else { running };
        match self {
            Self::Rows { schema, batches, tag, notices } => {
                Self::Rows { schema, batches: of_tag(running, tag).rows(batches), tag, notices }
            }
            Self::CopyOut { schema, batches, tag } => {
                Self::CopyOut { schema, batches: of_tag(running, tag).rows(batches), tag }
            }
            Self::CopyIn(copy) => Self::CopyIn(Box::new(copy.of(running))),
            done @ Self::Done { .. } => done,
        }
    }
}

/// What a statement takes and gives, before it runs.
#[derive(Clone, Debug)]
pub struct Description {
    /// Types of `$1`, `$2`, ….
    pub parameters: Vec<DataType>,
    /// Columns of its rows; none when it returns no rows.
    pub columns: Option<SchemaRef>,
}

/// Where a session's transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionState {
    /// No transaction block.
    Idle,
    /// In a transaction block.
    Open,
    /// In a transaction block that failed: only ROLLBACK is accepted.
    Failed,
}
