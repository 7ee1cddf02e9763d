//! What is deployed, as the control thread knows it.
//!
//! Invariant: numbers of fragments, edges and groups are given out in ascending order and never
//! reused within a process life.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::connector::{Position, SplitKey};
use crate::engine::plan::DetachPlan;
use crate::engine::status::{ObjectKind, ObjectState};
use crate::engine::{FragmentId, GroupId, NewObject};
use crate::graph::{ObjectSpec, OperatorSpec, SourceSpec};
use crate::ids::{Epoch, ObjectId};
use crate::lane::EdgeId;

/// One object.
pub struct Entry {
    /// What it is.
    pub spec: ObjectSpec,
    /// What the catalog keeps beside it.
    pub record: Vec<u8>,
    /// Its fragments.
    pub fragments: Vec<FragmentId>,
    /// Its edges.
    pub edges: Vec<EdgeId>,
    /// The fragment of its output.
    pub output: Option<FragmentId>,
    /// Groups of splits that it reads.
    pub groups: Vec<GroupId>,
    /// The group of a table's or push source's own rows.
    pub push: Option<GroupId>,
    /// Whether it works.
    pub state: ObjectState,
    /// Whether it waits for a sink or a query that it feeds, or for room of its own.
    pub pressed: bool,
}

impl Entry {
    /// An object that is known and does not run.
    pub fn idle(object: &NewObject, state: ObjectState) -> Self {
        Self {
            spec: object.spec.clone(),
            record: object.record.clone(),
            fragments: Vec::new(),
            edges: Vec::new(),
            output: None,
            groups: Vec::new(),
            push: None,
            state,
            pressed: false,
        }
    }

    /// What it is.
    pub fn kind(&self) -> ObjectKind {
        match &self.spec {
            ObjectSpec::Source(source) if source.connector.is_some() => ObjectKind::Source,
            ObjectSpec::Source(_) => ObjectKind::PushSource,
            ObjectSpec::Table(_) => ObjectKind::Table,
            ObjectSpec::Pipeline(pipeline) => match pipeline.kind {
                crate::graph::PipelineKind::Stream => ObjectKind::Stream,
                crate::graph::PipelineKind::View => ObjectKind::View,
            },
            ObjectSpec::Sink(_) => ObjectKind::Sink,
        }
    }

    /// Objects that it reads.
    pub fn reads(&self) -> Vec<ObjectId> {
        match &self.spec {
            ObjectSpec::Source(_) | ObjectSpec::Table(_) => Vec::new(),
            ObjectSpec::Sink(sink) => vec![sink.from],
            ObjectSpec::Pipeline(pipeline) => pipeline
                .nodes
                .iter()
                .filter_map(|node| match &node.operator {
                    OperatorSpec::Source { object, .. }
                    | OperatorSpec::DeadLetters { object, .. }
                    | OperatorSpec::Relation { object, .. } => Some(*object),
                    _ => None,
                })
                .collect(),
        }
    }

    /// Whether it must not read its splits.
    pub fn has_to_wait(&self) -> bool {
        self.pressed || self.rests()
    }

    /// Whether it reads nothing until a client resumes it, or for good.
    pub fn rests(&self) -> bool {
        matches!(self.state, ObjectState::Paused | ObjectState::Stopped(_) | ObjectState::Failed(_))
    }

    /// Why its rows are not served, if they are not.
    pub fn refusal(&self) -> Option<&str> {
        match &self.state {
            ObjectState::Failed(reason) | ObjectState::Stopped(reason) => Some(reason),
            _ => None,
        }
    }

    /// Why it serves nothing, if it has failed.
    pub fn failure(&self) -> Option<&str> {
        match &self.state {
            ObjectState::Failed(reason) => Some(reason),
            _ => None,
        }
    }
}

/// Splits of one source that are read together.
pub struct SourceGroup {
    /// Its source.
    pub spec: Arc<SourceSpec>,
    /// Whether clients push into it, and no connector is opened.
    pub pushed: bool,
    /// Splits handed to reactors.
    pub splits: usize,
    /// Splits that have ended.
    pub ended: usize,
    /// Whether all splits of the bounded source have ended.
    pub over: bool,
    /// Whether its connector has been started, or is held.
    pub started: bool,
    /// Whether it is the place of a parted pipeline: nothing is read.
    pub held: bool,
    /// The epoch whose barrier parted it: from its end on its positions are known.
    pub since: Epoch,
    /// Where its splits go on.
    pub positions: BTreeMap<SplitKey, Position>,
}

/// Everything deployed.
#[derive(Default)]
pub struct Catalog {
    /// By id.
    pub entries: BTreeMap<ObjectId, Entry>,
    /// By number.
    pub groups: BTreeMap<GroupId, SourceGroup>,
    next_fragment: u32,
    next_edge: u32,
    next_group: u32,
    next_plan: u64,
}

impl Catalog {
    /// A new fragment number.
    pub fn fragment(&mut self) -> FragmentId {
        self.next_fragment += 1;
        FragmentId(self.next_fragment - 1)
    }

    /// A new edge number.
    pub fn edge(&mut self) -> EdgeId {
        self.next_edge += 1;
        EdgeId(self.next_edge - 1)
    }

    /// A new group number.
    pub fn group(&mut self) -> GroupId {
        self.next_group += 1;
        GroupId(self.next_group - 1)
    }

    /// A new plan number.
    pub fn plan(&mut self) -> u64 {
        self.next_plan += 1;
        self.next_plan
    }

    /// Names of objects that read `id` and are not in `but`.
    pub fn readers(&self, id: ObjectId, but: &[ObjectId]) -> Vec<String> {
        self.entries
            .iter()
            .filter(|(reader, entry)| !but.contains(reader) && entry.reads().contains(&id))
            .map(|(_, entry)| entry.spec.name().to_owned())
            .collect()
    }

    /// `id` and everything that reads it, directly or not.
    pub fn downstream(&self, id: ObjectId) -> Vec<ObjectId> {
        let mut all = vec![id];
        // Ids are given in the order of creation, so readers come after what they read.
        for (reader, entry) in &self.entries {
            if !all.contains(reader) && entry.reads().iter().any(|read| all.contains(read)) {
                all.push(*reader);
            }
        }
        all
    }

    /// Everything that `id` reads, directly or not, itself included.
    pub fn upstream(&self, id: ObjectId) -> Vec<ObjectId> {
        let mut all = vec![id];
        for (read, _) in self.entries.iter().rev() {
            if all.iter().filter_map(|reader| self.entries.get(reader)).any(|reader| reader.reads().contains(read)) {
                all.push(*read);
            }
        }
        all
    }

    /// Whether a pipeline reads splits of a connector, or would if it were not parted from them.
    pub fn reads_connector(&self, entry: &Entry) -> bool {
        entry.groups.iter().filter_map(|group| self.groups.get(group)).any(|group| !group.pushed)
    }

    /// Whether a pipeline is parted from its splits.
    pub fn is_parted(&self, entry: &Entry) -> bool {
        entry.groups.iter().filter_map(|group| self.groups.get(group)).any(|group| group.held)
    }

    /// What removes objects from the reactors, groups that nobody else reads included.
    pub fn detach(&self, objects: &[ObjectId]) -> DetachPlan {
        let mut plan = DetachPlan::default();
        for (id, entry) in self.entries.iter().filter(|(id, _)| objects.contains(id)) {
            plan.fragments.extend(&entry.fragments);
            plan.edges.extend(&entry.edges);
            plan.groups.extend(entry.push);
            match &entry.spec {
                ObjectSpec::Pipeline(_) => plan.pipelines.push(*id),
                ObjectSpec::Table(_) => {
                    plan.pipelines.push(*id);
                    plan.pushes.push(*id);
                }
                ObjectSpec::Source(_) => plan.pushes.push(*id),
                ObjectSpec::Sink(_) => plan.sinks.push(*id),
            }
        }
        for (group, source) in &self.groups {
            let read = self.entries.iter().any(|(id, entry)| !objects.contains(id) && entry.groups.contains(group));
            // What has not started belongs to a deployment under way.
            if !read && source.started && !source.pushed && !plan.groups.contains(group) {
                plan.groups.push(*group);
            }
        }
        plan
    }

    /// Forgets the groups of a detach plan.
    pub fn forget_groups(&mut self, plan: &DetachPlan) {
        self.groups.retain(|group, _| !plan.groups.contains(group));
    }

    /// Forgets groups of a plan that could not be built.
    pub fn forget_created(&mut self, created: &[GroupId]) {
        self.groups.retain(|group, _| !created.contains(group));
    }
}
