//! Records that a source's decoder refused, as rows for those who read them.
//!
//! Invariant: one row a refused record, in the order of the records, with its bytes unchanged.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Int64Builder, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondBuilder,
};

use super::EngineError;
use crate::connector::RawRecord;
use crate::graph::dead_letter_columns;
use crate::operator::OperatorError;

/// What was refused since the last [`DeadLetters::take`].
#[derive(Default)]
pub struct DeadLetters {
    offsets: Int64Builder,
    timestamps: TimestampMicrosecondBuilder,
    reasons: StringBuilder,
    keys: BinaryBuilder,
    payloads: BinaryBuilder,
}

impl DeadLetters {
    /// Keeps a record.
    pub fn push(&mut self, record: &RawRecord<'_>, reason: &str) {
        use arrow::array::ArrayBuilder as _;
        debug_assert_eq!(self.offsets.len(), self.payloads.len(), "one row a record");
        self.offsets.append_value(record.offset as i64);
        self.timestamps.append_option(record.timestamp_ms.map(|ms| ms.saturating_mul(1000)));
        self.reasons.append_value(reason);
        self.keys.append_option(record.key);
        self.payloads.append_value(record.payload);
    }

    /// Whether nothing was refused.
    pub fn is_empty(&self) -> bool {
        use arrow::array::ArrayBuilder as _;
        self.offsets.is_empty()
    }

    /// Everything as rows of [`dead_letter_columns`], all of one split.
    ///
    /// # Errors
    /// A defect: columns that do not fit.
    pub fn take(&mut self, split: &str) -> Result<RecordBatch, EngineError> {
        let offsets = self.offsets.finish();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![split; offsets.values().len()])),
            Arc::new(offsets),
            Arc::new(self.timestamps.finish()),
            Arc::new(self.reasons.finish()),
            Arc::new(self.keys.finish()),
            Arc::new(self.payloads.finish()),
        ];
        Ok(RecordBatch::try_new(dead_letter_columns(), columns).map_err(OperatorError::from)?)
    }
}
