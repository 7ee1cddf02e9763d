//! Brings a sink's frames to its target: at least once as they come, or exactly once with checkpoints.
//!
//! Invariants: frames of a shard are sent in order; acknowledgements go back to the stage that keeps
//! the frame. At least once: whatever is not acknowledged when the applier fails is sent again by its
//! successor. Exactly once: a frame is sent only when its checkpoint is published, and together with
//! the marker; after a failure, of whatever kind, the target's marker decides what is sent again; a
//! target whose marker is ahead of the data directory is never written.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::guarded::guarded;
use super::sealed::Sealed;
use super::source_task::Stop;
use crate::connector::{Applier, ConnectorError, Fault, Frame, Readiness, SinkFactory, SinkIdentity};
use crate::crash_point::{CrashPoint, reach};
use crate::engine::message::{Command, ControlLetter, Notice};
use crate::engine::{FrameQueue, Staged};
use crate::graph::{Delivery, SinkSpec};
use crate::ids::{CheckpointNumber, ShardId};
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
    /// Its name at the target.
    pub identity: SinkIdentity,
    /// The checkpoint that it goes on from; 0 = none.
    pub restored: CheckpointNumber,
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
    /// With exactly-once delivery: what waits for its checkpoint.
    sealed: Option<Sealed>,
    /// The newest marker that the target can have of this directory: what the last life left, then what this one has
    /// tried to commit. Not what is published: a target that is ahead may be met late.
    known: CheckpointNumber,
    incoming: VecDeque<Staged>,
    pause: u64,
    /// Nothing is tried before, whatever wakes the task.
    rests_until: u64,
    troubled: bool,
}

impl ApplierTask {
    /// A task that has not begun.
    pub fn new(parts: ApplierTaskParts) -> Self {
        let exact = parts.spec.delivery == Delivery::ExactlyOnce;
        let sealed = exact.then(|| Sealed::new(parts.shards.shards()));
        Self {
            known: parts.restored,
            parts,
            sealed,
            incoming: VecDeque::new(),
            applier: None,
            fresh: VecDeque::new(),
            sent: VecDeque::new(),
            acknowledged: Vec::new(),
            pause: 0,
            rests_until: 0,
            troubled: false,
        }
    }

    fn work(&mut self) -> Result<Next, ConnectorError> {
        self.parts.queue.take(&mut self.incoming);
        for staged in self.incoming.drain(..) {
            match (&mut self.sealed, staged) {
                (Some(sealed), staged) => sealed.take(staged),
                (None, Staged::Frame(frame)) => self.fresh.push_back(frame),
                (None, Staged::Sealed { .. }) => {}
            }
        }
        if self.applier.is_none() {
            self.start()?;
        }
        if self.sealed.is_some() { self.commit() } else { self.send() }
    }

    /// Makes an applier; one that delivers exactly once says what its target has.
    fn start(&mut self) -> Result<(), ConnectorError> {
        let mut applier = self.parts.factory.create(&self.parts.spec, self.parts.identity)?;
        let marker = applier.start(self.known)?;
        reach(CrashPoint::MarkerRead);
        if let (Some(sealed), Some(marker)) = (&mut self.sealed, marker) {
            if marker > self.known {
                return Err(ahead(marker, self.known, self.parts.identity));
            }
            self.acknowledged = sealed.committed(marker);
            self.acknowledge();
        }
        self.applier = Some(applier);
        Ok(())
    }

    /// One transaction, if a checkpoint is complete.
    fn commit(&mut self) -> Result<Next, ConnectorError> {
        let (Some(sealed), Some(applier)) = (&mut self.sealed, &mut self.applier) else { return Ok(Next::Wait(None)) };
        let Some(next) = sealed.next() else { return Ok(Next::Wait(None)) };
        reach(CrashPoint::CommitBegins);
        self.known = next.checkpoint;
        applier.commit(next.checkpoint, &next.frames)?;
        reach(CrashPoint::CommitDone);
        self.acknowledged = sealed.committed(next.checkpoint);
        self.acknowledge();
        Ok(Next::Again)
    }

    fn acknowledge(&mut self) {
        let mut newest: BTreeMap<ShardId, u64> = BTreeMap::new();
        for (shard, sequence) in self.acknowledged.drain(..) {
            let known = newest.entry(shard).or_default();
            *known = sequence.max(*known);
        }
        self.sent.retain(|frame| newest.get(&frame.shard).is_none_or(|sequence| frame.sequence > *sequence));
        for (shard, sequence) in newest {
            let reactor = self.parts.shards.reactor_of(shard);
            let sink = self.parts.spec.id;
            self.parts.reactors[usize::from(reactor.0)].post(Command::Acknowledged { sink, shard, sequence });
        }
    }

    fn send(&mut self) -> Result<Next, ConnectorError> {
        let Some(applier) = &mut self.applier else { return Ok(Next::Wait(None)) };
        let mut busy = false;
        while let Some(frame) = self.fresh.front() {
            match applier.send(frame)? {
                Readiness::Accepted => {
                    self.sent.extend(self.fresh.pop_front());
                    busy = true;
                }
                Readiness::Busy => break,
            }
        }
        if self.sent.is_empty() {
            return Ok(if busy { Next::Again } else { Next::Wait(None) });
        }
        applier.acknowledged(ACKNOWLEDGE_WAIT, &mut self.acknowledged)?;
        self.acknowledge();
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
        if now.micros < self.rests_until {
            return Next::Wait(Some(self.rests_until));
        }
        let spec = self.parts.spec.clone();
        match guarded(&spec.name, || self.work()) {
            Ok(next) => {
                self.pause = 0;
                self.say(None);
                next
            }
            Err(error) => {
                // Everything that is not acknowledged is sent again, in order, by a new applier.
                let old = self.applier.take();
                let ended = guarded(&spec.name, || {
                    drop(old);
                    Ok(())
                });
                let error = match ended {
                    Err(panic) if error.fault != Fault::Fenced => panic,
                    _ => error,
                };
                while let Some(frame) = self.sent.pop_back() {
                    self.fresh.push_front(frame);
                }
                let final_one = error.fault == Fault::Fenced;
                self.say(Some(error));
                if final_one {
                    return Next::Done;
                }
                self.pause = (self.pause * 2).clamp(RETRY_US.0, RETRY_US.1);
                self.rests_until = now.micros + self.pause;
                Next::Wait(Some(self.rests_until))
            }
        }
    }
}

/// The target has more than the data directory: nothing may be sent.
fn ahead(marker: CheckpointNumber, known: CheckpointNumber, identity: SinkIdentity) -> ConnectorError {
    let message = format!(
        "the target holds checkpoint {marker} of {identity}, and this data directory knows of none beyond {known}: the \
         directory was restored from an older copy, or its newest checkpoint is damaged; nothing is sent; restore \
         the newer directory, or drop the sink and create it anew to write again from its beginning"
    );
    ConnectorError::fenced("LDB-3033", message)
}
