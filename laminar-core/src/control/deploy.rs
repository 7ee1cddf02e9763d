//! Deployments: planned, built by every reactor, recorded, joined at one barrier.
//!
//! Invariants: one deployment at a time; until every reactor has built it nothing has changed; a
//! client is answered when it has joined.

use std::sync::Arc;

use super::applier_task::{ApplierTask, ApplierTaskParts};
use super::boot::BootStep;
use super::catalog::Entry;
use super::core::{Control, Running};
use super::planner::{NewSink, Planned, Planner};
use super::source_task::{SourceTask, SourceTaskParts, Stop};
use crate::connector::SinkIdentity;
use crate::engine::message::{Command, OpenedSplit};
use crate::engine::plan::{AttachPlan, DetachPlan};
use crate::engine::status::ObjectState;
use crate::engine::{Deployed, Deployment, EngineError, GroupId, Reply, undo};
use crate::epoch::Wanted;
use crate::graph::ObjectSpec;
use crate::ids::{Epoch, ObjectId, ReactorId};
use crate::reactor::Parker;

/// A deployment under way.
pub struct DeployFlight {
    plan: Arc<AttachPlan>,
    drops: Vec<ObjectId>,
    entries: Vec<(ObjectId, Entry)>,
    created: Vec<GroupId>,
    sinks: Vec<NewSink>,
    notices: Vec<String>,
    waiting: Vec<ReactorId>,
    error: Option<EngineError>,
    joins: Option<Epoch>,
    /// Whether the objects come from the catalog, at start.
    again: bool,
    reply: Reply<Deployed>,
}

impl DeployFlight {
    /// A client's deployment.
    pub(super) fn new(planned: Planned, drops: Vec<ObjectId>, reply: Reply<Deployed>) -> Self {
        Self {
            plan: Arc::new(planned.plan),
            drops,
            entries: planned.entries,
            created: planned.created,
            sinks: planned.sinks,
            notices: planned.notices,
            waiting: Vec::new(),
            error: None,
            joins: None,
            again: false,
            reply,
        }
    }

    /// Objects of the catalog, at start.
    pub(super) fn again(planned: Planned) -> Self {
        Self { again: true, ..Self::new(planned, Vec::new(), Reply::ignored()) }
    }

    /// Who waits for it.
    pub(super) fn into_reply(self) -> Reply<Deployed> {
        self.reply
    }

    /// Whether it is a part of the start.
    pub(super) fn is_again(&self) -> bool {
        self.again
    }

    /// Whether an object is part of it.
    pub(super) fn holds(&self, id: ObjectId) -> bool {
        let plan = &self.plan;
        plan.pipelines.iter().any(|pipeline| pipeline.spec.id == id)
            || plan.sinks.iter().any(|sink| sink.spec.id == id)
            || plan.pushes.iter().any(|push| push.source.id == id)
    }
}

impl Control {
    /// Begins the next deployment, if none is under way.
    pub(super) fn next_deploy(&mut self) {
        while self.deploying.is_none() && matches!(self.boot, BootStep::Ready) {
            let Some((deployment, reply)) = self.deploys.pop_front() else { return };
            match self.plan(&deployment) {
                Err(error) => reply.send(Err(error)),
                Ok(planned) => self.begin_flight(DeployFlight::new(planned, deployment.drop, reply)),
            }
        }
    }

    fn plan(&mut self, deployment: &Deployment) -> Result<Planned, EngineError> {
        for id in &deployment.drop {
            let entry = self.catalog.entries.get(id).ok_or(EngineError::NoSuchObject(*id))?;
            let readers = self.catalog.readers(*id, &deployment.drop);
            if !readers.is_empty() {
                return Err(EngineError::InUse { object: entry.spec.name().into(), readers: readers.join(", ") });
            }
        }
        let mut planner = Planner::new(&mut self.catalog, &self.registry, self.shards, self.store.is_some());
        let result = deployment.add.iter().try_for_each(|new| planner.add(new));
        let planned = planner.made;
        match result {
            Ok(()) => Ok(planned),
            Err(error) => {
                self.catalog.forget_created(&planned.created);
                Err(error)
            }
        }
    }

    /// Sends a planned deployment to the reactors.
    pub(super) fn begin_flight(&mut self, mut flight: DeployFlight) {
        let plan = flight.plan.clone();
        if plan.is_empty() {
            self.deploying = Some(flight);
            self.built();
            return;
        }
        flight.waiting = self.all_reactors();
        self.deploying = Some(flight);
        self.broadcast(|| Command::Attach(plan.clone()));
    }

    pub(super) fn all_reactors(&self) -> Vec<ReactorId> {
        (0..self.reactors.len() as u16).map(ReactorId).collect()
    }

    /// A reactor has built the plan, or not.
    pub(super) fn attached(&mut self, number: u64, reactor: ReactorId, result: Result<(), EngineError>) {
        let Some(flight) = self.deploying.as_mut().filter(|flight| flight.plan.number == number) else { return };
        flight.waiting.retain(|waiting| *waiting != reactor);
        if let Err(error) = result {
            flight.error.get_or_insert(error);
        }
        if flight.waiting.is_empty() {
            self.built();
        }
    }

    /// Every reactor has built the plan: it is recorded and joins, or is undone.
    fn built(&mut self) {
        let Some(mut flight) = self.deploying.take() else { return };
        let result = match flight.error.take() {
            Some(error) => Err(error),
            None if flight.again => Ok(()),
            None => self.record(&flight.entries, &flight.drops),
        };
        if let Err(error) = result {
            if flight.again {
                return self.refuse_start(error);
            }
            let plan = Arc::new(undo(&flight.plan));
            self.broadcast(|| Command::Detach(plan.clone()));
            self.catalog.forget_created(&flight.created);
            flight.reply.send(Err(error));
            self.next_deploy();
            return;
        }
        // The new before the old: a group that goes from one to the other is read all the time.
        for (id, entry) in std::mem::take(&mut flight.entries) {
            self.catalog.entries.insert(id, entry);
        }
        self.drop_objects(&flight.drops);
        if flight.plan.is_empty() {
            let epoch = self.coordinator.completed();
            flight.reply.send(Ok(Deployed { epoch, notices: flight.notices }));
            if !flight.again {
                self.next_deploy();
            }
            return;
        }
        let number = flight.plan.number;
        self.broadcast(|| Command::Activate(number));
        flight.joins = Some(self.coordinator.want(Wanted::Epoch));
        self.deploying = Some(flight);
    }

    /// An epoch is complete: a deployment that joined at its barrier is done.
    pub(super) fn joined(&mut self, epoch: Epoch) {
        if self.deploying.as_ref().is_none_or(|flight| flight.joins.is_none_or(|joins| epoch < joins)) {
            return;
        }
        let Some(flight) = self.deploying.take() else { return };
        if !flight.again {
            self.start_sources();
        }
        for sink in flight.sinks {
            self.start_sink(sink);
        }
        self.weigh_all();
        self.press();
        flight.reply.send(Ok(Deployed { epoch, notices: flight.notices }));
        if flight.again {
            self.boot_next();
            return;
        }
        if self.store.is_some() {
            // The new objects' positions become durable soon, not only with the next interval.
            self.coordinator.want(Wanted::Checkpoint);
        }
        self.next_deploy();
    }

    /// Removes objects from reactors and catalog.
    fn drop_objects(&mut self, objects: &[ObjectId]) {
        if objects.is_empty() {
            return;
        }
        let plan = DetachPlan { forget: true, ..self.catalog.detach(objects) };
        self.detach(plan);
        for id in objects {
            if let Some(running) = self.sinks.remove(id) {
                running.end();
            }
            self.end_followers(*id, "the object was dropped");
            self.catalog.entries.remove(id);
        }
        self.relieve(objects);
    }

    /// Removes fragments and groups from the reactors, but no group that a deployment under way reads.
    pub(super) fn detach(&mut self, mut plan: DetachPlan) {
        if let Some(flight) = &self.deploying {
            plan.groups.retain(|group| !flight.entries.iter().any(|(_, entry)| entry.groups.contains(group)));
        }
        let plan = Arc::new(plan);
        self.broadcast(|| Command::Detach(plan.clone()));
        for group in &plan.groups {
            if let Some(running) = self.sources.remove(group) {
                running.end();
            }
        }
        self.catalog.forget_groups(&plan);
    }

    /// Opens the connectors of groups that have readers and are not open yet; one that has lost its readers before it
    /// was opened is forgotten.
    pub(super) fn start_sources(&mut self) {
        let entries = &self.catalog.entries;
        let read = |id: &GroupId| entries.values().any(|entry| entry.groups.contains(id));
        self.catalog.groups.retain(|id, group| group.started || read(id));
        for id in self.catalog.groups.keys().copied().collect::<Vec<_>>() {
            self.start_group(id);
        }
    }

    /// Opens the connector of a group, if that was not done yet.
    pub(super) fn start_group(&mut self, id: GroupId) {
        let Some(group) = self.catalog.groups.get_mut(&id).filter(|group| !group.started) else { return };
        group.started = true;
        let spec = group.spec.clone();
        let factory = spec.connector.as_deref().and_then(|name| self.registry.sources.get(name)).cloned();
        let Some(factory) = factory else { return };
        let parker = Arc::new(Parker::default());
        let stop = Arc::new(Stop::default());
        let task = SourceTask::new(SourceTaskParts {
            group: id,
            positions: group.positions.clone(),
            factory,
            shards: self.shards,
            bells: self.bells.clone(),
            control: self.mailbox.clone(),
            stop: stop.clone(),
            discovery_us: self.options.discovery_interval.as_micros() as u64,
            spec: spec.clone(),
        });
        let started = self.spawn.spawn(format!("source-{}", spec.name), parker.clone(), Box::new(task));
        let state = match started {
            Ok(()) => {
                self.sources.insert(id, Running { stop, parker });
                ObjectState::Starting
            }
            Err(error) => ObjectState::Failed(format!("LDB-3041: no thread for the connector: {error}")),
        };
        if let Some(entry) = self.catalog.entries.get_mut(&spec.id) {
            entry.state = state;
        }
    }

    fn start_sink(&mut self, sink: NewSink) {
        let NewSink { spec, queue, parker, restored } = sink;
        let Some(factory) = self.registry.sinks.get(spec.connector.as_str()).cloned() else { return };
        let stop = Arc::new(Stop::default());
        let task = ApplierTask::new(ApplierTaskParts {
            identity: SinkIdentity {
                directory: self.store.as_ref().map_or(0, |store| store.directory.0),
                sink: spec.id,
            },
            restored,
            spec: spec.clone(),
            factory,
            queue,
            shards: self.shards,
            reactors: self.reactors.clone(),
            control: self.mailbox.clone(),
            stop: stop.clone(),
        });
        match self.spawn.spawn(format!("sink-{}", spec.name), parker.clone(), Box::new(task)) {
            Ok(()) => {
                self.sinks.insert(spec.id, Running { stop, parker });
            }
            Err(error) => {
                if let Some(entry) = self.catalog.entries.get_mut(&spec.id) {
                    entry.state = ObjectState::Failed(format!("LDB-3041: no thread for the connector: {error}"));
                }
            }
        }
    }

    /// A connector has opened splits: each goes to the reactor of its shard.
    pub(super) fn splits_found(&mut self, id: GroupId, splits: Vec<OpenedSplit>) {
        let Some(group) = self.catalog.groups.get_mut(&id) else { return };
        group.splits += splits.len();
        let spec = group.spec.clone();
        // A split that cannot be read on stays so, whatever others are found.
        if let Some(entry) = self.catalog.entries.get_mut(&spec.id).filter(|entry| entry.failure().is_none()) {
            entry.state = ObjectState::Running;
        }
        let mut of_reactor: Vec<Vec<OpenedSplit>> = self.reactors.iter().map(|_| Vec::new()).collect();
        for split in splits {
            of_reactor[usize::from(self.shards.reactor_of(split.shard).0)].push(split);
        }
        for (reactor, splits) in self.reactors.iter().zip(of_reactor) {
            reactor.post(Command::Splits { group: id, spec: spec.clone(), splits });
        }
    }

    /// A bounded split is over; when all are, a later query reads the source again.
    pub(super) fn split_ended(&mut self, id: GroupId) {
        let Some(group) = self.catalog.groups.get_mut(&id) else { return };
        group.ended += 1;
        if group.ended < group.splits {
            return;
        }
        group.over = true;
        if let Some(running) = self.sources.remove(&id) {
            running.end();
        }
        if let Some(entry) = self.catalog.entries.get_mut(&group.spec.id) {
            entry.state = ObjectState::Ended;
        }
    }

    /// A pipeline cannot go on: it and its readers stop, all others go on.
    pub(super) fn failed(&mut self, pipeline: ObjectId, error: &EngineError) {
        let Some(entry) = self.catalog.entries.get(&pipeline) else { return };
        if entry.failure().is_some() {
            return;
        }
        let name = entry.spec.name().to_owned();
        let stopped = self.catalog.downstream(pipeline);
        self.detach(self.catalog.detach(&stopped));
        for id in &stopped {
            self.end_followers(*id, &error.to_string());
            if let Some(running) = self.sinks.remove(id) {
                running.end();
            }
            if let Some(entry) = self.catalog.entries.get_mut(id) {
                entry.groups.clear();
                entry.state = ObjectState::Failed(if *id == pipeline {
                    error.to_string()
                } else {
                    format!("reads {name}, which has failed: {error}")
                });
            }
        }
        self.relieve(&stopped);
        // On a full disk the restart finds out by itself.
        let _ = self.record_states(&stopped);
    }
}

/// Whether an object's rows are kept.
pub fn keeps_rows(spec: &ObjectSpec) -> bool {
    match spec {
        ObjectSpec::Table(_) => true,
        ObjectSpec::Pipeline(pipeline) => pipeline.kind == crate::graph::PipelineKind::View,
        ObjectSpec::Source(_) | ObjectSpec::Sink(_) => false,
    }
}
