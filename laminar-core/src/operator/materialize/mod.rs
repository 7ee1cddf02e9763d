//! Materialize: keeps a view's rows and lets them be read at complete epochs.
//!
//! `store` holds rows in the arena, `undo` remembers what the epochs that are not complete yet replaced,
//! `operator` joins them to the stream, `read` answers reads.
//! Invariant: the arena holds the view as of the newest row applied (so a checkpoint's barrier finds it whole);
//! a read at epoch E sees the arena with everything after E undone.

mod operator;
mod read;
mod store;
#[cfg(test)]
mod tests;
mod undo;

pub(super) use operator::Materialize;

use super::layout::Kept;
use super::port::OperatorError;
use crate::data::StreamSchema;
use crate::ids::OperatorId;

/// What a view of this output keeps.
pub(super) fn layout(output: &StreamSchema, retention: Option<i64>) -> Result<Kept, OperatorError> {
    Ok(store::Store::new(OperatorId(0), output, retention)?.layout(output))
}
