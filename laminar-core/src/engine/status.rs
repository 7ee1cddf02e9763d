//! How the engine is, as plain data.

use serde::Serialize;

use crate::data::EventTime;
use crate::graph::MemoryPolicy;
use crate::ids::{Epoch, ObjectId, OperatorId, ReactorId};
use crate::operator::OperatorMetrics;
use crate::reactor::STALL_US;

pub use crate::reactor::LONG_TURNS_US;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ObjectKind {
    /// A source with a connector.
    Source,
    /// A source that clients push into.
    PushSource,
    /// A table.
    Table,
    /// A stream.
    Stream,
    /// A materialized view.
    View,
    /// A sink.
    Sink,
}

/// Whether an object works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum ObjectState {
    /// It works, or would if somebody read it.
    Running,
    /// Its connector is being opened.
    Starting,
    /// The other system is in trouble; retried.
    Waiting(String),
    /// A client has paused it; it keeps its state and its place.
    Paused,
    /// It has reached its memory limit; it keeps its state and its place until it is resumed.
    Stopped(String),
    /// All its splits have ended.
    Ended,
    /// It has stopped for good.
    Failed(String),
}

impl ObjectState {
    /// What the catalog keeps of it.
    pub fn kept(&self) -> String {
        match self {
            Self::Failed(why) => format!("failed: {why}"),
            Self::Paused => "paused".to_owned(),
            Self::Stopped(why) => format!("stopped: {why}"),
            Self::Running | Self::Starting | Self::Waiting(_) | Self::Ended => String::new(),
        }
    }

    /// The state from what the catalog keeps; all but pause, stop and failure is found out anew.
    pub fn from_kept(kept: &str) -> Self {
        match kept.split_once(": ") {
            Some(("failed", why)) => Self::Failed(why.to_owned()),
            Some(("stopped", why)) => Self::Stopped(why.to_owned()),
            _ if kept == "paused" => Self::Paused,
            _ => Self::Running,
        }
    }
}

/// What holds time back on a split, or what it last did to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum TimeState {
    /// The source declares no event time.
    None,
    /// No row has come yet.
    NoRows,
    /// Rows move time.
    Moving,
    /// Caught up and silent for too long: left out.
    Idle,
    /// Ended: its watermark is infinite.
    Ended,
}

/// One split.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SplitStatus {
    /// The source.
    pub object: ObjectId,
    /// Its name.
    pub split: String,
    /// Who reads it.
    pub reactor: ReactorId,
    /// Rows handed to chains.
    pub rows: u64,
    /// Records refused by the decoder.
    pub malformed: u64,
    /// The newest refusal.
    pub malformed_last: Option<String>,
    /// Rows left out because a computed column failed.
    pub evaluation_failed: u64,
    /// Rows left out by NOT NULL or VARCHAR(n).
    pub constraint_failed: u64,
    /// Rows left out because they have no time.
    pub null_time: u64,
    /// Rows left out because their time lies too far ahead.
    pub far_future: u64,
    /// Its watermark.
    pub watermark: Option<EventTime>,
    /// Its state in time.
    pub time: TimeState,
    /// Records between the cursor and the split's end.
    pub lag: Option<u64>,
    /// Wall time of the newest rows.
    pub last_rows: Option<EventTime>,
    /// Why it cannot be read on.
    pub trouble: Option<String>,
}

/// One operator over all its shards.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperatorStatus {
    /// The pipeline.
    pub pipeline: ObjectId,
    /// The operator.
    pub operator: OperatorId,
    /// Counters.
    pub metrics: OperatorMetrics,
    /// Its input watermark: the least over the shards; none = idle or unknown.
    pub watermark: Option<EventTime>,
}

/// State of one pipeline on one reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PipelineBytes {
    /// The pipeline.
    pub pipeline: ObjectId,
    /// Bytes of its state.
    pub state_bytes: u64,
    /// Those of them that lie in spill files.
    pub spilled_bytes: u64,
}

/// One sink's stage on one reactor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StageStatus {
    /// The sink.
    pub sink: ObjectId,
    /// Rows staged.
    pub rows: u64,
    /// Records staged and not yet safe at the target.
    pub unacknowledged: u64,
    /// Bytes of these.
    pub unacknowledged_bytes: u64,
}

/// What checkpoints have written of state since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImageBytes {
    /// In blocks of 64 bytes that had changed.
    pub changed: u64,
    /// To page files, all in all.
    pub written: u64,
}

/// What one reactor reports.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ReactorStatus {
    /// Which.
    pub reactor: ReactorId,
    /// Turns taken.
    pub turns: u64,
    /// Turns longer than each of [`LONG_TURNS_US`].
    pub turns_over: [u64; LONG_TURNS_US.len()],
    /// What the newest turn longer than [`STALL_US`] was doing.
    pub stall_in: Option<String>,
    /// State that checkpoints have written.
    pub images: ImageBytes,
    /// Splits.
    pub splits: Vec<SplitStatus>,
    /// Operators.
    pub operators: Vec<OperatorStatus>,
    /// State.
    pub state: Vec<PipelineBytes>,
    /// Sinks.
    pub stages: Vec<StageStatus>,
    /// Rows pushed into sources that nobody reads.
    pub rows_unread: u64,
}

impl ReactorStatus {
    /// Turns longer than [`STALL_US`].
    pub fn stalls(&self) -> u64 {
        LONG_TURNS_US
            .iter()
            .zip(self.turns_over)
            .find_map(|(limit, over)| (*limit == STALL_US).then_some(over))
            .unwrap_or(0)
    }
}

/// One object.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ObjectStatus {
    /// Its id.
    pub id: ObjectId,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: ObjectKind,
    /// Whether it works.
    pub state: ObjectState,
    /// Objects it reads.
    pub reads: Vec<ObjectId>,
    /// Its memory limit, where it keeps state.
    pub memory: Option<MemoryStatus>,
}

/// How a query stands to its memory limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryStatus {
    /// Bytes of state that it may hold over all shards.
    pub limit: u64,
    /// What happens there.
    pub policy: MemoryPolicy,
    /// Since when what feeds it waits because of it.
    pub full_since: Option<EventTime>,
}

/// A checkpoint that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct KeptStatus {
    /// Its number.
    pub number: u64,
    /// Its epoch.
    pub epoch: Epoch,
    /// Streams, views, tables and sinks of which it holds something.
    pub objects: u64,
    /// Bytes of rows that were staged for targets.
    pub staged_bytes: u64,
}

/// Checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckpointStatus {
    /// Those that are kept, oldest first.
    pub kept: Vec<KeptStatus>,
    /// The newest published one; 0 = none.
    pub newest: u64,
    /// Its age in microseconds.
    pub age_us: Option<u64>,
}

/// The whole engine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EngineStatus {
    /// The newest complete epoch.
    pub epoch: Epoch,
    /// What the last epoch cost, in microseconds.
    pub epoch_cost_us: u64,
    /// Whether an epoch has not completed within `epoch_timeout`.
    pub epoch_stuck: bool,
    /// Checkpoints.
    pub checkpoint: CheckpointStatus,
    /// Shards.
    pub shards: u16,
    /// Per reactor, by number.
    pub reactors: Vec<ReactorStatus>,
    /// Objects, by id.
    pub objects: Vec<ObjectStatus>,
}
