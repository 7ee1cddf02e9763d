//! The operator port.
//!
//! Invariants: an operator lives in one shard on one reactor and never blocks; it keeps whatever
//! must survive in the arena it is handed; results leave before the watermark or barrier that
//! caused them; what it drops it counts.

use arrow::array::RecordBatch;

use crate::data::{Batch, EventTime};
use crate::ids::{Epoch, OperatorId};
use laminar_storage::ids::CheckpointNumber;

/// The end of an epoch, in-band.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Barrier {
    /// The epoch that ends.
    pub epoch: Epoch,
    /// Set when the epoch is a checkpoint.
    pub checkpoint: Option<CheckpointNumber>,
}

/// Why rows left the stream; each is a metric per operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counter {
    /// Later than the window's end plus the allowed lateness.
    LateDropped,
    /// An expression failed on the row.
    EvaluationFailed,
    /// A window or limit column was NULL.
    NullTime,
    /// Dropped by a filter.
    Filtered,
}

/// Why an operator cannot go on; its island is detached.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct OperatorError {
    /// Stable code, `LDB-nnnn`.
    pub code: &'static str,
    /// What is wrong, with the operator and the limit, and what to do.
    pub message: String,
}

/// What an operator may use while it handles a message.
pub trait Context {
    /// Sends rows to the operator's users.
    fn emit(&mut self, batch: Batch);

    /// The input watermark in force (the minimum over the inputs).
    fn watermark(&self) -> EventTime;

    /// Adds to a metric of this operator.
    fn count(&mut self, counter: Counter, rows: u64);
}

/// One operator of a chain.
pub trait Operator: Send {
    /// Its id, under which it keeps state.
    fn id(&self) -> OperatorId;

    /// Takes rows from an input.
    ///
    /// # Errors
    /// A limit was reached or a defect was found.
    fn on_batch(&mut self, input: usize, batch: Batch, ctx: &mut dyn Context) -> Result<(), OperatorError>;

    /// The input watermark moved to `watermark`; emits what that closes, returns the output watermark.
    ///
    /// # Errors
    /// A limit was reached or a defect was found.
    fn on_watermark(&mut self, watermark: EventTime, ctx: &mut dyn Context) -> Result<EventTime, OperatorError>;

    /// An epoch ends; emits the changes of the epoch where it emits changes.
    ///
    /// # Errors
    /// A limit was reached or a defect was found.
    fn on_barrier(&mut self, barrier: Barrier, ctx: &mut dyn Context) -> Result<(), OperatorError>;

    /// Rebuilds what is not stored (timers, open windows) from the arena; called once after build.
    ///
    /// # Errors
    /// The stored state does not fit the operator.
    fn restore(&mut self, ctx: &mut dyn Context) -> Result<(), OperatorError>;
}

/// What an operator whose result is readable offers beside [`Operator`].
pub trait Readable {
    /// Copies rows in hash-prefix order, up to about `max_rows` a call.
    ///
    /// # Errors
    /// The stored state does not fit the operator.
    fn scan(
        &self,
        from: u64,
        max_rows: usize,
        ctx: &mut dyn Context,
    ) -> Result<(RecordBatch, Option<u64>), OperatorError>;
}
