//! A pipeline as plain data.
//!
//! Invariants: `nodes` are in topological order (inputs before users) and the last is the only
//! output; column indices refer to the node's input schema(s); serialises to JSON for the catalog.

use serde::{Deserialize, Serialize};

use super::memory::MemorySpec;
use crate::aggregate::AggregateSpec;
use crate::data::StreamSchema;
use crate::expr::ScalarExpr;
use crate::ids::{ObjectId, OperatorId};

/// What a continuous query is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PipelineKind {
    /// CREATE STREAM: results flow on, nothing is kept.
    Stream,
    /// CREATE MATERIALIZED VIEW: results are kept and served.
    View,
}

/// A continuous query.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PipelineSpec {
    /// The object it defines.
    pub id: ObjectId,
    /// Its name.
    pub name: String,
    /// Stream or view.
    pub kind: PipelineKind,
    /// Operators in topological order; the last one is the output.
    pub nodes: Vec<NodeSpec>,
    /// How much state it may hold.
    #[serde(default)]
    pub memory: MemorySpec,
}

/// One operator with its inputs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Assigned at CREATE, stored, stable; state is addressed by it.
    pub id: OperatorId,
    /// What it does.
    pub operator: OperatorSpec,
    /// Indices of the nodes it reads, in order.
    pub inputs: Vec<usize>,
    /// What it emits.
    pub output: StreamSchema,
}

/// Tumbling or hopping. Microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WindowKind {
    /// Back to back windows.
    Tumble {
        /// Length.
        size: i64,
        /// Shift against 1970-01-01 UTC, `0 ≤ offset < size`.
        offset: i64,
    },
    /// Windows of `size` that begin each `slide`; `size` is a multiple of nothing in particular.
    Hop {
        /// Distance of starts.
        slide: i64,
        /// Length.
        size: i64,
        /// Shift against 1970-01-01 UTC, `0 ≤ offset < slide`.
        offset: i64,
    },
}

/// Windows over a time attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WindowSpec {
    /// Which windows.
    pub kind: WindowKind,
    /// The input column (a timestamp) that they cut.
    pub time: usize,
}

/// When results of an aggregate leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EmitMode {
    /// Once per window, when the watermark passes its end plus the allowed lateness. Append-only.
    OnWindowClose,
    /// At the end of each epoch, the change of each changed group, as −1/+1 (Z-set).
    Changes,
}

/// What an operator does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OperatorSpec {
    /// Rows of a source from the attach epoch on; `columns` of its schema are needed, in this order.
    Source {
        /// The source.
        object: ObjectId,
        /// Needed columns.
        columns: Vec<usize>,
    },
    /// Records of a source that its decoder refused, from the attach epoch on; see [`dead_letter_columns`].
    ///
    /// [`dead_letter_columns`]: super::object::dead_letter_columns
    DeadLetters {
        /// The source.
        object: ObjectId,
        /// Needed columns.
        columns: Vec<usize>,
    },
    /// A stream's changes from the attach epoch on, or a table's or view's snapshot and then its changes.
    Relation {
        /// The stream, view or table.
        object: ObjectId,
        /// Needed columns.
        columns: Vec<usize>,
    },
    /// Keeps the rows for which a BOOLEAN is true.
    Filter {
        /// The condition.
        predicate: ScalarExpr,
    },
    /// Computes columns.
    Project {
        /// The output columns, in order, named by the node's output schema.
        exprs: Vec<ScalarExpr>,
    },
    /// UNION ALL: passes all inputs on.
    Union,
    /// Sends each row to the shard of its key's hash; no key = all to one shard.
    Exchange {
        /// Key columns.
        keys: Vec<usize>,
    },
    /// Appends `window_start`, `window_end`, `window_time` of the type of the time column; a row
    /// comes out once per window it lies in. A row that is late for a window is dropped there and counted.
    WindowAssign {
        /// The windows.
        window: WindowSpec,
        /// Microseconds a window stays open after the watermark passed its end.
        lateness: i64,
    },
    /// GROUP BY. Output columns: keys, then `window_start` and `window_end` if windowed, then aggregates.
    Aggregate {
        /// Key columns (without the window).
        keys: Vec<usize>,
        /// The window in the grouping.
        window: Option<WindowSpec>,
        /// The aggregates.
        aggregates: Vec<AggregateSpec>,
        /// When results leave.
        emit: EmitMode,
        /// Microseconds a window stays open after the watermark passed its end.
        lateness: i64,
    },
    /// Keeps the result readable, by the key of the node's schema or as a multiset of rows; passes the changes on. The output of a view.
    Materialize {
        /// Microseconds of event time after which rows (by the first time attribute) are deleted; none = kept.
        retention: Option<i64>,
    },
    /// The output of a stream: passes the changes on.
    Output,
}
