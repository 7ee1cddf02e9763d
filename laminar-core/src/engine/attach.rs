//! Building and removing objects on one reactor.
//!
//! Invariant: a plan is built whole or not at all; a built plan takes no part in anything before it
//! joins at a barrier, except that messages of its edges are kept for it.

use std::sync::Arc;

use super::EngineError;
use super::chain::Chain;
use super::core::{Engine, Group, PendingPlan};
use super::feed::{GroupId, User};
use super::fragment::Fragment;
use super::message::Event;
use super::plan::{AttachPlan, DetachPlan, FragmentPlan, LeafPlan, PipelinePlan};
use super::push::Push;
use super::requests::{Requests, requests_id};
use super::route::{Link, SendRouter};
use super::stage::Stage;
use crate::data::StreamSchema;
use crate::graph::{MemoryPolicy, PipelineSpec};
use crate::ids::ObjectId;
use crate::lane::Mark;
use crate::operator::{Operator, OperatorError, Place, build};
use crate::reactor::Now;
use laminar_storage::arena::{Arena, ArenaOptions};

impl Engine {
    /// Builds a plan and answers whether it can run.
    pub(super) fn attach(&mut self, plan: &Arc<AttachPlan>, now: Now) {
        let result = self.build(plan, now);
        if result.is_err() {
            self.detach(&undo(plan));
        }
        self.tell(Event::Attached { number: plan.number, reactor: self.me, result });
    }

    fn build(&mut self, plan: &Arc<AttachPlan>, now: Now) -> Result<(), EngineError> {
        for pipeline in &plan.pipelines {
            self.build_pipeline(pipeline)?;
        }
        for push in &plan.pushes {
            let slot = self.slot_of(push.home);
            let mut made = Push::new(push, slot, &self.registry, self.compiler.as_ref(), now)?;
            if let Some(slot) = slot {
                let kept = self.kept_arena(requests_id(push.source.id), slot);
                made.requests = Some(Requests::new(push.source.id, self.limits.request_keys, kept)?);
            }
            self.group(push.group).assigned = true;
            self.pushes.push(made);
        }
        for sink in &plan.sinks {
            let largest = self.store.as_ref().map(|store| store.outboxes.largest_frame());
            let mut stage = Stage::new(sink, &self.slots, &self.registry, (self.limits.outbox_bytes, largest))?;
            if let Some(store) = self.store.as_mut() {
                for (slot, shard) in self.slots.iter().enumerate() {
                    stage.resend(slot, store.outboxes.resume(sink.spec.id, *shard)?);
                }
            }
            self.stages.push(stage);
        }
        self.pending.push(PendingPlan { plan: plan.clone(), activated: false });
        Ok(())
    }

    fn build_pipeline(&mut self, plan: &PipelinePlan) -> Result<(), EngineError> {
        let name: Arc<str> = plan.spec.name.as_str().into();
        let memory = plan.spec.memory;
        let addresses = arena_bytes(memory.limit.unwrap_or(self.limits.state_bytes), memory.policy);
        for fragment in &plan.fragments {
            let mut chains = Vec::with_capacity(self.slots.len());
            let mut arenas = Vec::with_capacity(self.slots.len());
            for slot in 0..self.slots.len() {
                let mut arena = self.arena(arena_id(plan.spec.id, fragment.index), slot, addresses)?;
                let mut chain = Chain::new(&fragment.shape, self.operators(&plan.spec, fragment, slot)?);
                chain.restore(&mut arena)?;
                chains.push(chain);
                arenas.push(arena);
            }
            self.place_fragment(plan, fragment, name.clone(), (chains, arenas))?;
        }
        Ok(())
    }

    /// The arena as a checkpoint left it, else a new one.
    fn arena(&mut self, id: ObjectId, slot: usize, addresses: u64) -> Result<Arena, OperatorError> {
        match self.kept_arena(id, slot) {
            Some(kept) => Ok(kept),
            None => {
                let options = ArenaOptions { memory_limit: addresses, ..ArenaOptions::new(id) };
                Ok(Arena::new(options)?)
            }
        }
    }

    /// The arena as a checkpoint left it.
    fn kept_arena(&mut self, id: ObjectId, slot: usize) -> Option<Arena> {
        let found = self.restored.iter().position(|(at, arena)| *at == slot && arena.id() == id)?;
        Some(self.restored.swap_remove(found).1)
    }

    fn operators(
        &self,
        pipeline: &PipelineSpec,
        fragment: &FragmentPlan,
        slot: usize,
    ) -> Result<Vec<Option<Box<dyn Operator>>>, OperatorError> {
        let place = Place { shards: self.shards, shard: self.slots[slot] };
        let vertices = fragment.shape.vertices.iter();
        vertices
            .map(|vertex| {
                if vertex.operator.is_none() {
                    return Ok(None);
                }
                let node = &pipeline.nodes[vertex.node];
                let inputs: Vec<&StreamSchema> =
                    node.inputs.iter().map(|&input| &pipeline.nodes[input].output).collect();
                build(node, &inputs, self.compiler.as_ref(), place).map(Some)
            })
            .collect()
    }

    fn place_fragment(
        &mut self,
        pipeline: &PipelinePlan,
        plan: &FragmentPlan,
        name: Arc<str>,
        state: (Vec<Chain>, Vec<Arena>),
    ) -> Result<(), EngineError> {
        let reactors = self.lanes.reactors();
        let leaves = plan
            .leaves
            .iter()
            .map(|leaf| match leaf {
                LeafPlan::Exchange { edge } => (Some(*edge), reactors),
                LeafPlan::Source { .. } | LeafPlan::Relation { .. } | LeafPlan::Hand => (None, 1),
            })
            .collect();
        let routers = plan
            .spec
            .sends
            .iter()
            .map(|send| SendRouter::new(&pipeline.spec.nodes[send.node].output.columns, &send.keys))
            .collect::<Result<Vec<_>, _>>()
            .map_err(OperatorError::from)?;
        let mut fragment = Fragment::new(pipeline.spec.id, name, plan, state, routers, leaves);
        fragment.durable = self.store.is_some();
        if fragment.durable && pipeline.spec.memory.policy.waits() {
            let enters = |leaf: &LeafPlan| matches!(leaf, LeafPlan::Source { .. } | LeafPlan::Relation { .. });
            let leaves = plan.leaves.iter().enumerate().filter(|(_, leaf)| enters(leaf));
            fragment.keep_time(leaves.map(|(index, _)| index).collect());
        }
        self.count_bytes(&mut fragment);
        let index = plan.id.index();
        if self.fragments.len() <= index {
            self.fragments.resize_with(index + 1, || None);
            self.links.resize_with(index + 1, Vec::new);
        }
        self.fragments[index] = Some(Box::new(fragment));
        for edge in &plan.edges {
            self.lanes.open(*edge);
        }
        for (leaf, from) in plan.leaves.iter().enumerate() {
            if let LeafPlan::Exchange { edge } = from {
                if self.receivers.len() <= edge.index() {
                    self.receivers.resize(edge.index() + 1, None);
                }
                self.receivers[edge.index()] = Some((plan.id, leaf));
            }
        }
        Ok(())
    }

    /// Lets all activated plans join behind `epoch`.
    pub(super) fn join_pending(&mut self, epoch: crate::ids::Epoch) {
        let (ready, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending).into_iter().partition(|pending| pending.activated);
        self.pending = rest;
        for pending in ready {
            for pipeline in &pending.plan.pipelines {
                for fragment in &pipeline.fragments {
                    self.join_fragment(fragment, epoch);
                }
            }
            for sink in &pending.plan.sinks {
                let fresh = self.fragment(sink.fragment).is_some_and(|fragment| fragment.joined == Some(epoch));
                if let Some(stage) = self.stages.iter_mut().find(|stage| stage.sink() == sink.spec.id) {
                    stage.join(epoch, fresh);
                }
            }
        }
    }

    fn join_fragment(&mut self, plan: &FragmentPlan, epoch: crate::ids::Epoch) {
        if let Some(fragment) = self.fragment(plan.id) {
            fragment.joined = Some(epoch);
            fragment.tell_kept_time();
        }
        for (leaf, from) in plan.leaves.iter().enumerate() {
            match from {
                LeafPlan::Source { group, columns, rows } => {
                    let user = User { fragment: plan.id, leaf, columns: columns.clone(), rows: *rows };
                    let group = self.group(*group);
                    group.users.push(user);
                    let marks = group.marks.clone();
                    self.tell_marks(plan.id, leaf, &marks);
                }
                LeafPlan::Relation { fragment, columns, snapshot } => {
                    let fresh = self.fragment(*fragment).is_some_and(|upstream| upstream.joined == Some(epoch));
                    let snapshot = *snapshot && !fresh;
                    if snapshot && let Some(consumer) = self.fragment(plan.id) {
                        consumer.hold(leaf);
                    }
                    let link = Link {
                        fragment: plan.id,
                        leaf,
                        columns: columns.clone(),
                        after: (!fresh).then_some(epoch),
                        snapshot,
                    };
                    self.links[fragment.index()].push(link);
                }
                LeafPlan::Exchange { .. } | LeafPlan::Hand => {}
            }
        }
    }

    /// The group, made if it is not here yet.
    pub(super) fn group(&mut self, id: GroupId) -> &mut Group {
        let index = match self.groups.iter().position(|group| group.id == id) {
            Some(index) => index,
            None => {
                let marks = vec![Mark::UNKNOWN; self.slots.len()];
                self.groups.push(Group { id, users: Vec::new(), assigned: false, unsettled: true, marks });
                self.groups.len() - 1
            }
        };
        &mut self.groups[index]
    }

    /// Removes objects, whatever they are doing.
    pub(super) fn detach(&mut self, plan: &DetachPlan) {
        for id in &plan.fragments {
            if let Some(slot) = self.fragments.get_mut(id.index()) {
                let gone = slot.take();
                self.links[id.index()].clear();
                if let (Some(mut fragment), Some(store)) = (gone, self.store.as_mut()) {
                    for (slot, arena) in fragment.arenas.iter_mut().enumerate() {
                        store.release(slot, arena, plan.forget);
                    }
                }
            }
        }
        for links in &mut self.links {
            links.retain(|link| !plan.fragments.contains(&link.fragment));
        }
        for edge in &plan.edges {
            self.lanes.close(*edge);
            if let Some(slot) = self.receivers.get_mut(edge.index()) {
                *slot = None;
            }
        }
        for group in &mut self.groups {
            group.users.retain(|user| !plan.fragments.contains(&user.fragment));
        }
        self.held.retain(|pipeline, _| !plan.pipelines.contains(pipeline));
        self.spilling.retain(|spilling| !plan.pipelines.contains(&spilling.pipeline));
        self.groups.retain(|group| !plan.groups.contains(&group.id));
        self.splits.retain(|split| !plan.groups.contains(&split.feed.group));
        for push in self.pushes.iter_mut().filter(|push| plan.pushes.contains(&push.object())) {
            if let (Some((slot, arena)), Some(store)) = (push.requests_arena(), self.store.as_mut()) {
                store.release(slot, arena, plan.forget);
            }
        }
        self.pushes.retain(|push| !plan.pushes.contains(&push.object()));
        self.stages.retain(|stage| !plan.sinks.contains(&stage.sink()));
        if let Some(store) = self.store.as_mut() {
            plan.sinks.iter().for_each(|sink| store.outboxes.forget(*sink));
        }
        self.subscriptions.retain(|subscription| !plan.fragments.contains(&subscription.fragment));
        self.pending.retain(|pending| !pending.plan.pipelines.iter().any(|p| plan.pipelines.contains(&p.spec.id)));
        self.fail_reads(&plan.fragments);
        self.recount_flight();
    }
}

/// The id under which a fragment's state is kept: pipeline and index in one number.
pub fn arena_id(pipeline: ObjectId, fragment: u8) -> ObjectId {
    ObjectId(pipeline.0 << 8 | u64::from(fragment))
}

/// The pipeline of [`arena_id`].
pub fn pipeline_of(arena: ObjectId) -> ObjectId {
    ObjectId(arena.0 >> 8)
}

/// Addresses that a shard's part of a query with a memory limit gets, in bytes. They take no memory, but a process has
/// an end of them; a limit that is raised while the query runs must find room in them. State that is spilled is meant
/// to be larger than its limit.
pub fn arena_bytes(limit: u64, policy: MemoryPolicy) -> u64 {
    let times = match policy {
        MemoryPolicy::Spill => 16,
        MemoryPolicy::Fail | MemoryPolicy::Backpressure => 2,
    };
    limit.saturating_mul(times).clamp(8 << 30, 64 << 30)
}

/// What removes everything of a plan.
pub fn undo(plan: &AttachPlan) -> DetachPlan {
    let fragments = || plan.pipelines.iter().flat_map(|pipeline| &pipeline.fragments);
    DetachPlan {
        pipelines: plan.pipelines.iter().map(|pipeline| pipeline.spec.id).collect(),
        fragments: fragments().map(|fragment| fragment.id).collect(),
        edges: fragments().flat_map(|fragment| fragment.edges.iter().copied()).collect(),
        groups: plan.pushes.iter().map(|push| push.group).collect(),
        pushes: plan.pushes.iter().map(|push| push.source.id).collect(),
        sinks: plan.sinks.iter().map(|sink| sink.spec.id).collect(),
        forget: true,
    }
}
