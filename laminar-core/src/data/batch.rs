//! A batch: the unit of flow.
//!
//! Invariant: `weights` and `row_watermarks`, where present, have one entry a row. No weights
//! means every row is an insertion (+1).

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;

use super::{DataError, EventTime};

/// Rows as Arrow columns. Cheap to clone (shared buffers).
#[derive(Clone, Debug)]
pub struct Batch {
    /// The columns.
    pub rows: RecordBatch,
    /// Signed weight of each row (+n insertions, −n retractions); none = all +1.
    pub weights: Option<Arc<[i64]>>,
    /// The watermark that the rows before it had established when each row came: the minimum of its own
    /// split's and of all others as known then. Only present when some row lies behind its own, so that
    /// lateness is judged row by row however batches are cut. Whoever joins several lanes or inputs
    /// lowers it to the others' watermarks ([`Batch::judged_among`]).
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

    /// The same rows with other columns, row for row.
    pub fn with_rows(&self, rows: RecordBatch) -> Self {
        debug_assert_eq!(self.len(), rows.num_rows(), "row for row");
        Self { rows, weights: self.weights.clone(), row_watermarks: self.row_watermarks.clone() }
    }

    /// The rows for which `keep` is true (NULL is not). Shares the columns when that is all of them.
    ///
    /// # Errors
    /// Arrow refuses (a defect).
    pub fn filter(&self, keep: &BooleanArray) -> Result<Self, DataError> {
        if keep.true_count() == self.len() {
            return Ok(self.clone());
        }
        let kept = |row: &usize| keep.is_valid(*row) && keep.value(*row);
        Ok(Self {
            rows: filter_record_batch(&self.rows, keep)?,
            weights: self.weights.as_ref().map(|w| (0..self.len()).filter(kept).map(|row| w[row]).collect()),
            row_watermarks: self
                .row_watermarks
                .as_ref()
                .map(|w| (0..self.len()).filter(kept).map(|row| w[row]).collect()),
        })
    }

    /// The rows of these numbers, in their order; a number may come more than once.
    ///
    /// # Errors
    /// Arrow refuses (a defect). Panics when a number is out of range.
    pub fn take(&self, rows: &UInt32Array) -> Result<Self, DataError> {
        let at = |row: &u32| *row as usize;
        Ok(Self {
            rows: take_record_batch(&self.rows, rows)?,
            weights: self.weights.as_ref().map(|w| rows.values().iter().map(|row| w[at(row)]).collect()),
            row_watermarks: self.row_watermarks.as_ref().map(|w| rows.values().iter().map(|row| w[at(row)]).collect()),
        })
    }

    /// `len` rows from `from` on; shares the columns. Panics when out of range.
    pub fn slice(&self, from: usize, len: usize) -> Self {
        Self {
            rows: self.rows.slice(from, len),
            weights: self.weights.as_ref().map(|w| w[from..from + len].into()),
            row_watermarks: self.row_watermarks.as_ref().map(|w| w[from..from + len].into()),
        }
    }

    /// All batches as one, in order. Rows of a batch without a hidden column get [`EventTime::MIN`]
    /// in it (they lie behind nothing), if another batch has one.
    ///
    /// # Errors
    /// The batches have different schemas (a defect).
    pub fn concat(schema: &SchemaRef, batches: &[Self]) -> Result<Self, DataError> {
        if let [only] = batches {
            return Ok(only.clone());
        }
        let weights = batches.iter().any(|batch| batch.weights.is_some());
        let marks = batches.iter().any(|batch| batch.row_watermarks.is_some());
        let each = |batch: &Self, row: usize| batch.row_watermarks.as_ref().map_or(EventTime::MIN, |w| w[row]);
        Ok(Self {
            rows: concat_batches(schema, batches.iter().map(|batch| &batch.rows))?,
            weights: weights
                .then(|| batches.iter().flat_map(|batch| (0..batch.len()).map(|row| batch.weight(row))).collect()),
            row_watermarks: marks
                .then(|| batches.iter().flat_map(|batch| (0..batch.len()).map(move |row| each(batch, row))).collect()),
        })
    }

    /// Lowers the hidden column to what the other lanes or inputs had reached when the batch came.
    #[must_use]
    pub fn judged_among(mut self, others: EventTime) -> Self {
        if let Some(marks) = &self.row_watermarks
            && marks.iter().any(|mark| *mark > others)
        {
            self.row_watermarks = Some(marks.iter().map(|mark| (*mark).min(others)).collect());
        }
        self
    }
}
