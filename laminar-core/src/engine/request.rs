//! What can be asked of an engine, and the answers.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::request_key::RequestKey;
use super::status::ObjectState;
use crate::data::{Batch, EventTime};
use crate::graph::ObjectSpec;
use crate::ids::{Epoch, ObjectId};

/// An object to create.
#[derive(Clone, Debug)]
pub struct NewObject {
    /// What it is.
    pub spec: ObjectSpec,
    /// What the catalog keeps beside it (SQL text, options, versions); opaque to the engine.
    pub record: Vec<u8>,
}

/// A change of the catalog: validated whole, recorded durably, attached at one barrier, all or nothing.
#[derive(Clone, Debug, Default)]
pub struct Deployment {
    /// Objects to create, inputs before users.
    pub add: Vec<NewObject>,
    /// Objects to drop, users before inputs.
    pub drop: Vec<ObjectId>,
}

/// What a deployment did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployed {
    /// The epoch at whose end it was attached.
    pub epoch: Epoch,
    /// Notices for the user.
    pub notices: Vec<String>,
}

/// What to do when a pushed row's primary key exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// Refuse the whole INSERT (23505).
    Error,
    /// Keep the existing row.
    Keep,
    /// Replace the existing row.
    Replace,
}

/// Rows pushed by a client into a table or a source without connector.
#[derive(Clone, Debug)]
pub struct Insert {
    /// The table or push source.
    pub object: ObjectId,
    /// Rows with all columns of the object, in its order.
    pub rows: Vec<RecordBatch>,
    /// For tables with a primary key.
    pub on_conflict: OnConflict,
    /// Names the request, so that sending it again inserts nothing; none = each time is a new one.
    pub request: Option<RequestKey>,
}

/// The answer to an [`Insert`]: the rows are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inserted {
    /// Rows inserted or replaced.
    pub rows: u64,
    /// A read that shall see them waits for this epoch.
    pub epoch: Epoch,
    /// Whether some query reads the object.
    pub read: bool,
    /// Whether a request with this key was taken before, so that nothing was inserted now.
    pub repeated: bool,
}

/// Which state a read sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadLevel {
    /// The newest epoch that is complete in all objects read.
    Consistent,
    /// What each object has now.
    Latest,
    /// The newest checkpoint.
    Durable,
}

/// One object of a read.
#[derive(Clone, Debug)]
pub struct ReadObject {
    /// The table or view.
    pub object: ObjectId,
    /// Columns wanted, in this order; none = all.
    pub columns: Option<Vec<usize>>,
}

/// A read of tables and views at one epoch.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    /// What to read.
    pub objects: Vec<ReadObject>,
    /// Which state.
    pub level: ReadLevel,
    /// Waits (and asks) for at least this epoch: the session's last write.
    pub after: Option<Epoch>,
}

/// The rows of a [`ReadRequest`].
#[derive(Clone, Debug)]
pub struct ReadRows {
    /// The epoch.
    pub epoch: Epoch,
    /// Per object of the request, in its order.
    pub objects: Vec<Vec<RecordBatch>>,
}

/// What a subscriber wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snapshot {
    /// The object's rows first, then changes.
    First,
    /// Only changes.
    None,
}

/// All changes of one epoch of an object, consolidated over all shards.
#[derive(Clone, Debug)]
pub struct EpochChanges {
    /// The epoch.
    pub epoch: Epoch,
    /// Whether these are the snapshot's rows.
    pub snapshot: bool,
    /// The changes; weights as in the stream.
    pub batches: Vec<Batch>,
}

/// Whether a subscriber took a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Taken.
    Taken,
    /// Its queue is full: it is cut off.
    Full,
    /// It has gone.
    Gone,
}

/// Takes the changes of a subscription. Called on the control thread; must not block.
pub trait Subscriber: Send {
    /// Takes the changes of one epoch.
    fn offer(&mut self, changes: EpochChanges) -> Offer;

    /// The subscription is over: the object was dropped, failed, or the subscriber was too slow.
    fn end(&mut self, reason: String);
}

/// Answers a [`crate::engine::EngineHandle::subscribe`].
#[derive(Clone, Debug)]
pub struct Subscribed {
    /// To cancel.
    pub id: u64,
    /// Columns of the changes.
    pub schema: SchemaRef,
}

/// Moves the watermark of a push source by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdvanceWatermark {
    /// The push source.
    pub source: ObjectId,
    /// To this time.
    pub to: EventTime,
}

/// What the catalog held at start.
#[derive(Clone, Debug, Default)]
pub struct RecoveredCatalog {
    /// What [`NewObject::record`] was, by object id.
    pub records: Vec<Vec<u8>>,
    /// Objects that do not run, and why.
    pub failed: Vec<(ObjectId, String)>,
    /// The id that the next object gets.
    pub next_id: ObjectId,
    /// Things to tell the operator, most important first.
    pub notes: Vec<String>,
}

impl RecoveredCatalog {
    /// The client's view of what was found.
    pub(crate) fn of(boot: &super::Boot) -> Self {
        let failed = boot.objects.iter().filter_map(|(object, state)| match state {
            ObjectState::Failed(why) => Some((object.spec.id(), why.clone())),
            _ => None,
        });
        Self {
            records: boot.objects.iter().map(|(object, _)| object.record.clone()).collect(),
            failed: failed.collect(),
            next_id: ObjectId(boot.next_id),
            notes: boot.notes.clone(),
        }
    }
}
