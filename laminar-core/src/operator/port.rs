//! The operator port.
//!
//! Invariants: an operator lives in one shard on one reactor and never blocks; it keeps whatever
//! must survive in the arena it is handed; results leave before the watermark or barrier that
//! caused them; what it drops it counts.

use arrow::array::RecordBatch;

use crate::data::{Batch, DataError, EventTime, KeyError, RowError};
use crate::expr::CompileError;
use crate::ids::{Epoch, OperatorId};
use laminar_storage::arena::{Arena, ArenaError};
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
    /// Later than the window's end plus the allowed lateness; a row counts once for each window it misses.
    LateDropped,
    /// An expression failed on the row.
    EvaluationFailed,
    /// A window or limit column was NULL.
    NullTime,
    /// Event time lies too far ahead of the arrival.
    FarFuture,
    /// An aggregate left the range of its type (DECIMAL(38)) or a value its size limit; the row does not count in its group.
    OutOfRange,
    /// Dropped by a filter.
    Filtered,
}

/// Why an operator cannot be built or go on; its island is detached.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct OperatorError {
    /// Stable code, `LDB-nnnn`.
    pub code: &'static str,
    /// What is wrong, with the operator and the limit, and what to do.
    pub message: String,
}

impl OperatorError {
    /// A failure with its code.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A defect of ours, not of the data or the query.
    pub fn defect(message: impl std::fmt::Display) -> Self {
        Self::new("LDB-3201", format!("{message}; this is a defect of LaminarDB, please report it"))
    }
}

impl From<DataError> for OperatorError {
    fn from(error: DataError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<crate::data::NotATimestamp> for OperatorError {
    fn from(error: crate::data::NotATimestamp) -> Self {
        DataError::from(error).into()
    }
}

impl From<arrow::error::ArrowError> for OperatorError {
    fn from(error: arrow::error::ArrowError) -> Self {
        DataError::from(error).into()
    }
}

impl From<KeyError> for OperatorError {
    fn from(error: KeyError) -> Self {
        Self::new("LDB-3101", error.to_string())
    }
}

impl From<RowError> for OperatorError {
    fn from(error: RowError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<CompileError> for OperatorError {
    fn from(error: CompileError) -> Self {
        Self::new("LDB-3202", error.message)
    }
}

impl From<ArenaError> for OperatorError {
    fn from(error: ArenaError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// What an operator may use while it handles a message.
pub trait Context {
    /// Sends rows to the operator's users.
    fn emit(&mut self, batch: Batch);

    /// The input watermark in force (the minimum over the inputs).
    fn watermark(&self) -> EventTime;

    /// Adds to a metric of this operator.
    fn count(&mut self, counter: Counter, rows: u64);

    /// The state of the pipeline on this shard. An operator opens tables under its own id only.
    fn arena(&mut self) -> &mut Arena;
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

    /// The input watermark moved to `watermark` (also what `ctx.watermark()` says now); emits what that
    /// closes, returns the output watermark.
    ///
    /// # Errors
    /// A limit was reached or a defect was found.
    fn on_watermark(&mut self, watermark: EventTime, _ctx: &mut dyn Context) -> Result<EventTime, OperatorError> {
        Ok(watermark)
    }

    /// An epoch ends; emits the changes of the epoch where it emits changes.
    ///
    /// # Errors
    /// A limit was reached or a defect was found.
    fn on_barrier(&mut self, _barrier: Barrier, _ctx: &mut dyn Context) -> Result<(), OperatorError> {
        Ok(())
    }

    /// The input watermark that the operator held back because its changes had not left; asked after each
    /// barrier, when they have.
    fn released(&mut self) -> Option<EventTime> {
        None
    }

    /// Rebuilds what is not stored (timers, open windows) from the arena; called once after build, also
    /// with an empty arena. The arena is that of a barrier whose epoch was announced complete.
    ///
    /// # Errors
    /// The stored state does not fit the operator.
    fn restore(&mut self, _ctx: &mut dyn Context) -> Result<(), OperatorError> {
        Ok(())
    }

    /// Bytes of state that it holds beside the arena. Asked for every batch, so cheap.
    fn heap_bytes(&self) -> u64 {
        0
    }

    /// The operator as something that can be read, if it can.
    fn as_readable(&mut self) -> Option<&mut dyn Readable> {
        None
    }
}

/// How far a read of a view has come; the default is its beginning. Order: that of the walk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadCursor(pub(crate) laminar_storage::arena::ScanCursor);

impl ReadCursor {
    /// Whether the walk has passed the place of rows whose key hashes to `hash`: a change of such a row
    /// must be handed on by whoever follows the walk, all others will be met.
    pub fn has_passed(self, hash: u64) -> bool {
        self.0.has_passed(hash)
    }
}

/// A result that can be read at complete epochs. All reads copy rows.
///
/// Changes are applied when their barrier passes, and what they replaced is kept aside until the epoch
/// is complete everywhere and nobody reads an older one; so a read at epoch E sees E and nothing later.
pub trait Readable {
    /// The newest epoch that was announced complete; none before the first (then the restored state is read).
    fn complete(&self) -> Option<Epoch>;

    /// An epoch is complete on all shards: reads may see it from now on.
    fn epoch_complete(&mut self, epoch: Epoch);

    /// Keeps the newest complete epoch readable until [`Readable::unpin`]; pins count.
    fn pin(&mut self) -> Option<Epoch>;

    /// Gives a pinned epoch up.
    fn unpin(&mut self, epoch: Option<Epoch>);

    /// Columns of the key by which [`Readable::get`] finds rows; none = a multiset.
    fn key(&self) -> Option<&[usize]>;

    /// The hash of each row's place in the walk of [`Readable::scan`], for [`ReadCursor::has_passed`].
    fn hashes(&mut self, rows: &RecordBatch) -> Vec<u64>;

    /// Copies rows as of an epoch (a pinned one, or the newest complete) in hash-prefix order of their keys, at least
    /// `max_rows` if there are as many; and where to go on, none at the end.
    ///
    /// # Errors
    /// The stored state does not fit the operator.
    fn scan(
        &mut self,
        at: Option<Epoch>,
        from: ReadCursor,
        max_rows: usize,
        arena: &Arena,
    ) -> Result<(RecordBatch, Option<ReadCursor>), OperatorError>;

    /// Copies the rows whose keys are given as columns, in key order; keys that are not there have no row.
    ///
    /// # Errors
    /// The view has no key, or the stored state does not fit the operator.
    fn get(&mut self, at: Option<Epoch>, keys: &RecordBatch, arena: &Arena) -> Result<RecordBatch, OperatorError>;
}
