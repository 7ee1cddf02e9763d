//! Reads and subscriptions: what clients see of tables, views and streams.
//!
//! Invariants: a read goes to all reactors between two announcements, so all its objects are at one
//! epoch; a subscriber gets each epoch once, whole, in order.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;

use super::core::Control;
use super::deploy::keeps_rows;
use crate::data::Batch;
use crate::engine::message::Command;
use crate::engine::status::ReactorStatus;
use crate::engine::{
    EngineError, EpochChanges, FragmentId, Offer, ReadLevel, ReadRequest, ReadRows, Reply, Snapshot, Subscribed,
    Subscriber,
};
use crate::epoch::Wanted;
use crate::graph::ObjectSpec;
use crate::ids::{Epoch, ObjectId};

/// A read that waits for its epoch.
pub struct WaitingRead {
    request: ReadRequest,
    reply: Reply<ReadRows>,
}

/// A read on its way through the reactors.
pub struct ReadFlight {
    epoch: Epoch,
    reply: Option<Reply<ReadRows>>,
    waiting: usize,
    rows: Vec<Vec<RecordBatch>>,
}

/// A status on its way through the reactors.
pub struct StatusFlight {
    /// Who asked.
    pub reply: Reply<crate::engine::status::EngineStatus>,
    /// What has come.
    pub parts: Vec<ReactorStatus>,
}

/// One subscriber.
pub struct Follower {
    object: ObjectId,
    subscriber: Box<dyn Subscriber>,
    /// Per epoch, the snapshot first: how many reactors have delivered, and what.
    parts: BTreeMap<(Epoch, bool), (usize, Vec<Batch>)>,
}

impl Control {
    /// Answers a read as soon as its epoch is complete.
    pub(super) fn read(&mut self, request: ReadRequest, reply: Reply<ReadRows>) {
        if request.level == ReadLevel::Durable {
            reply.send(Err(EngineError::Unsupported {
                name: "SET read = 'durable'".into(),
                reason: "is not built yet; use 'consistent'".into(),
            }));
            return;
        }
        if let Some(after) = request.after
            && after > self.coordinator.completed()
        {
            if after > self.coordinator.injected() {
                self.coordinator.want(Wanted::Epoch);
            }
            self.waiting_reads.push(WaitingRead { request, reply });
            return;
        }
        self.dispatch_read(&request, reply);
    }

    /// Sends the reads whose epoch is complete.
    pub(super) fn dispatch_reads(&mut self) {
        let complete = self.coordinator.completed();
        for read in std::mem::take(&mut self.waiting_reads) {
            if read.request.after.is_some_and(|after| after > complete) {
                if read.request.after.is_some_and(|after| after > self.coordinator.injected()) {
                    self.coordinator.want(Wanted::Epoch);
                }
                self.waiting_reads.push(read);
            } else {
                self.dispatch_read(&read.request, read.reply);
            }
        }
    }

    fn dispatch_read(&mut self, request: &ReadRequest, reply: Reply<ReadRows>) {
        let mut objects: Vec<(FragmentId, Option<Vec<usize>>)> = Vec::with_capacity(request.objects.len());
        for object in &request.objects {
            match self.readable(object.object) {
                Ok(fragment) => objects.push((fragment, object.columns.clone())),
                Err(error) => {
                    reply.send(Err(error));
                    return;
                }
            }
        }
        let read = self.number();
        let flight = ReadFlight {
            epoch: self.coordinator.completed(),
            reply: Some(reply),
            waiting: self.reactors.len(),
            rows: vec![Vec::new(); objects.len()],
        };
        self.reads.insert(read, flight);
        self.broadcast(|| Command::Read { read, objects: objects.clone() });
    }

    fn readable(&self, object: ObjectId) -> Result<FragmentId, EngineError> {
        let entry = self.catalog.entries.get(&object).ok_or(EngineError::NoSuchObject(object))?;
        let name = || entry.spec.name().to_owned();
        if let Some(reason) = entry.refusal() {
            return Err(EngineError::Failed { name: name(), reason: reason.into() });
        }
        entry.output.filter(|_| keeps_rows(&entry.spec)).ok_or_else(|| EngineError::Unsupported {
            name: name(),
            reason: "keeps no rows; use SUBSCRIBE, or CREATE MATERIALIZED VIEW".into(),
        })
    }

    /// One reactor's rows have come.
    pub(super) fn read_part(&mut self, read: u64, result: Result<Vec<Vec<RecordBatch>>, EngineError>) {
        let Some(flight) = self.reads.get_mut(&read) else { return };
        flight.waiting -= 1;
        match result {
            Ok(parts) => {
                for (rows, part) in flight.rows.iter_mut().zip(parts) {
                    rows.extend(part);
                }
            }
            Err(error) => {
                if let Some(reply) = flight.reply.take() {
                    reply.send(Err(error));
                }
            }
        }
        if flight.waiting == 0
            && let Some(flight) = self.reads.remove(&read)
            && let Some(reply) = flight.reply
        {
            reply.send(Ok(ReadRows { epoch: flight.epoch, objects: flight.rows }));
        }
    }

    /// Nobody gets rows any more.
    pub(super) fn fail_reads(&mut self, error: &EngineError) {
        let waiting = std::mem::take(&mut self.waiting_reads).into_iter().map(|read| read.reply);
        let under_way = std::mem::take(&mut self.reads).into_values().filter_map(|flight| flight.reply);
        waiting.chain(under_way).for_each(|reply| reply.send(Err(error.clone())));
    }

    /// Adds a subscriber; it begins at the next barrier.
    pub(super) fn subscribe(
        &mut self,
        object: ObjectId,
        snapshot: Snapshot,
        subscriber: Box<dyn Subscriber>,
        reply: Reply<Subscribed>,
    ) {
        let Some(entry) = self.catalog.entries.get(&object) else {
            reply.send(Err(EngineError::NoSuchObject(object)));
            return;
        };
        if let Some(reason) = entry.refusal() {
            reply.send(Err(EngineError::Failed { name: entry.spec.name().into(), reason: reason.into() }));
            return;
        }
        let schema = match &entry.spec {
            ObjectSpec::Table(table) => Some(table.schema.columns.clone()),
            ObjectSpec::Pipeline(pipeline) => pipeline.nodes.last().map(|node| node.output.columns.clone()),
            ObjectSpec::Source(_) | ObjectSpec::Sink(_) => None,
        };
        let (Some(fragment), Some(schema)) = (entry.output, schema) else {
            reply.send(Err(EngineError::Unsupported {
                name: entry.spec.name().into(),
                reason: "cannot be subscribed to; CREATE STREAM over it and subscribe to that".into(),
            }));
            return;
        };
        let snapshot = if keeps_rows(&entry.spec) { snapshot } else { Snapshot::None };
        let id = self.number();
        self.followers.insert(id, Follower { object, subscriber, parts: BTreeMap::new() });
        self.broadcast(|| Command::Subscribe { id, fragment, snapshot });
        self.coordinator.want(Wanted::Epoch);
        reply.send(Ok(Subscribed { id, schema }));
    }

    /// Ends a subscription.
    pub(super) fn unsubscribe(&mut self, id: u64) {
        if self.followers.remove(&id).is_some() {
            self.broadcast(|| Command::Unsubscribe(id));
        }
    }

    /// Ends all subscriptions of an object.
    pub(super) fn end_followers(&mut self, object: ObjectId, reason: &str) {
        let gone: Vec<u64> = self.followers.iter().filter(|(_, f)| f.object == object).map(|(id, _)| *id).collect();
        for id in gone {
            if let Some(mut follower) = self.followers.remove(&id) {
                follower.subscriber.end(reason.to_owned());
            }
        }
    }

    /// One reactor's changes have come; epochs that are whole go to the subscriber.
    pub(super) fn changes(&mut self, id: u64, epoch: Epoch, snapshot: bool, batches: Vec<Batch>) {
        let reactors = self.reactors.len();
        let Some(follower) = self.followers.get_mut(&id) else { return };
        let part = follower.parts.entry((epoch, !snapshot)).or_default();
        part.0 += 1;
        part.1.extend(batches);
        while let Some(first) = follower.parts.first_entry() {
            if first.get().0 < reactors {
                return;
            }
            let ((epoch, changes), (_, batches)) = first.remove_entry();
            match follower.subscriber.offer(EpochChanges { epoch, snapshot: !changes, batches }) {
                Offer::Taken => {}
                Offer::Gone => {
                    self.unsubscribe(id);
                    return;
                }
                Offer::Full => {
                    let reason =
                        format!("the client reads too slowly, changes from epoch {} on are missing", epoch.as_u64());
                    follower.subscriber.end(reason);
                    self.unsubscribe(id);
                    return;
                }
            }
        }
    }
}
