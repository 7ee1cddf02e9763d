//! What the planner knows of a stream beside its columns: how it changes, its key, its time.

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

/// How rows of a stream change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChangeMode {
    /// Rows are only ever added; batches carry no weights.
    Append,
    /// Rows are added and retracted by weight (Z-set).
    Changelog,
}

/// The schema of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StreamSchema {
    /// Names, types and nullability, in order.
    #[serde(with = "super::schema_serde")]
    pub columns: SchemaRef,
    /// Append-only or changing.
    pub mode: ChangeMode,
    /// Columns (indices) whose values name at most one row at a time; empty set inside `Some` = one row in all.
    pub key: Option<Vec<usize>>,
    /// Columns (indices) that are time attributes: the watermark speaks of them.
    pub time: Vec<usize>,
}
