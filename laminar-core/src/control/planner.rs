//! From a deployment to the plan that every reactor builds.
//!
//! Invariant: a plan is made whole or not at all; whatever it cannot run it refuses with the reason.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::boot::Cursors;
use super::catalog::{Catalog, Entry, SourceGroup};
use crate::connector::{Position, Registry, SplitKey};
use crate::data::StreamSchema;
use crate::engine::plan::{AttachPlan, FragmentPlan, LeafPlan, PipelinePlan, PushPlan, SinkPlan};
use crate::engine::status::ObjectState;
use crate::engine::{ChainShape, EngineError, FragmentId, FrameQueue, GroupId, NewObject};
use crate::graph::fragment::{LeafFrom, cut};
use crate::graph::{
    ColumnSource, Delivery, MemorySpec, NodeSpec, ObjectSpec, OperatorSpec, PipelineKind, PipelineSpec, SinkSpec,
    SourceColumn, SourceSpec, TableSpec,
};
use crate::ids::{CheckpointNumber, Epoch, ObjectId, OperatorId, ShardId};
use crate::reactor::Parker;
use crate::shard::{ShardMap, hash_word};

/// A sink that must be started when its plan has joined.
pub struct NewSink {
    /// What it is.
    pub spec: Arc<SinkSpec>,
    /// Where its frames come from.
    pub queue: Arc<FrameQueue>,
    /// Wakes its applier.
    pub parker: Arc<Parker>,
    /// The checkpoint that it goes on from; 0 = none.
    pub restored: CheckpointNumber,
}

/// What planning made.
pub struct Planned {
    /// For the reactors.
    pub plan: AttachPlan,
    /// For the catalog.
    pub entries: Vec<(ObjectId, Entry)>,
    /// Groups made for it.
    pub created: Vec<GroupId>,
    /// Sinks to start.
    pub sinks: Vec<NewSink>,
    /// For the user.
    pub notices: Vec<String>,
}

/// The shard in which an object's pushed rows live: a pure function of its id.
pub fn home_of(object: ObjectId, shards: &ShardMap) -> ShardId {
    shards.shard_of(hash_word(object.0))
}

/// Plans objects in the given order.
///
/// # Errors
/// Why the deployment cannot run; the catalog then holds groups of `created` that must be forgotten.
pub struct Planner<'a> {
    /// What exists.
    pub catalog: &'a mut Catalog,
    /// Connectors and formats.
    pub registry: &'a Registry,
    /// All shards.
    pub shards: ShardMap,
    /// Whether objects come from the catalog, at start.
    pub again: bool,
    /// At start: where the cursors of the next object stood; it goes on from its state.
    pub resume: Option<Cursors>,
    /// At start: the checkpoint that objects with state go on from.
    pub checkpoint: Option<CheckpointNumber>,
    /// Whether the engine keeps anything.
    pub durable: bool,
    /// At start: whether the next object reads nothing until it is resumed.
    pub hold: bool,
    /// What has been planned so far.
    pub made: Planned,
}

impl<'a> Planner<'a> {
    /// A planner for one deployment.
    pub fn new(catalog: &'a mut Catalog, registry: &'a Registry, shards: ShardMap, durable: bool) -> Self {
        let number = catalog.plan();
        let made = Planned {
            plan: AttachPlan { number, ..AttachPlan::default() },
            entries: Vec::new(),
            created: Vec::new(),
            sinks: Vec::new(),
            notices: Vec::new(),
        };
        Self { catalog, registry, shards, again: false, resume: None, checkpoint: None, durable, hold: false, made }
    }

    /// Adds one object.
    ///
    /// # Errors
    /// Why it cannot run.
    pub fn add(&mut self, new: &NewObject) -> Result<(), EngineError> {
        let id = new.spec.id();
        if self.catalog.entries.contains_key(&id) || self.made.entries.iter().any(|(other, _)| *other == id) {
            return Err(EngineError::Exists(id));
        }
        let state = if self.hold { ObjectState::Paused } else { ObjectState::Running };
        let mut entry = Entry::idle(new, state);
        match &new.spec {
            ObjectSpec::Source(spec) => self.source(spec, &mut entry)?,
            ObjectSpec::Table(spec) => self.table(spec, &mut entry)?,
            ObjectSpec::Pipeline(spec) => self.pipeline(Arc::new(spec.clone()), &mut entry)?,
            ObjectSpec::Sink(spec) => self.sink(spec)?,
        }
        self.made.entries.push((id, entry));
        Ok(())
    }

    fn source(&mut self, spec: &SourceSpec, entry: &mut Entry) -> Result<(), EngineError> {
        if spec.columns.len() != spec.schema.columns.fields().len() {
            return Err(refused(&spec.name, "the number of columns and of types differ"));
        }
        match &spec.connector {
            None => entry.push = Some(self.push(Arc::new(spec.clone()), None)),
            Some(connector) => self.connects(spec, connector)?,
        }
        Ok(())
    }

    /// Whether a source's connector is here and takes its options.
    fn connects(&self, spec: &SourceSpec, connector: &str) -> Result<(), EngineError> {
        let factory = self.registry.sources.get(connector).ok_or_else(|| {
            let known = self.registry.sources.keys().copied().collect::<Vec<_>>().join(", ");
            refused(&spec.name, &format!("connector {connector} is not known; this server has {known}"))
        })?;
        Ok(factory.check(spec)?)
    }

    fn push(&mut self, source: Arc<SourceSpec>, table: Option<(Arc<TableSpec>, FragmentId)>) -> GroupId {
        let group = self.new_group(source.clone(), true, BTreeMap::new());
        let home = home_of(source.id, &self.shards);
        self.made.plan.pushes.push(PushPlan { source, group, home, table });
        group
    }

    fn new_group(&mut self, spec: Arc<SourceSpec>, pushed: bool, positions: BTreeMap<SplitKey, Position>) -> GroupId {
        let group = self.catalog.group();
        let held = self.hold && !pushed;
        let started = pushed || held;
        let state = SourceGroup {
            spec,
            pushed,
            splits: 0,
            ended: 0,
            over: false,
            started,
            held,
            since: Epoch::default(),
            positions,
        };
        self.catalog.groups.insert(group, state);
        self.made.created.push(group);
        group
    }

    /// A table is a push source of its own rows and a view over it.
    fn table(&mut self, spec: &TableSpec, entry: &mut Entry) -> Result<(), EngineError> {
        let columns = spec
            .schema
            .columns
            .fields()
            .iter()
            .zip(&spec.max_chars)
            .map(|(field, max)| SourceColumn { from: ColumnSource::Field(field.name().clone()), max_chars: *max });
        let source = Arc::new(SourceSpec {
            id: spec.id,
            name: spec.name.clone(),
            connector: None,
            format: None,
            options: Default::default(),
            schema: spec.schema.clone(),
            columns: columns.collect(),
            watermark: None,
        });
        let group = self.push(source, None);
        entry.push = Some(group);
        let pipeline = Arc::new(table_pipeline(spec));
        let own = NewObject { spec: entry.spec.clone(), record: Vec::new() };
        self.made.entries.push((spec.id, Entry { push: entry.push, ..Entry::idle(&own, ObjectState::Running) }));
        let result = self.pipeline(pipeline, entry);
        self.made.entries.pop();
        result?;
        if let (Some(push), Some(output)) = (self.made.plan.pushes.last_mut(), entry.output) {
            push.table = Some((Arc::new(spec.clone()), output));
        }
        Ok(())
    }

    fn pipeline(&mut self, spec: Arc<PipelineSpec>, entry: &mut Entry) -> Result<(), EngineError> {
        validate(&spec)?;
        let cut = cut(&spec);
        let edges: Vec<_> = (0..cut.exchanges).map(|_| self.catalog.edge()).collect();
        let ids: Vec<_> = cut.fragments.iter().map(|_| self.catalog.fragment()).collect();
        let mut fragments = Vec::with_capacity(ids.len());
        for (index, fragment) in cut.fragments.into_iter().enumerate() {
            let mut leaves = Vec::with_capacity(fragment.leaves.len());
            for leaf in &fragment.leaves {
                leaves.push(match &leaf.from {
                    LeafFrom::Source { object, columns, rows } => {
                        let group = self.group_of(*object, &entry.groups)?;
                        if !entry.groups.contains(&group) {
                            entry.groups.push(group);
                        }
                        LeafPlan::Source { group, columns: columns.clone(), rows: *rows }
                    }
                    LeafFrom::Relation { object, columns } => {
                        let (fragment, snapshot) = self.output_of(*object)?;
                        LeafPlan::Relation {
                            fragment,
                            columns: columns.clone(),
                            snapshot: snapshot && self.resume.is_none(),
                        }
                    }
                    LeafFrom::Exchange { exchange } => LeafPlan::Exchange { edge: edges[*exchange] },
                    LeafFrom::Fragment { .. } => LeafPlan::Hand,
                });
            }
            let output_width = fragment.output.map_or(0, |node| spec.nodes[node].output.columns.fields().len());
            if fragment.output.is_some() {
                entry.output = Some(ids[index]);
            }
            fragments.push(FragmentPlan {
                id: ids[index],
                index: index as u8,
                shape: Arc::new(ChainShape::new(&spec, &fragment)),
                leaves,
                edges: fragment.sends.iter().map(|send| edges[send.exchange]).collect(),
                hands: fragment.hands.iter().map(|hand| (ids[hand.fragment], hand.leaf)).collect(),
                output_width,
                spec: Arc::new(fragment),
            });
        }
        entry.fragments = ids;
        entry.edges = edges;
        self.made.plan.pipelines.push(PipelinePlan { spec, fragments });
        Ok(())
    }

    fn entry(&self, object: ObjectId) -> Option<&Entry> {
        let new = self.made.entries.iter().find(|(id, _)| *id == object).map(|(_, entry)| entry);
        new.or_else(|| self.catalog.entries.get(&object))
    }

    /// The group through which a new query reads a source: one that it reads already, the one that is being
    /// read, else a new one.
    fn group_of(&mut self, object: ObjectId, own: &[GroupId]) -> Result<GroupId, EngineError> {
        let entry = self.entry(object).ok_or(EngineError::NoSuchObject(object))?;
        if let Some(group) = entry.push {
            return Ok(group);
        }
        let ObjectSpec::Source(spec) = &entry.spec else {
            return Err(refused(entry.spec.name(), "is read as a source and is not one"));
        };
        // At a start what reads it keeps its place, and reads on when a later start can open it.
        if let Some(connector) = spec.connector.as_ref().filter(|_| !self.again) {
            self.connects(spec, connector)?;
        }
        let spec = Arc::new(spec.clone());
        if let Some(cursors) = &self.resume {
            let positions = cursors.get(&object).cloned().unwrap_or_default();
            let same = |g: &SourceGroup| g.spec.id == object && g.held == self.hold && g.positions == positions;
            // A paused query has its place for itself: others that stand there go on at other times.
            let free = |id: &GroupId| !self.hold || own.contains(id);
            let same = self.catalog.groups.iter().find(|(id, group)| free(id) && same(group));
            return Ok(match same {
                Some((group, _)) => *group,
                None => self.new_group(spec, false, positions),
            });
        }
        let live = |g: &SourceGroup| g.spec.id == object && !g.over && !g.held && !self.hold;
        let live = self.catalog.groups.iter().find(|(_, group)| live(group));
        match live {
            Some((group, state)) => {
                if state.started {
                    self.made.notices.push(format!("source {} is read from now on", spec.name));
                }
                Ok(*group)
            }
            None => Ok(self.new_group(spec, false, BTreeMap::new())),
        }
    }

    /// The fragment of a relation's output, and whether its rows are kept.
    fn output_of(&self, object: ObjectId) -> Result<(FragmentId, bool), EngineError> {
        let entry = self.entry(object).ok_or(EngineError::NoSuchObject(object))?;
        if let Some(reason) = entry.failure() {
            return Err(EngineError::Failed { name: entry.spec.name().into(), reason: reason.into() });
        }
        let output = entry.output.ok_or_else(|| refused(entry.spec.name(), "has no rows to read"))?;
        let keeps = match &entry.spec {
            ObjectSpec::Table(_) => true,
            ObjectSpec::Pipeline(pipeline) => pipeline.kind == PipelineKind::View,
            ObjectSpec::Source(_) | ObjectSpec::Sink(_) => false,
        };
        Ok((output, keeps))
    }

    fn sink(&mut self, spec: &SinkSpec) -> Result<(), EngineError> {
        let factory = self.registry.sinks.get(spec.connector.as_str()).ok_or_else(|| {
            let known = self.registry.sinks.keys().copied().collect::<Vec<_>>().join(", ");
            refused(&spec.name, &format!("connector {} is not known; this server has {known}", spec.connector))
        })?;
        if spec.delivery == Delivery::ExactlyOnce && !self.durable {
            return Err(refused(
                &spec.name,
                "delivery = 'exactly_once' needs a data directory, since rows leave with its checkpoints; start with \
                 data_dir, or use delivery = 'at_least_once'",
            ));
        }
        factory.check(spec)?;
        let (fragment, keeps) = self.output_of(spec.from)?;
        let restored = self.checkpoint.filter(|_| self.resume.is_some());
        let parker = Arc::new(Parker::default());
        let queue = Arc::new(FrameQueue::new(parker.clone()));
        let spec = Arc::new(spec.clone());
        self.made.plan.sinks.push(SinkPlan {
            spec: spec.clone(),
            fragment,
            queue: queue.clone(),
            snapshot: keeps && self.resume.is_none(),
            restored,
        });
        self.made.sinks.push(NewSink { spec, queue, parker, restored: restored.unwrap_or_default() });
        Ok(())
    }
}

/// The view that keeps a table's rows.
pub fn table_pipeline(spec: &TableSpec) -> PipelineSpec {
    let width = spec.schema.columns.fields().len();
    let schema = StreamSchema { mode: crate::data::ChangeMode::Changelog, ..spec.schema.clone() };
    let node = |part: u64, operator: OperatorSpec, inputs: Vec<usize>| NodeSpec {
        // Two operators per table, numbered within the table's own state.
        id: OperatorId(part),
        operator,
        inputs,
        output: schema.clone(),
    };
    PipelineSpec {
        id: spec.id,
        name: spec.name.clone(),
        kind: PipelineKind::View,
        nodes: vec![
            node(1, OperatorSpec::Source { object: spec.id, columns: (0..width).collect() }, vec![]),
            node(2, OperatorSpec::Materialize { retention: None }, vec![0]),
        ],
        memory: MemorySpec::default(),
    }
}

/// Checks what every reactor would otherwise trip over.
fn validate(spec: &PipelineSpec) -> Result<(), EngineError> {
    if spec.nodes.is_empty() {
        return Err(refused(&spec.name, "has no operators"));
    }
    for (index, node) in spec.nodes.iter().enumerate() {
        if node.inputs.iter().any(|&input| input >= index) {
            return Err(refused(&spec.name, "reads an operator before it is defined"));
        }
        let inputs = node.inputs.len();
        let fits = match &node.operator {
            OperatorSpec::Source { .. } | OperatorSpec::DeadLetters { .. } | OperatorSpec::Relation { .. } => {
                inputs == 0
            }
            OperatorSpec::Union => inputs >= 1,
            _ => inputs == 1,
        };
        if !fits {
            return Err(refused(&spec.name, &format!("operator {} has {inputs} inputs", node.id)));
        }
    }
    let last = spec.nodes.last().map(|node| &node.operator);
    if !matches!(last, Some(OperatorSpec::Materialize { .. } | OperatorSpec::Output)) {
        return Err(refused(&spec.name, "has no output operator at its end"));
    }
    Ok(())
}

fn refused(name: &str, reason: &str) -> EngineError {
    EngineError::Refused { name: name.to_owned(), reason: reason.to_owned() }
}
