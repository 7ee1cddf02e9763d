//! The engine as clients see it.
//!
//! Invariant: cheap to clone, usable from any thread; answers come through [`Reply`] callbacks on an
//! engine thread, so a caller of any runtime can wait in its own way.

use std::sync::Arc;

use super::message::{Command, ControlLetter, Request};
use super::request::{
    AdvanceWatermark, Deployed, Deployment, Insert, Inserted, ReadRequest, ReadRows, Snapshot, Subscribed, Subscriber,
};
use super::status::EngineStatus;
use super::{EngineError, Reply};
use crate::control::home_of;
use crate::graph::MemorySpec;
use crate::ids::{CheckpointNumber, Epoch, ObjectId};
use crate::reactor::Mailbox;
use crate::shard::ShardMap;

/// See the file's invariant.
#[derive(Clone)]
pub struct EngineHandle {
    control: Arc<Mailbox<ControlLetter>>,
    reactors: Arc<[Arc<Mailbox<Command>>]>,
    shards: ShardMap,
}

impl EngineHandle {
    /// A handle to an engine's mailboxes.
    pub(crate) fn new(
        control: Arc<Mailbox<ControlLetter>>,
        reactors: Vec<Arc<Mailbox<Command>>>,
        shards: ShardMap,
    ) -> Self {
        Self { control, reactors: reactors.into(), shards }
    }

    fn ask(&self, request: Request) {
        self.control.post(ControlLetter::Request(request));
    }

    /// Creates and drops objects: all or nothing, attached at one barrier.
    pub fn deploy(&self, deployment: Deployment, reply: Reply<Deployed>) {
        self.ask(Request::Deploy(deployment, reply));
    }

    /// Pushes rows into a table or push source; the answer means they are durable.
    pub fn insert(&self, insert: Insert, reply: Reply<Inserted>) {
        let reactor = self.shards.reactor_of(home_of(insert.object, &self.shards));
        self.reactors[usize::from(reactor.0)].post(Command::Insert(insert, reply));
    }

    /// Reads tables and views at one epoch.
    pub fn read(&self, request: ReadRequest, reply: Reply<ReadRows>) {
        self.ask(Request::Read(request, reply));
    }

    /// Follows the changes of a table, view or stream.
    pub fn subscribe(
        &self,
        object: ObjectId,
        snapshot: Snapshot,
        subscriber: Box<dyn Subscriber>,
        reply: Reply<Subscribed>,
    ) {
        self.ask(Request::Subscribe(object, snapshot, subscriber, reply));
    }

    /// Ends a subscription.
    pub fn unsubscribe(&self, id: u64) {
        self.ask(Request::Unsubscribe(id));
    }

    /// Forces an epoch and answers when it is complete.
    pub fn flush(&self, reply: Reply<Epoch>) {
        self.ask(Request::Flush(reply));
    }

    /// Forces a checkpoint and answers when it is published.
    pub fn checkpoint(&self, reply: Reply<CheckpointNumber>) {
        self.ask(Request::Checkpoint(reply));
    }

    /// Moves the watermark of a push source by hand.
    pub fn advance_watermark(&self, advance: AdvanceWatermark, reply: Reply<()>) {
        self.ask(Request::Advance(advance, reply));
    }

    /// Asks how everything is.
    pub fn status(&self, reply: Reply<EngineStatus>) {
        self.ask(Request::Status(reply));
    }

    /// Stops a pipeline for a while.
    pub fn pause(&self, object: ObjectId, reply: Reply<()>) {
        self.ask(Request::Pause(object, reply));
    }

    /// Lets a paused pipeline go on.
    pub fn resume(&self, object: ObjectId, reply: Reply<()>) {
        self.ask(Request::Resume(object, reply));
    }

    /// Gives a query another memory limit; `record` replaces what the catalog keeps beside it.
    pub fn limit(&self, object: ObjectId, memory: MemorySpec, record: Vec<u8>, reply: Reply<()>) {
        self.ask(Request::Limit(object, memory, record, reply));
    }

    /// Stops the engine: a last checkpoint where there is a data directory, then everything ends.
    pub fn shutdown(&self, reply: Reply<()>) {
        self.ask(Request::Shutdown(reply));
    }

    /// Waits for one answer on the calling thread; for callers without a runtime of their own. Must
    /// not be called on an engine thread.
    ///
    /// # Errors
    /// The answer's.
    pub fn wait<T: Send + 'static>(&self, ask: impl FnOnce(&Self, Reply<T>)) -> Result<T, EngineError> {
        let (send, receive) = std::sync::mpsc::channel();
        ask(self, Reply::new(move |answer| drop(send.send(answer))));
        receive.recv().unwrap_or(Err(EngineError::Stopped))
    }
}
