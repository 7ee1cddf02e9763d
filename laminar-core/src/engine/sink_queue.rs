//! Frames and seals on their way from the stages of a sink to its applier.
//!
//! Invariant: bounded by the stages' limits, since a stage keeps every frame until it is
//! acknowledged; what one shard sends keeps its order.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::connector::Frame;
use crate::ids::{CheckpointNumber, ShardId};
use crate::reactor::{Mailbox, Unpark};

/// What a stage tells its applier.
pub enum Staged {
    /// Rows to bring to the target.
    Frame(Arc<Frame>),
    /// A checkpoint is published: the shard's frames before `end` belong to it or to older ones.
    Sealed {
        /// The shard.
        shard: ShardId,
        /// The checkpoint.
        checkpoint: CheckpointNumber,
        /// The first frame that is younger.
        end: u64,
    },
}

/// See the file's invariant.
pub struct FrameQueue(Mailbox<Staged>);

impl FrameQueue {
    /// A queue whose reader is woken through `unpark`.
    pub fn new(unpark: Arc<dyn Unpark>) -> Self {
        Self(Mailbox::new(unpark))
    }

    /// Adds a frame or a seal.
    pub fn push(&self, staged: Staged) {
        self.0.post(staged);
    }

    /// Moves everything to `into`.
    pub fn take(&self, into: &mut VecDeque<Staged>) {
        self.0.take(into);
    }

    /// Whether something waits.
    pub fn waiting(&self) -> bool {
        self.0.waiting()
    }

    /// Ends the queue.
    pub fn close(&self) {
        self.0.close();
    }
}

impl std::fmt::Debug for FrameQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FrameQueue")
    }
}
