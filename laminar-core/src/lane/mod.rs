//! Lanes: a bounded ring for each ordered pair of reactors.
//!
//! Invariants: a message is one batch sorted by shard, so stateless work is never cut below the
//! batch; a sender holds at most [`EDGE_CREDITS`] unanswered row messages per edge and lane, so one
//! slow edge never fills the ring for the others.

mod message;
mod ring;
mod sync;

pub use message::{EdgeId, LaneMessage, Mark, ShardRun};
pub use ring::{Consumer, Producer, ring};

/// Row messages of one edge that may be under way on one lane.
pub const EDGE_CREDITS: u32 = 4;

/// Slots of one lane.
pub const LANE_SLOTS: usize = 1024;

#[cfg(test)]
mod loom_tests;
#[cfg(test)]
mod tests;
