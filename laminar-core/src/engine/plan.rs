//! What the control thread tells every reactor to build: plain, shared data.
//!
//! Invariant: the same plan goes to all reactors; each builds the chains of its own shards.

use std::sync::Arc;

use super::feed::GroupId;
use super::fragment::FragmentId;
use super::shape::ChainShape;
use super::sink_queue::FrameQueue;
use crate::graph::fragment::{Fragment, SourceSide};
use crate::graph::{PipelineSpec, SinkSpec, SourceSpec, TableSpec};
use crate::ids::{CheckpointNumber, ObjectId, ShardId};
use crate::lane::EdgeId;

/// Where a leaf's rows come from, resolved.
#[derive(Clone, Debug)]
pub enum LeafPlan {
    /// A group of splits.
    Source {
        /// The group.
        group: GroupId,
        /// Columns of the source.
        columns: Vec<usize>,
        /// Which rows.
        rows: SourceSide,
    },
    /// The output of another pipeline.
    Relation {
        /// Its last fragment.
        fragment: FragmentId,
        /// Columns of its output.
        columns: Vec<usize>,
        /// Whether its rows come first.
        snapshot: bool,
    },
    /// An exchange.
    Exchange {
        /// The edge.
        edge: EdgeId,
    },
    /// An earlier fragment of the same pipeline.
    Hand,
}

/// One fragment.
#[derive(Clone, Debug)]
pub struct FragmentPlan {
    /// Its number.
    pub id: FragmentId,
    /// Its place among the pipeline's fragments; stable over restarts.
    pub index: u8,
    /// How it was cut.
    pub spec: Arc<Fragment>,
    /// Its shape.
    pub shape: Arc<ChainShape>,
    /// Where rows come in, leaf by leaf.
    pub leaves: Vec<LeafPlan>,
    /// Edges of its sends.
    pub edges: Vec<EdgeId>,
    /// Fragments of its hand-overs.
    pub hands: Vec<(FragmentId, usize)>,
    /// Columns of the pipeline's output, if it is here.
    pub output_width: usize,
}

/// One pipeline.
#[derive(Clone, Debug)]
pub struct PipelinePlan {
    /// What it is.
    pub spec: Arc<PipelineSpec>,
    /// In topological order; the last holds the output.
    pub fragments: Vec<FragmentPlan>,
}

/// What takes pushed rows.
#[derive(Clone, Debug)]
pub struct PushPlan {
    /// Its rows as a source.
    pub source: Arc<SourceSpec>,
    /// Its group.
    pub group: GroupId,
    /// The shard whose reactor checks, logs and answers.
    pub home: ShardId,
    /// The table and its last fragment, if it is a table.
    pub table: Option<(Arc<TableSpec>, FragmentId)>,
}

/// A sink's stage.
#[derive(Clone, Debug)]
pub struct SinkPlan {
    /// What it is.
    pub spec: Arc<SinkSpec>,
    /// The fragment whose output it writes.
    pub fragment: FragmentId,
    /// Where its frames go.
    pub queue: Arc<FrameQueue>,
    /// Whether the rows that exist come first.
    pub snapshot: bool,
    /// The checkpoint that it goes on from, at start.
    pub restored: Option<CheckpointNumber>,
}

/// Objects that join at one barrier.
#[derive(Clone, Debug, Default)]
pub struct AttachPlan {
    /// Names this plan in the answers.
    pub number: u64,
    /// Pipelines, inputs before users.
    pub pipelines: Vec<PipelinePlan>,
    /// Tables and push sources.
    pub pushes: Vec<PushPlan>,
    /// Sinks.
    pub sinks: Vec<SinkPlan>,
}

/// Objects that leave.
#[derive(Clone, Debug, Default)]
pub struct DetachPlan {
    /// Their pipelines.
    pub pipelines: Vec<ObjectId>,
    /// Their fragments.
    pub fragments: Vec<FragmentId>,
    /// The edges of these.
    pub edges: Vec<EdgeId>,
    /// Groups that nobody reads any more.
    pub groups: Vec<GroupId>,
    /// Tables and push sources.
    pub pushes: Vec<ObjectId>,
    /// Sinks.
    pub sinks: Vec<ObjectId>,
    /// Whether their state is never wanted back.
    pub forget: bool,
}

/// A pipeline that is to be paused.
#[derive(Clone, Debug, Default)]
pub struct HoldPlan {
    /// Its fragments.
    pub fragments: Vec<FragmentId>,
    /// The groups that it reads, and those that keep its place instead.
    pub moves: Vec<(GroupId, GroupId)>,
}

impl AttachPlan {
    /// Whether the reactors have nothing to build.
    pub fn is_empty(&self) -> bool {
        self.pipelines.is_empty() && self.pushes.is_empty() && self.sinks.is_empty()
    }
}
