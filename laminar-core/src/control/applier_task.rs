//! Brings a sink's frames to its target, at least once.
//!
//! Invariants: frames of a shard are sent in order; whatever is not acknowledged when the applier
//! fails is sent again by its successor; acknowledgements go back to the stage that keeps the frame.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::source_task::Stop;
use crate::connector::{Applier, ConnectorError, Frame, Readiness, SinkFactory};
use crate::engine::FrameQueue;
use crate::engine::message::{Command, ControlLetter, Notice};
use crate::graph::SinkSpec;
use crate::ids::ShardId;
use crate::reactor::{Mailbox, Next, Now, Task};
use crate::shard::ShardMap;

/// How long one step may wait for the target.
const ACKNOWLEDGE_WAIT: Duration = Duration::from_millis(20);

/// The first and the longest pause after a failure, in microseconds.
const RETRY_US: (u64, u64) = (100_000, 5_000_000);

/// What an applier task works with.
pub struct ApplierTaskParts {
    /// The sink.
    pub spec: Arc<SinkSpec>,
    /// Its connector.
    pub factory: Arc<dyn SinkFactory>,
    /// Where frames come from.
    pub queue: Arc<FrameQueue>,
    /// All shards.
    pub shards: ShardMap,
    /// The inbox of each reactor.
    pub reactors: Vec<Arc<Mailbox<Command>>>,
    /// Where news go.
    pub control: Arc<Mailbox<ControlLetter>>,
    /// Ends it.
    pub stop: Arc<Stop>,
}

/// See the file's invariants.
pub struct ApplierTask {
    parts: ApplierTaskParts,
    applier: Option<Box<dyn Applier>>,
    /// Not offered yet.
    fresh: VecDeque<Arc<Frame>>,
    /// Offered and not acknowledged.
    sent: VecDeque<Arc<Frame>>,
    acknowledged: Vec<(ShardId, u64)>,
    pause: u64,
    troubled: bool,
}

impl ApplierTask {
    /// A task that has not begun.
    pub fn new(parts: ApplierTaskParts) -> Self {
        Self {
            parts,
            applier: None,
            fresh: VecDeque::new(),
            sent: VecDeque::new(),
            acknowledged: Vec::new(),
            pause: 0,
            troubled: false,
        }
    }

    fn work(&mut self) -> Result<Next, ConnectorError> {
        self.parts.queue.take(&mut self.fresh);
        let applier = match &mut self.applier {
            Some(applier) => applier,
            None => {
                let mut applier = self.parts.factory.create(&self.parts.spec)?;
                applier.start()?;
                self.applier.insert(applier)
            }
        };
        let mut busy = false;
        while let Some(frame) = self.fresh.pop_front() {
            let sent = applier.send(&frame);
            match sent.inspect_err(|_| self.fresh.push_front(frame.clone()))? {
                Readiness::Accepted => {
                    self.sent.push_back(frame);
                    busy = true;
                }
                Readiness::Busy => {
                    self.fresh.push_front(frame);
                    break;
                }
            }
        }
        if self.sent.is_empty() {
            return Ok(if busy { Next::Again } else { Next::Wait(None) });
        }
        applier.acknowledged(ACKNOWLEDGE_WAIT, &mut self.acknowledged)?;
        for (shard, sequence) in self.acknowledged.drain(..) {
            self.sent.retain(|frame| frame.shard != shard || frame.sequence > sequence);
            let reactor = self.parts.shards.reactor_of(shard);
            let sink = self.parts.spec.id;
            self.parts.reactors[usize::from(reactor.0)].post(Command::Acknowledged { sink, shard, sequence });
        }
        Ok(Next::Again)
    }

    fn say(&mut self, trouble: Option<ConnectorError>) {
        if trouble.is_some() || self.troubled {
            self.troubled = trouble.is_some();
            let notice = Notice::SinkState { sink: self.parts.spec.id, trouble };
            self.parts.control.post(ControlLetter::Notice(notice));
        }
    }
}

impl Task for ApplierTask {
    fn step(&mut self, now: Now) -> Next {
        if self.parts.stop.asked() {
            return Next::Done;
        }
        match self.work() {
            Ok(next) => {
                self.pause = 0;
                self.say(None);
                next
            }
            Err(error) => {
                // Everything that is not acknowledged is sent again, in order, by a new applier.
                self.applier = None;
                while let Some(frame) = self.sent.pop_back() {
                    self.fresh.push_front(frame);
                }
                self.say(Some(error));
                self.pause = (self.pause * 2).clamp(RETRY_US.0, RETRY_US.1);
                Next::Wait(Some(now.micros + self.pause))
            }
        }
    }
}
