//! What a statement asks the database to do.

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use laminar_core::data::EventTime;
use laminar_core::expr::{Literal, ScalarExpr};
use laminar_core::graph::MemorySpec;
use laminar_core::ids::ObjectId;

use crate::adhoc::AdhocQuery;
use crate::catalog::CatalogEntry;
use crate::parse::{Conflict, CopyFormat};

/// A parameter's value: text as the client sent it, or typed.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// NULL.
    Null,
    /// A text, read as the type that the statement needs.
    Text(String),
    /// A typed value.
    Value(Literal, DataType),
}

/// Transaction statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transaction {
    /// BEGIN.
    Begin,
    /// COMMIT.
    Commit,
    /// ROLLBACK.
    Rollback,
    /// SAVEPOINT.
    Savepoint(String),
    /// RELEASE SAVEPOINT.
    Release(String),
    /// ROLLBACK TO SAVEPOINT.
    RollbackTo(String),
}

/// What a statement asks for.
#[derive(Debug)]
pub enum Planned {
    /// Add objects, in this order; a sink AS SELECT adds an anonymous stream first.
    Create {
        /// The new objects.
        objects: Vec<CatalogEntry>,
        /// Objects that go away first (OR REPLACE), users first.
        replaces: Vec<ObjectId>,
        /// What the user should know.
        notices: Vec<String>,
    },
    /// The object exists and IF NOT EXISTS was said, or does not and IF EXISTS was said.
    Nothing {
        /// Command tag: `CREATE SOURCE`.
        tag: &'static str,
        /// What the user should know.
        notices: Vec<String>,
    },
    /// Remove objects, in this order: users first.
    Drop {
        /// Command tag: `DROP SOURCE`.
        tag: &'static str,
        /// The objects.
        objects: Vec<ObjectId>,
        /// What the user should know.
        notices: Vec<String>,
    },
    /// Add rows.
    Insert {
        /// The table or push source.
        target: ObjectId,
        /// Whole rows in the target's schema, checked.
        rows: RecordBatch,
        /// What a duplicate key does.
        on_conflict: Conflict,
    },
    /// Add the rows of a query over views and tables.
    InsertQuery {
        /// The table or push source.
        target: ObjectId,
        /// Gives whole rows in the target's schema.
        query: Box<AdhocQuery>,
        /// What a duplicate key does.
        on_conflict: Conflict,
    },
    /// Read rows from the client.
    CopyIn {
        /// The table or push source.
        target: ObjectId,
        /// Columns of the target's schema, in the order of the data.
        columns: Vec<usize>,
        /// How rows are written.
        format: CopyFormat,
    },
    /// Run a query over what is kept.
    Query(Box<AdhocQuery>),
    /// The same, written as COPY data.
    CopyOut {
        /// The query.
        query: Box<AdhocQuery>,
        /// How rows are written.
        format: CopyFormat,
    },
    /// The next rows of a source or stream.
    Peek {
        /// The source or stream.
        object: ObjectId,
        /// Its columns that are needed.
        columns: Vec<usize>,
        /// Over the needed columns.
        filter: Option<ScalarExpr>,
        /// The output, over the needed columns.
        project: Vec<(String, ScalarExpr)>,
        /// At most so many rows.
        limit: usize,
    },
    /// Deliver changes as they come.
    Subscribe(SubscribePlan),
    /// The same, written as COPY data.
    CopyOutSubscribe {
        /// The subscription.
        subscribe: SubscribePlan,
        /// How rows are written.
        format: CopyFormat,
    },
    /// The answer itself.
    Rows(RecordBatch),
    /// The answer needs the state of objects: SHOW SOURCES, SHOW SINKS, …, with what the catalog knows.
    Objects(RecordBatch),
    /// The answer needs the status of running pipelines: SHOW PIPELINES, with what the catalog knows.
    Pipelines(RecordBatch),
    /// SHOW CHECKPOINTS: the answer is the engine's.
    Checkpoints,
    /// EXPLAIN WATERMARK: the caller fills in what holds each source's watermark.
    ExplainWatermark {
        /// The sources that the object reads, directly or not.
        sources: Vec<ObjectId>,
        /// The pipelines on the way, the object first.
        pipelines: Vec<ObjectId>,
    },
    /// BEGIN, COMMIT, ROLLBACK.
    Transaction(Transaction),
    /// A session setting.
    Set {
        /// Canonical name.
        name: String,
        /// Checked value; none = the default.
        value: Option<String>,
    },
    /// RESET ALL, DISCARD ALL.
    ResetAll,
    /// DEALLOCATE.
    Deallocate {
        /// The prepared statement; none = all.
        name: Option<String>,
    },
    /// CHECKPOINT.
    Checkpoint,
    /// FLUSH.
    Flush,
    /// ADVANCE WATERMARK.
    AdvanceWatermark {
        /// The push source.
        source: ObjectId,
        /// To this time.
        to: EventTime,
    },
    /// ALTER STREAM … SET, ALTER MATERIALIZED VIEW … SET.
    AlterQuery {
        /// The stream or view.
        object: ObjectId,
        /// Its memory limit from now on.
        memory: MemorySpec,
        /// The statement, with all that it leaves in force.
        sql: String,
    },
    /// PAUSE.
    Pause {
        /// The stream, view or sink.
        object: ObjectId,
    },
    /// RESUME.
    Resume {
        /// The stream, view or sink.
        object: ObjectId,
    },
}

/// A subscription.
#[derive(Clone, Debug)]
pub struct SubscribePlan {
    /// The source, table, stream or view.
    pub object: ObjectId,
    /// Its columns that are needed.
    pub columns: Vec<usize>,
    /// Over the needed columns.
    pub filter: Option<ScalarExpr>,
    /// The output, over the needed columns: name, type, expression.
    pub project: Vec<(String, DataType, ScalarExpr)>,
    /// Whether the present rows come first.
    pub snapshot: bool,
    /// Whether rows tell that time went on without a change.
    pub progress: bool,
    /// Changes after this epoch only.
    pub as_of: Option<u64>,
}
