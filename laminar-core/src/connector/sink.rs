//! The port of sinks: appliers that bring staged frames to their target.
//!
//! A sink is a stage (the engine's own: encode → outbox) and an applier (here). Invariant: frames
//! of one (sink, shard) arrive in order and each exactly once per life of the applier; after a
//! restart the engine delivers again whatever was not acknowledged.

use std::sync::Arc;
use std::time::Duration;

use super::ConnectorError;
use crate::ids::{CheckpointNumber, ObjectId, ShardId};

/// Who writes: the same over restarts, and another one for every data directory and sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkIdentity {
    /// The data directory's number.
    pub directory: u64,
    /// The sink.
    pub sink: ObjectId,
}

impl std::fmt::Display for SinkIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "laminardb-{:016x}-{}", self.directory, self.sink)
    }
}

/// One encoded record of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameRecord {
    /// Message key.
    pub key: Option<Vec<u8>>,
    /// Body; none = delete (tombstone).
    pub value: Option<Vec<u8>>,
    /// Event time in milliseconds since 1970 UTC, where the stream has a time attribute.
    pub timestamp_ms: Option<i64>,
}

/// Encoded records of one batch, of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The shard that staged it.
    pub shard: ShardId,
    /// Counts frames of (sink, shard) from 0 in this process life; acknowledged as a prefix.
    pub sequence: u64,
    /// The records, in order.
    pub records: Vec<FrameRecord>,
}

/// Whether an applier took a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Taken.
    Accepted,
    /// Its queue is full; offer the frame again after [`Applier::acknowledged`].
    Busy,
}

/// Brings frames to one target. Has a thread of its own; calls may block up to their time limit.
pub trait Applier: Send {
    /// Connects; with exactly-once delivery returns the newest checkpoint the target has, and fences older lives
    /// unless that is beyond `known`, the newest that the data directory can have brought there: a directory that is
    /// behind its target takes nothing from the life that goes on.
    ///
    /// # Errors
    /// The target is away or refuses us.
    fn start(&mut self, known: CheckpointNumber) -> Result<Option<CheckpointNumber>, ConnectorError>;

    /// Begins to send a frame (at least once); does not wait for the target.
    ///
    /// # Errors
    /// The target refused an earlier frame for good, or is gone.
    fn send(&mut self, frame: &Arc<Frame>) -> Result<Readiness, ConnectorError>;

    /// Waits at most `wait` for progress; appends for each shard with news the sequence up to which
    /// (inclusive) all frames are safe at the target.
    ///
    /// # Errors
    /// A record was refused for good, or the target is gone: the engine starts the applier anew and sends again.
    fn acknowledged(&mut self, wait: Duration, into: &mut Vec<(ShardId, u64)>) -> Result<(), ConnectorError>;

    /// Writes all frames up to a checkpoint and its marker in one atomic step of the target.
    ///
    /// # Errors
    /// The outcome is unknown or failed: the engine drops the applier, starts a new one, reads its marker
    /// and sends again whatever the marker does not cover. [`super::Fault::Fenced`] is final.
    fn commit(&mut self, checkpoint: CheckpointNumber, frames: &[Arc<Frame>]) -> Result<(), ConnectorError>;
}
