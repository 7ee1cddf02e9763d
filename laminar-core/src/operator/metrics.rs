//! Counters of one operator on one shard, as plain data.
//!
//! Invariant (N1): for an operator that keeps no rows, rows in = rows out + what it dropped, by reason.

use super::Counter;

/// What went through an operator and what left the stream in it, since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct OperatorMetrics {
    /// Batches taken.
    pub batches_in: u64,
    /// Rows taken.
    pub rows_in: u64,
    /// Batches emitted.
    pub batches_out: u64,
    /// Rows emitted.
    pub rows_out: u64,
    /// Rows too late for a window, once per window missed.
    pub rows_late_dropped: u64,
    /// Rows on which an expression failed.
    pub rows_evaluation_failed: u64,
    /// Rows whose time was NULL.
    pub rows_null_time: u64,
    /// Rows too far in the future.
    pub rows_far_future: u64,
    /// Rows that would have driven an aggregate out of its type's range.
    pub rows_out_of_range: u64,
    /// Rows a filter dropped.
    pub rows_filtered: u64,
}

impl OperatorMetrics {
    /// Adds rows to the counter of a reason.
    pub fn add(&mut self, counter: Counter, rows: u64) {
        let to = match counter {
            Counter::LateDropped => &mut self.rows_late_dropped,
            Counter::EvaluationFailed => &mut self.rows_evaluation_failed,
            Counter::NullTime => &mut self.rows_null_time,
            Counter::FarFuture => &mut self.rows_far_future,
            Counter::OutOfRange => &mut self.rows_out_of_range,
            Counter::Filtered => &mut self.rows_filtered,
        };
        *to += rows;
    }

    /// Adds the counters of another shard's operator.
    pub fn merge(&mut self, other: &Self) {
        self.batches_in += other.batches_in;
        self.rows_in += other.rows_in;
        self.batches_out += other.batches_out;
        self.rows_out += other.rows_out;
        self.rows_late_dropped += other.rows_late_dropped;
        self.rows_evaluation_failed += other.rows_evaluation_failed;
        self.rows_null_time += other.rows_null_time;
        self.rows_far_future += other.rows_far_future;
        self.rows_out_of_range += other.rows_out_of_range;
        self.rows_filtered += other.rows_filtered;
    }
}
