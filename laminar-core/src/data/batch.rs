//! A batch: the unit of flow.
//!
//! Invariant: `weights` and `row_watermarks`, where present, have one entry a row. No weights
//! means every row is an insertion (+1).

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::EventTime;

/// Rows as Arrow columns. Cheap to clone (shared buffers).
#[derive(Clone, Debug)]
pub struct Batch {
    /// The columns.
    pub rows: RecordBatch,
    /// Signed weight of each row (+n insertions, −n retractions); none = all +1.
    pub weights: Option<Arc<[i64]>>,
    /// The source-side watermark in force just before each row; only present when some row lies
    /// behind it, so that lateness is judged row by row however batches are cut.
    pub row_watermarks: Option<Arc<[EventTime]>>,
}

impl Batch {
    /// An append-only batch without late rows.
    pub fn new(rows: RecordBatch) -> Self {
        Self { rows, weights: None, row_watermarks: None }
    }

    /// A batch with weights, in the order of the rows.
    pub fn with_weights(rows: RecordBatch, weights: Arc<[i64]>) -> Self {
        debug_assert_eq!(rows.num_rows(), weights.len(), "one weight a row");
        Self { rows, weights: Some(weights), row_watermarks: None }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Whether the batch holds no row.
    pub fn is_empty(&self) -> bool {
        self.rows.num_rows() == 0
    }

    /// The Arrow schema.
    pub fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    /// Weight of one row.
    pub fn weight(&self, row: usize) -> i64 {
        self.weights.as_ref().map_or(1, |w| w[row])
    }
}
