//! The control thread's state machine.
//!
//! Invariants: it never blocks on a reactor; a client's request is answered exactly once, at the
//! latest when the engine stops.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::boot::BootStep;
use super::catalog::Catalog;
use super::deploy::DeployFlight;
use super::memory::Memory;
use super::pressure::Pressure;
use super::publish::Collecting;
use super::query::{Follower, ReadFlight, StatusFlight, WaitingRead};
use super::source_task::Stop;
use super::stop::Draining;
use crate::connector::{Fault, Registry};
use crate::crash_point::{CrashPoint, reach};
use crate::data::EventTime;
use crate::engine::message::{Command, ControlLetter, Event, Notice, Request};
use crate::engine::status::ObjectState;
use crate::engine::{Boot, ControlStore, Deployed, Deployment, EngineError, EngineOptions, GroupId, Reply};
use crate::epoch::{Action, Coordinator, Wanted};
use crate::ids::{CheckpointNumber, Epoch, ObjectId, ReactorId};
use crate::operator::Barrier;
use crate::reactor::{Bell, Mailbox, Next, Now, Parker, Spawn, Task};
use crate::shard::ShardMap;

/// What a control thread is made of.
pub struct ControlParts {
    /// Options.
    pub options: EngineOptions,
    /// Connectors and formats.
    pub registry: Registry,
    /// Starts connectors and appliers.
    pub spawn: Arc<dyn Spawn>,
    /// Its own letters.
    pub mailbox: Arc<Mailbox<ControlLetter>>,
    /// Inbox of each reactor.
    pub reactors: Vec<Arc<Mailbox<Command>>>,
    /// Bell of each reactor.
    pub bells: Vec<Arc<Bell>>,
    /// All shards.
    pub shards: ShardMap,
    /// When barriers are injected.
    pub coordinator: Coordinator,
    /// Its disk; none = nothing is kept.
    pub store: Option<ControlStore>,
    /// What to deploy again.
    pub boot: Boot,
    /// Answered when that is done.
    pub ready: Reply<()>,
}

/// A task beside the reactors that can be ended.
pub(super) struct Running {
    pub(super) stop: Arc<Stop>,
    pub(super) parker: Arc<Parker>,
}

impl Running {
    pub(super) fn end(&self) {
        use crate::reactor::Unpark;
        self.stop.ask();
        self.parker.unpark();
    }
}

/// See the file's invariants.
pub struct Control {
    pub(super) options: EngineOptions,
    pub(super) registry: Registry,
    pub(super) spawn: Arc<dyn Spawn>,
    pub(super) mailbox: Arc<Mailbox<ControlLetter>>,
    pub(super) reactors: Vec<Arc<Mailbox<Command>>>,
    pub(super) bells: Vec<Arc<Bell>>,
    pub(super) shards: ShardMap,
    pub(super) coordinator: Coordinator,
    pub(super) catalog: Catalog,
    pub(super) sources: BTreeMap<GroupId, Running>,
    pub(super) sinks: BTreeMap<ObjectId, Running>,
    pub(super) deploys: VecDeque<(Deployment, Reply<Deployed>)>,
    pub(super) deploying: Option<DeployFlight>,
    pub(super) waiting_reads: Vec<WaitingRead>,
    pub(super) reads: BTreeMap<u64, ReadFlight>,
    pub(super) followers: BTreeMap<u64, Follower>,
    pub(super) statuses: BTreeMap<u64, StatusFlight>,
    pub(super) flushes: Vec<(Epoch, Reply<Epoch>)>,
    /// Asked for, and not begun.
    pub(super) checkpoints: Vec<Reply<CheckpointNumber>>,
    pub(super) collecting: Collecting,
    pub(super) store: Option<ControlStore>,
    pub(super) newest_checkpoint: Option<(CheckpointNumber, u64)>,
    pub(super) pressure: Pressure,
    pub(super) memory: Memory,
    /// The moment of the present step.
    pub(super) now: Now,
    pub(super) boot: BootStep,
    pub(super) boot_replay: Vec<(ObjectId, Vec<u8>)>,
    pub(super) ready: Option<Reply<()>>,
    pub(super) next_request: u64,
    letters: VecDeque<ControlLetter>,
    pub(super) stopping: Option<Vec<Reply<()>>>,
    /// Why the end that is asked for has no last checkpoint, until it has.
    pub(super) unsaved: Option<EngineError>,
    pub(super) draining: Option<Draining>,
    stopped: Vec<ReactorId>,
    pub(super) over: bool,
    begun: bool,
    /// Whether an epoch does not complete.
    pub(super) stuck: bool,
}

impl Control {
    /// A control thread with nothing deployed.
    pub fn new(parts: ControlParts) -> Self {
        Self {
            options: parts.options,
            registry: parts.registry,
            spawn: parts.spawn,
            mailbox: parts.mailbox,
            reactors: parts.reactors,
            bells: parts.bells,
            shards: parts.shards,
            coordinator: parts.coordinator,
            catalog: Catalog::default(),
            sources: BTreeMap::new(),
            sinks: BTreeMap::new(),
            deploys: VecDeque::new(),
            deploying: None,
            waiting_reads: Vec::new(),
            reads: BTreeMap::new(),
            followers: BTreeMap::new(),
            statuses: BTreeMap::new(),
            flushes: Vec::new(),
            checkpoints: Vec::new(),
            collecting: Collecting::default(),
            store: parts.store,
            newest_checkpoint: None,
            pressure: Pressure::default(),
            memory: Memory::default(),
            now: Now { micros: 0, wall: EventTime::MIN },
            boot: BootStep::Resume(parts.boot),
            boot_replay: Vec::new(),
            ready: Some(parts.ready),
            next_request: 0,
            letters: VecDeque::new(),
            stopping: None,
            unsaved: None,
            draining: None,
            stopped: Vec::new(),
            over: false,
            begun: false,
            stuck: false,
        }
    }

    /// Whether a letter waits.
    pub fn is_woken(&self) -> bool {
        self.mailbox.waiting()
    }

    /// Sends a command to every reactor.
    pub(super) fn broadcast(&self, command: impl Fn() -> Command) {
        for reactor in &self.reactors {
            reactor.post(command());
        }
    }

    /// A number for a request.
    pub(super) fn number(&mut self) -> u64 {
        self.next_request += 1;
        self.next_request
    }

    fn letter(&mut self, letter: ControlLetter, now: Now) {
        match letter {
            ControlLetter::Request(request) => self.request(request),
            ControlLetter::Event(event) => self.event(event, now),
            ControlLetter::Notice(notice) => self.notice(notice),
        }
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::Deploy(deployment, reply) => {
                self.deploys.push_back((deployment, reply));
                self.next_deploy();
            }
            Request::Read(request, reply) => self.read(request, reply),
            Request::Subscribe(object, snapshot, subscriber, reply) => {
                self.subscribe(object, snapshot, subscriber, reply);
            }
            Request::Unsubscribe(id) => self.unsubscribe(id),
            Request::Flush(reply) => {
                let epoch = self.coordinator.want(Wanted::Epoch);
                self.flushes.push((epoch, reply));
            }
            Request::Checkpoint(reply) => {
                if self.store.is_none() {
                    reply.send(Err(EngineError::NotDurable("CHECKPOINT")));
                    return;
                }
                self.coordinator.want(Wanted::Checkpoint);
                self.checkpoints.push(reply);
            }
            Request::Advance(advance, reply) => match self.catalog.entries.get(&advance.source) {
                Some(entry) if entry.push.is_some() => {
                    self.broadcast(|| Command::Advance(advance));
                    self.coordinator.data_flows();
                    reply.send(Ok(()));
                }
                Some(entry) => reply.send(Err(EngineError::Unsupported {
                    name: entry.spec.name().into(),
                    reason: "is not a push source: its rows move its watermark".into(),
                })),
                None => reply.send(Err(EngineError::NoSuchObject(advance.source))),
            },
            Request::Pause(object, reply) => self.pause(object, reply),
            Request::Resume(object, reply) => self.resume(object, reply),
            Request::Limit(object, memory, record, reply) => self.set_limit(object, memory, record, reply),
            Request::Status(reply) => self.status(reply),
            Request::Shutdown(reply) => self.shutdown(reply),
        }
    }

    fn event(&mut self, event: Event, now: Now) {
        match event {
            Event::Attached { number, reactor, result } => self.attached(number, reactor, result),
            Event::Passed { reactor, barrier, cursors } => {
                self.collect_cursors(barrier, cursors);
                if let Some(barrier) = self.coordinator.passed(reactor, barrier.epoch, now.micros) {
                    self.completed(barrier);
                }
            }
            Event::Stored { reactor, barrier, part } => self.part_stored(reactor, barrier, part, now.micros),
            Event::Refused(error) => self.refuse_start(error),
            Event::Replayed(bytes) => self.replayed(bytes),
            Event::Saved(saved) => self.saved(saved, now),
            Event::Drained { reactor, outboxes } => self.drained(reactor, outboxes),
            Event::Held(reply) => self.held(reply),
            Event::Freed(object, reply) => self.freed(object, reply),
            Event::DataFlows => self.coordinator.data_flows(),
            Event::WantsCheckpoint => {
                self.coordinator.want(Wanted::Checkpoint);
            }
            Event::Pressed { sink, reactor, full } => self.pressed(sink, reactor, full),
            Event::Holds { pipeline, reactor, bytes } => self.holds(pipeline, reactor, bytes),
            Event::Spill { pipeline, reactor, news } => self.spill_news(pipeline, reactor, news),
            Event::Failed { pipeline, error } => self.failed(pipeline, &error),
            Event::SplitFailed { object, split, error } => {
                if let Some(entry) = self.catalog.entries.get_mut(&object) {
                    entry.state = ObjectState::Failed(format!("split {}: {}: {}", split.0, error.code, error.message));
                }
            }
            Event::SplitEnded { group, split: _ } => self.split_ended(group),
            Event::ReadPart { read, result } => self.read_part(read, result),
            Event::Changes { id, reactor: _, epoch, snapshot, batches } => {
                self.changes(id, epoch, snapshot, batches);
            }
            Event::Status { id, status } => self.status_part(id, *status, now),
            Event::Fatal(error) => self.fatal(&error),
            Event::Stopped(reactor) => {
                if !self.stopped.contains(&reactor) {
                    self.stopped.push(reactor);
                }
                if self.stopped.len() == self.reactors.len() {
                    self.over = true;
                }
            }
        }
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::SplitsFound { group, splits } => self.splits_found(group, splits),
            Notice::SourceFailed { group, error } => {
                let Some(source) = self.catalog.groups.get(&group) else { return };
                let text = format!("{}: {}", error.code, error.message);
                let state = match error.fault {
                    Fault::External => ObjectState::Waiting(text),
                    _ => ObjectState::Failed(text),
                };
                if let Some(entry) = self.catalog.entries.get_mut(&source.spec.id) {
                    entry.state = state;
                }
            }
            Notice::SinkState { sink, trouble: Some(error) } if error.fault == Fault::Fenced => {
                // Its stages end too: what nobody takes must not hold back what it reads.
                self.failed(sink, &error.into());
            }
            Notice::SinkState { sink, trouble } => {
                // An applier that is ending may still speak for a sink that has failed: that stays.
                if let Some(entry) = self.catalog.entries.get_mut(&sink).filter(|entry| entry.failure().is_none()) {
                    entry.state = trouble.map_or(ObjectState::Running, |error| {
                        ObjectState::Waiting(format!("{}: {}", error.code, error.message))
                    });
                }
            }
        }
    }

    /// An epoch is complete on all reactors.
    fn completed(&mut self, barrier: Barrier) {
        self.stuck = false;
        let epoch = barrier.epoch;
        self.broadcast(|| Command::Announce(epoch));
        for (wanted, reply) in std::mem::take(&mut self.flushes) {
            if wanted <= epoch {
                reply.send(Ok(epoch));
            } else {
                self.flushes.push((wanted, reply));
            }
        }
        self.joined(epoch);
        self.dispatch_reads();
    }

    fn drive_epochs(&mut self, now: Now) -> Option<u64> {
        loop {
            match self.coordinator.poll(now.micros) {
                Action::Wait(until) => return until,
                Action::Inject(barrier) => {
                    if barrier.checkpoint.is_some() {
                        self.begin_collecting();
                        if self.stopping.is_some() {
                            // What flows behind this barrier is not staged: no later checkpoint may hold it.
                            self.coordinator.forbid_checkpoints();
                        }
                    }
                    self.broadcast(|| Command::Barrier(barrier));
                    if barrier.checkpoint.is_some() {
                        reach(CrashPoint::BarrierInjected);
                    }
                }
                Action::Stuck(_) => {
                    self.stuck = true;
                    if self.stopping.is_some() {
                        self.stop_reactors();
                    }
                }
            }
        }
    }
}

impl Task for Control {
    fn step(&mut self, now: Now) -> Next {
        self.now = now;
        if !self.begun {
            self.begun = true;
            self.boot_next();
        }
        let mut letters = std::mem::take(&mut self.letters);
        self.mailbox.take(&mut letters);
        for letter in letters.drain(..) {
            self.letter(letter, now);
        }
        self.letters = letters;
        if self.over {
            self.mailbox.close();
            for reactor in &self.reactors {
                reactor.close();
            }
            let end = self.unsaved.take().map_or(Ok(()), Err);
            if let Some(replies) = self.stopping.take() {
                // All reactors have closed their files: who hears of the end may open the directory at once.
                self.store = None;
                replies.into_iter().for_each(|reply| reply.send(end.clone()));
            }
            return Next::Done;
        }
        let until = self.drive_epochs(now).into_iter().chain(self.end_drain(now)).min();
        if self.is_woken() { Next::Again } else { Next::Wait(until) }
    }
}
