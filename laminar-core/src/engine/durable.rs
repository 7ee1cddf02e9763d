//! What makes a reactor's part of the engine durable: its log, its images, its outboxes.
//!
//! Invariant: without a data directory nothing here is called to keep anything, and a checkpoint
//! barrier is an epoch like any other.

use super::EngineError;
use super::core::Engine;
use crate::data::Batch;
use crate::ids::{CheckpointNumber, Epoch, ObjectId};
use crate::operator::Barrier;

impl Engine {
    /// Appends pushed rows to the log; returns their position, none when nothing is kept.
    pub(super) fn log_pushed(&mut self, _object: ObjectId, _batch: &Batch) -> Result<Option<u64>, EngineError> {
        Ok(None)
    }

    /// Everything up to here survives a power cut.
    pub(super) fn durable_lsn(&self) -> u64 {
        0
    }

    /// All local chains have passed a barrier.
    pub(super) fn barrier_passed(&mut self, _barrier: Barrier) {}

    /// A checkpoint was published.
    pub(super) fn published(&mut self, _number: CheckpointNumber, _epoch: Epoch) {}
}
