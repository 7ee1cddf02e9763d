//! What travels on a lane from one reactor to another.
//!
//! Invariants: messages of one edge keep their order; rows need a credit of their edge, everything
//! else does not and is bounded by what it describes (one watermark, one barrier per edge in flight).

use crate::data::{Batch, EventTime};
use crate::ids::ShardId;
use crate::operator::Barrier;

/// One exchange of one pipeline; the same number on every reactor, never reused within a process life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EdgeId(pub u32);

impl EdgeId {
    /// The edge as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// How far event time has come on one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// No active split behind this input: it does not hold time back.
    Idle,
    /// No row at or before this time will follow, except late ones. [`EventTime::MAX`] = ended.
    At(EventTime),
}

impl Mark {
    /// The mark of a fresh input that may still bring anything.
    pub const UNKNOWN: Self = Self::At(EventTime::MIN);

    /// The minimum over inputs, idle ones left out; all idle = idle.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        match (self, other) {
            (Self::Idle, mark) | (mark, Self::Idle) => mark,
            (Self::At(a), Self::At(b)) => Self::At(a.min(b)),
        }
    }

    /// The mark of an input that had come to `kept` and goes on from there.
    #[must_use]
    pub fn behind(self, kept: Self) -> Self {
        match (self, kept) {
            (Self::UNKNOWN, _) => kept,
            (Self::At(mark), Self::At(kept)) => Self::At(mark.max(kept)),
            (mark, _) => mark,
        }
    }

    /// What can be kept of it: an input that has ended may be opened again and must not hold time back until then.
    #[must_use]
    pub fn to_keep(self) -> Self {
        if self == Self::At(EventTime::MAX) { Self::Idle } else { self }
    }

    /// The minimum over many; idle when there is none.
    pub fn over(marks: impl IntoIterator<Item = Self>) -> Self {
        marks.into_iter().fold(Self::Idle, Self::min)
    }
}

/// A run of rows of one shard inside a batch that is sorted by shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardRun {
    /// Whose rows.
    pub shard: ShardId,
    /// First row.
    pub start: u32,
    /// Number of rows.
    pub rows: u32,
}

/// One message.
#[derive(Debug)]
pub enum LaneMessage {
    /// Rows for shards of the receiver.
    Rows {
        /// The exchange.
        edge: EdgeId,
        /// Sorted by shard.
        batch: Batch,
        /// Where each shard's rows are.
        runs: Box<[ShardRun]>,
    },
    /// Event time of the sender's side of an edge.
    Watermark {
        /// The exchange.
        edge: EdgeId,
        /// The minimum over the sender's active splits.
        mark: Mark,
    },
    /// All rows of the epoch on this edge and lane have been sent.
    Barrier {
        /// The exchange.
        edge: EdgeId,
        /// The barrier.
        barrier: Barrier,
    },
    /// The receiver has worked off row messages of an edge.
    Credit {
        /// The exchange.
        edge: EdgeId,
        /// How many.
        messages: u32,
    },
}
