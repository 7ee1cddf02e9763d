//! Frames on their way from the stages of a sink to its applier.
//!
//! Invariant: bounded by the stages' limits, since a stage keeps every frame until it is
//! acknowledged; frames of one shard keep their order.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::connector::Frame;
use crate::reactor::{Mailbox, Unpark};

/// See the file's invariant.
pub struct FrameQueue(Mailbox<Arc<Frame>>);

impl FrameQueue {
    /// A queue whose reader is woken through `unpark`.
    pub fn new(unpark: Arc<dyn Unpark>) -> Self {
        Self(Mailbox::new(unpark))
    }

    /// Adds a frame.
    pub fn push(&self, frame: Arc<Frame>) {
        self.0.post(frame);
    }

    /// Moves all frames to `into`.
    pub fn take(&self, into: &mut VecDeque<Arc<Frame>>) {
        self.0.take(into);
    }

    /// Whether frames wait.
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
