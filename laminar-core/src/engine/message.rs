//! What control and reactors tell each other.
//!
//! Invariant: commands of the control thread reach each reactor in one order, so "everything before
//! this barrier" means the same on all of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;

use super::EngineError;
use super::feed::GroupId;
use super::fragment::FragmentId;
use super::plan::{AttachPlan, DetachPlan, HoldPlan};
use super::reply::Reply;
use super::request::{
    AdvanceWatermark, Deployed, Deployment, Insert, Inserted, ReadRequest, ReadRows, Snapshot, Subscribed, Subscriber,
};
use super::status::{EngineStatus, ReactorStatus};
use crate::connector::{ConnectorError, Position, SplitKey, SplitReader, Wake};
use crate::data::Batch;
use crate::graph::{MemorySpec, SourceSpec};
use crate::ids::{CheckpointNumber, Epoch, ObjectId, ReactorId, ShardId};
use crate::operator::Barrier;
use crate::reactor::Bell;
use laminar_storage::manifest::OutboxMark;
use laminar_storage::page_file::PageFileMark;

/// Wakes the reactor of one split.
pub struct SplitWake {
    ready: AtomicBool,
    bell: Arc<Bell>,
}

impl SplitWake {
    /// A wake that makes its split ready at once.
    pub fn new(bell: Arc<Bell>) -> Self {
        Self { ready: AtomicBool::new(true), bell }
    }

    /// Whether the split should be polled; forgets the answer.
    pub fn take(&self) -> bool {
        self.ready.load(Ordering::Acquire) && self.ready.swap(false, Ordering::AcqRel)
    }

    /// Whether the split should be polled.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Keeps the split ready.
    pub fn keep(&self) {
        self.ready.store(true, Ordering::Release);
    }
}

impl Wake for SplitWake {
    fn wake(&self) {
        self.ready.store(true, Ordering::Release);
        self.bell.ring();
    }
}

/// A split with its open reader, on its way to its reactor.
pub struct OpenedSplit {
    /// Its name.
    pub key: SplitKey,
    /// The shard it lives in.
    pub shard: ShardId,
    /// The reader.
    pub reader: Box<dyn SplitReader>,
    /// Its wake.
    pub wake: Arc<SplitWake>,
}

/// Groups whose pushed rows wait, and what for.
pub type Chokes = BTreeMap<GroupId, Arc<str>>;

/// To a reactor.
pub enum Command {
    /// Builds what a plan holds; it joins at the next barrier after [`Command::Activate`].
    Attach(Arc<AttachPlan>),
    /// Lets an attached plan join at the next barrier.
    Activate(u64),
    /// Removes objects, joined or not.
    Detach(Arc<DetachPlan>),
    /// Parts a pipeline from the splits that it reads, at the next barrier.
    Hold(Arc<HoldPlan>),
    /// Rows that clients push into these groups wait, for what is said, and no others.
    Choke(Arc<Chokes>),
    /// A query spills until it holds so much here.
    Spill {
        /// The query.
        pipeline: ObjectId,
        /// Bytes of state that may stay in memory.
        to: u64,
    },
    /// The next checkpoint is the last: nothing behind its barrier is staged.
    Closing,
    /// Tell when the targets of these sinks have all that the last checkpoint holds.
    Drain(Vec<ObjectId>),
    /// Ends an epoch at the splits.
    Barrier(Barrier),
    /// An epoch is complete on all reactors.
    Announce(Epoch),
    /// Adds splits of a group; `all` when these and the earlier ones are all that exist now.
    Splits {
        /// The group.
        group: GroupId,
        /// Its source.
        spec: Arc<SourceSpec>,
        /// The splits of this reactor.
        splits: Vec<OpenedSplit>,
    },
    /// Pushed rows.
    Insert(Insert, Reply<Inserted>),
    /// Rows of finished logs, replayed at start.
    Replay {
        /// The table or push source.
        object: ObjectId,
        /// The logged record.
        record: Vec<u8>,
        /// Answered when its rows have entered the chains.
        entered: Reply<()>,
    },
    /// Copies the rows of materialized outputs at the newest complete epoch.
    Read {
        /// Names the read.
        read: u64,
        /// Fragments and columns.
        objects: Vec<(FragmentId, Option<Vec<usize>>)>,
    },
    /// Collects the changes of an output from the next barrier on.
    Subscribe {
        /// Names the subscription.
        id: u64,
        /// The output.
        fragment: FragmentId,
        /// Whether the rows as of that barrier come first.
        snapshot: Snapshot,
    },
    /// Ends a subscription.
    Unsubscribe(u64),
    /// Moves a push source's watermark.
    Advance(AdvanceWatermark),
    /// Frames of a sink are safe at the target.
    Acknowledged {
        /// The sink.
        sink: ObjectId,
        /// The shard.
        shard: ShardId,
        /// All frames up to this one.
        sequence: u64,
    },
    /// A checkpoint was published.
    Published(Arc<PublishedNote>),
    /// Asks for a status.
    Status(u64),
    /// Stops the reactor.
    Shutdown,
}

/// The position of a split when a barrier passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The group.
    pub group: GroupId,
    /// The split.
    pub split: SplitKey,
    /// The place just behind the last record before the barrier.
    pub position: Position,
    /// Whether the split had ended.
    pub ended: bool,
}

/// How spilling gets on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpillNews {
    /// The disk takes nothing, for this reason; it is tried again.
    Blocked(String),
    /// Nothing of the query is left that could be spilled; that may change.
    Empty,
    /// It goes on after one of these.
    Goes,
    /// The query holds no more than it was told to.
    Done,
}

/// To the control thread.
pub enum Event {
    /// A plan was built, or not.
    Attached {
        /// The plan.
        number: u64,
        /// Who.
        reactor: ReactorId,
        /// Whether it can run here.
        result: Result<(), EngineError>,
    },
    /// All chains of a reactor have passed a barrier.
    Passed {
        /// Who.
        reactor: ReactorId,
        /// Which.
        barrier: Barrier,
        /// Of a checkpoint: positions of the reactor's splits. Of a pause: those of the paused pipeline.
        cursors: Vec<Cursor>,
    },
    /// A reactor's part of a checkpoint is durable.
    Stored {
        /// Who.
        reactor: ReactorId,
        /// Which.
        barrier: Barrier,
        /// What the manifest must know.
        part: StoredPart,
    },
    /// Rows entered a chain since the last barrier.
    DataFlows,
    /// Much is staged that only a checkpoint lets go.
    WantsCheckpoint,
    /// The stage of a sink keeps as many rows as it may, or has drained.
    Pressed {
        /// The sink.
        sink: ObjectId,
        /// Where.
        reactor: ReactorId,
        /// Which of the two.
        full: bool,
    },
    /// What a query holds on a reactor.
    Holds {
        /// The query.
        pipeline: ObjectId,
        /// Where.
        reactor: ReactorId,
        /// Bytes of state in memory.
        bytes: u64,
    },
    /// How a query that was told to spill gets on with it on a reactor.
    Spill {
        /// The query.
        pipeline: ObjectId,
        /// Where.
        reactor: ReactorId,
        /// How.
        news: SpillNews,
    },
    /// A pipeline cannot go on.
    Failed {
        /// Which.
        pipeline: ObjectId,
        /// Why.
        error: EngineError,
    },
    /// A split cannot be read on.
    SplitFailed {
        /// The source.
        object: ObjectId,
        /// The split.
        split: SplitKey,
        /// Why.
        error: ConnectorError,
    },
    /// A split has ended.
    SplitEnded {
        /// The group.
        group: GroupId,
        /// The split.
        split: SplitKey,
    },
    /// One reactor's rows of a read.
    ReadPart {
        /// Names the read.
        read: u64,
        /// Per object.
        result: Result<Vec<Vec<RecordBatch>>, EngineError>,
    },
    /// One reactor's changes of an epoch for a subscription.
    Changes {
        /// The subscription.
        id: u64,
        /// Who.
        reactor: ReactorId,
        /// The epoch.
        epoch: Epoch,
        /// Whether these are the snapshot's rows.
        snapshot: bool,
        /// The changes.
        batches: Vec<Batch>,
    },
    /// One reactor's status.
    Status {
        /// Names the request.
        id: u64,
        /// The numbers.
        status: Box<ReactorStatus>,
    },
    /// Durable storage of a reactor failed: the process must end (W4).
    Fatal(EngineError),
    /// A reactor cannot open what it keeps: the engine does not start.
    Refused(EngineError),
    /// A paused pipeline is parted from its splits, durably where anything is.
    Held(Reply<()>),
    /// A pipeline that goes on is parted from its splits for certain.
    Freed(ObjectId, Reply<()>),
    /// The last checkpoint before the end is published, or cannot be.
    Saved(Result<(), EngineError>),
    /// The sinks of a reactor that were asked for have nothing left of the last checkpoint.
    Drained {
        /// Who.
        reactor: ReactorId,
        /// How far each target has acknowledged.
        outboxes: Vec<OutboxMark>,
    },
    /// A replayed record of so many bytes has entered the chains.
    Replayed(u64),
    /// A reactor has stopped.
    Stopped(ReactorId),
}

/// What one reactor contributes to a manifest.
#[derive(Clone, Debug, Default)]
pub struct StoredPart {
    /// Who.
    pub reactor: ReactorId,
    /// How far its log had entered the chains.
    pub wal: u64,
    /// Where each shard's image stands in its page file.
    pub marks: Vec<(ShardId, Vec<u8>)>,
    /// How far each outbox belongs to the checkpoint.
    pub outboxes: Vec<OutboxMark>,
}

/// What a published checkpoint lets reactors free.
#[derive(Clone, Debug, Default)]
pub struct PublishedNote {
    /// Its number.
    pub number: CheckpointNumber,
    /// Images that retained checkpoints name.
    pub marks: Vec<PageFileMark>,
    /// Per reactor: what lies before this position of its log is not needed.
    pub wal_floors: Vec<u64>,
}

/// From a client to the control thread.
pub enum Request {
    /// Creates and drops objects.
    Deploy(Deployment, Reply<Deployed>),
    /// Reads tables and views.
    Read(ReadRequest, Reply<ReadRows>),
    /// Follows an object's changes.
    Subscribe(ObjectId, Snapshot, Box<dyn Subscriber>, Reply<Subscribed>),
    /// Ends a subscription.
    Unsubscribe(u64),
    /// Forces an epoch and waits for it.
    Flush(Reply<Epoch>),
    /// Forces a checkpoint and waits for it.
    Checkpoint(Reply<CheckpointNumber>),
    /// Moves a push source's watermark.
    Advance(AdvanceWatermark, Reply<()>),
    /// Stops a pipeline for a while.
    Pause(ObjectId, Reply<()>),
    /// Lets a paused pipeline go on.
    Resume(ObjectId, Reply<()>),
    /// Gives a query another memory limit, and its catalog record.
    Limit(ObjectId, MemorySpec, Vec<u8>, Reply<()>),
    /// Asks how everything is.
    Status(Reply<EngineStatus>),
    /// Stops the engine: a last checkpoint, then everything ends.
    Shutdown(Reply<()>),
}

/// From connector threads to the control thread.
pub enum Notice {
    /// Splits were found and opened.
    SplitsFound {
        /// The group.
        group: GroupId,
        /// The new ones.
        splits: Vec<OpenedSplit>,
    },
    /// A source cannot be opened; it is tried again if its fault is external.
    SourceFailed {
        /// The group.
        group: GroupId,
        /// Why.
        error: ConnectorError,
    },
    /// A sink's state has changed.
    SinkState {
        /// The sink.
        sink: ObjectId,
        /// Its trouble; none = it works.
        trouble: Option<ConnectorError>,
    },
}

/// Anything for the control thread.
pub enum ControlLetter {
    /// From a reactor.
    Event(Event),
    /// From a client.
    Request(Request),
    /// From a connector thread.
    Notice(Notice),
}
