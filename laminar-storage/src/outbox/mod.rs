//! Outboxes: the encoded rows of a sink, staged per shard until the target has them.
//!
//! Invariant: what lies between a target's marker and the newest manifest's position is durable,
//! contiguous and readable; what lies behind the manifest's position is cut away at recovery.

mod cut;
mod reader;
mod writer;

pub use cut::{KeptSegment, OutboxFiles, cut, kept, list, remove};
pub use reader::{OutboxFrame, OutboxReader};
pub use writer::{OUTBOX_LOG, Outbox, OutboxStart, largest_frame};

#[cfg(test)]
mod tests;

/// Bytes of the epoch before each frame's payload.
const EPOCH_BYTES: usize = 8;
