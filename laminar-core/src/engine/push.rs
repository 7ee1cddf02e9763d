//! Pushed rows: tables and sources that clients INSERT into.
//!
//! Invariants: each lives in one home shard, so its rows have one order and one watermark; a table's
//! key is checked against the newest complete epoch and everything pushed since; rows enter the
//! chains in the order in which they were accepted, after their record is durable, and only then is
//! the client answered; a request that came before with the same key enters nothing.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::Schema;

use super::EngineError;
use super::core::Engine;
use super::feed::Feed;
use super::plan::PushPlan;
use super::push_record;
use super::reply::Reply;
use super::request::{AdvanceWatermark, Insert, Inserted};
use super::request_key::RequestKey;
use super::requests::{Requests, Taken};
use super::source_rows::SourceRows;
use super::table_keys::TableKeys;
use crate::connector::Registry;
use crate::data::Batch;
use crate::expr::ExprCompiler;
use crate::graph::fragment::SourceSide;
use crate::ids::{Epoch, ObjectId};
use crate::operator::OperatorError;
use crate::reactor::Now;

/// Rows that were accepted and have not entered a chain yet.
pub struct Pushed {
    pub(super) object: ObjectId,
    pub(super) batch: Batch,
    /// Position of their record in the reactor's log; none = not logged or replayed.
    pub(super) lsn: Option<u64>,
    /// Number of the change among those of its table; 0 = replayed, or not of a keyed table.
    pub(super) number: u64,
    /// The request that brought them, if it has a key and is not a repetition.
    pub(super) taken: Option<Taken>,
    pub(super) answer: Answer,
}

/// Who waits for pushed rows to enter.
pub enum Answer {
    /// A client, and how many rows it is told.
    Client(Reply<Inserted>, u64),
    /// A client who repeats a request, and how many rows it was or will be told then.
    Repeat(Reply<Inserted>, u64),
    /// The replay at start.
    Replay(Reply<()>),
}

impl Answer {
    /// The rows cannot become durable.
    pub fn refuse(self, error: &EngineError) {
        match self {
            Self::Client(reply, _) | Self::Repeat(reply, _) => reply.send(Err(error.clone())),
            Self::Replay(reply) => reply.send(Err(error.clone())),
        }
    }
}

/// A table or push source on its way into the chains.
pub struct Push {
    pub(super) plan: PushPlan,
    /// Only in the home shard's reactor.
    pub(super) feed: Option<Feed>,
    rows: SourceRows,
    pub(super) keys: Option<TableKeys>,
    /// Only in the home shard's reactor.
    pub(super) requests: Option<Requests>,
}

/// What a client's rows come to.
pub(super) struct Change {
    pub(super) object: ObjectId,
    pub(super) batch: Batch,
    /// Rows the client is told.
    pub(super) rows: u64,
    /// Keys of a keyed table and their new rows.
    pub(super) keys: Vec<(Vec<u8>, RecordBatch)>,
}

impl Push {
    /// The reactor's part of a push plan; `slot` is the home shard's index if it is here.
    ///
    /// # Errors
    /// A computed column does not compile, or a key column cannot be a key.
    pub fn new(
        plan: &PushPlan,
        slot: Option<usize>,
        registry: &Registry,
        compiler: &dyn ExprCompiler,
        now: Now,
    ) -> Result<Self, EngineError> {
        let feed = slot.map(|slot| {
            let mut feed = Feed::new(&plan.source, plan.group, slot, now);
            if let Some(watermark) = &mut feed.watermark {
                watermark.polled(true, now.wall);
            }
            feed
        });
        let schema = &plan.source.schema;
        let keys = match (&plan.table, &schema.key) {
            (Some(_), Some(columns)) if !columns.is_empty() => Some(TableKeys::new(schema, columns)?),
            _ => None,
        };
        let rows = SourceRows::new(&plan.source, "", registry, compiler)?;
        Ok(Self { plan: plan.clone(), feed, rows, keys, requests: None })
    }

    /// The table or source.
    pub fn object(&self) -> ObjectId {
        self.plan.source.id
    }

    /// Its feed, where it is at home.
    pub fn feed(&self) -> Option<&Feed> {
        self.feed.as_ref()
    }

    /// Its feed, where it is at home.
    pub fn feed_mut(&mut self) -> Option<&mut Feed> {
        self.feed.as_mut()
    }

    /// Forgets key changes that a complete epoch holds.
    pub fn forget(&mut self, complete: Epoch) {
        if let Some(keys) = &mut self.keys {
            keys.forget(complete);
        }
    }
}

impl Engine {
    /// Checks pushed rows, logs them, and lets them enter once that is durable.
    pub(super) fn take(&mut self, insert: Insert, reply: Reply<Inserted>, now: Now) {
        let request = insert.request;
        match self.repeated(insert.object, request) {
            Err(error) => return reply.send(Err(error)),
            Ok(Some(rows)) => {
                // Behind the first in the queue, so that this answer comes when the first is durable, and means the same.
                self.pushed.push_back(Pushed {
                    object: insert.object,
                    batch: Batch::new(RecordBatch::new_empty(Arc::new(Schema::empty()))),
                    lsn: None,
                    number: 0,
                    taken: None,
                    answer: Answer::Repeat(reply, rows),
                });
                self.enter_pushed(now);
                return;
            }
            Ok(None) => {}
        }
        match self.accept(insert) {
            Err(error) => reply.send(Err(error)),
            Ok(Change { object, batch, rows, .. }) if batch.is_empty() && request.is_none() => {
                let read = self.is_read(object);
                reply.send(Ok(Inserted { rows, epoch: self.last_barrier, read, repeated: false }));
            }
            Ok(change) => self.log_change(change, request, reply, now),
        }
    }

    fn log_change(&mut self, change: Change, request: Option<RequestKey>, reply: Reply<Inserted>, now: Now) {
        let Change { object, batch, rows, keys } = change;
        let lsn = match self.log_pushed(object, &batch, request.map(|request| (request, rows))) {
            Err(error) => return reply.send(Err(error)),
            Ok(lsn) => lsn,
        };
        let push = self.push_of(object);
        let (mut number, mut taken) = (0, None);
        if let Some(push) = push {
            number = push.keys.as_mut().map_or(0, |table| table.accept(keys));
            taken = request.and_then(|request| Some(push.requests.as_mut()?.accept(request, rows)));
        }
        let answer = Answer::Client(reply, rows);
        self.pushed.push_back(Pushed { object, batch, lsn, number, taken, answer });
        self.enter_pushed(now);
    }

    pub(super) fn push_of(&mut self, object: ObjectId) -> Option<&mut Push> {
        self.pushes.iter_mut().find(|push| push.object() == object)
    }

    /// Rows of a finished log enter without a check: they were checked when they were logged.
    pub(super) fn replay(&mut self, object: ObjectId, record: &[u8], entered: Reply<()>, now: Now) {
        let schema =
            self.pushes.iter().find(|push| push.object() == object).map(|p| p.plan.source.schema.columns.clone());
        let Some(schema) = schema else {
            // The object was dropped after the record was written.
            entered.send(Ok(()));
            return;
        };
        match push_record::decode(record, &schema).and_then(|record| self.replayed(object, record)) {
            Ok((batch, taken)) => {
                let answer = Answer::Replay(entered);
                self.pushed.push_back(Pushed { object, batch, lsn: None, number: 0, taken, answer });
                self.enter_pushed(now);
            }
            Err(error) => self.tell(super::message::Event::Fatal(error)),
        }
    }

    /// Lets accepted rows enter their chains, as far as these have room and the log is durable.
    pub(super) fn enter_pushed(&mut self, now: Now) -> bool {
        let mut busy = false;
        while let Some(first) = self.pushed.front() {
            if first.lsn.is_some_and(|lsn| lsn > self.durable_lsn()) {
                break;
            }
            let object = first.object;
            let group = self.pushes.iter().find(|push| push.object() == object).map(|push| push.plan.group);
            if group.is_some_and(|group| self.is_read(object) && !self.group_has_room(group)) {
                break;
            }
            let Some(pushed) = self.pushed.pop_front() else { break };
            busy = true;
            if let Some(lsn) = pushed.lsn {
                self.entered_lsn = lsn;
            }
            let result = self.enter(object, pushed.batch, now);
            let epoch = self.last_barrier.next();
            if let Some(keys) = self.push_of(object).and_then(|push| push.keys.as_mut()).filter(|_| pushed.number > 0) {
                keys.enter(pushed.number, epoch);
            }
            if let Some(taken) = pushed.taken {
                self.enter_request(object, &taken);
            }
            match pushed.answer {
                Answer::Client(reply, rows) => {
                    reply.send(result.map(|read| Inserted { rows, epoch, read, repeated: false }));
                }
                Answer::Repeat(reply, rows) => {
                    reply.send(result.map(|read| Inserted { rows, epoch, read, repeated: true }));
                }
                Answer::Replay(entered) => entered.send(result.map(drop)),
            }
        }
        busy
    }

    fn enter(&mut self, object: ObjectId, batch: Batch, now: Now) -> Result<bool, EngineError> {
        let read = self.is_read(object);
        let Some(push) = self.pushes.iter_mut().find(|push| push.object() == object) else {
            return Err(EngineError::NoSuchObject(object));
        };
        if !read {
            self.rows_unread += batch.len() as u64;
            return Ok(false);
        }
        if batch.is_empty() {
            return Ok(true);
        }
        let group = push.plan.group;
        let Some(feed) = push.feed.as_mut() else {
            return Err(EngineError::Internal(format!("object {object} is not at home on reactor {}", self.me)));
        };
        let slot = feed.slot;
        let batch = feed.observe(batch, crate::data::EventTime::MAX, now)?;
        self.hand_out(group, slot, SourceSide::Rows, &batch)?;
        self.tell_group(group, slot, now);
        Ok(true)
    }

    fn is_read(&self, object: ObjectId) -> bool {
        let Some(push) = self.pushes.iter().find(|push| push.object() == object) else { return false };
        self.groups.iter().any(|group| group.id == push.plan.group && !group.users.is_empty())
    }

    /// Checks rows against types, constraints and the table's key.
    fn accept(&mut self, insert: Insert) -> Result<Change, EngineError> {
        let Insert { object, rows, on_conflict, request: _ } = insert;
        let index = self
            .pushes
            .iter()
            .position(|push| push.object() == object && push.feed.is_some())
            .ok_or(EngineError::NoSuchObject(object))?;
        let push = &mut self.pushes[index];
        let schema = push.plan.source.schema.columns.clone();
        let name = push.plan.source.name.clone();
        let bad = |row: usize, reason: String| EngineError::BadRow { object: name.clone(), row, reason };
        let mut kept = Vec::with_capacity(rows.len());
        for batch in rows {
            let batch = RecordBatch::try_new(super::source_rows::relaxed(&schema), batch.columns().to_vec())
                .map_err(|error| bad(0, error.to_string()))?;
            let made = push.rows.pushed(batch.clone())?;
            if made.num_rows() != batch.num_rows() {
                return Err(bad(0, "a NOT NULL column is NULL, a text is too long, or a computed column fails".into()));
            }
            kept.push(made);
        }
        let rows = concat_batches(&schema, &kept).map_err(OperatorError::from)?;
        let count = rows.num_rows() as u64;
        if self.pushes[index].keys.is_none() {
            return Ok(Change { object, batch: Batch::new(rows), rows: count, keys: Vec::new() });
        }
        self.resolve_keys(index, rows, on_conflict)
    }

    /// Moves a push source's watermark by hand.
    pub(super) fn advance_watermark(&mut self, advance: AdvanceWatermark, now: Now) {
        let push = self.pushes.iter_mut().find(|push| push.object() == advance.source);
        if let Some(push) = push
            && let Some(feed) = push.feed.as_mut()
        {
            if let Some(watermark) = &mut feed.watermark {
                watermark.advance(advance.to, now.wall);
            }
            let (group, slot) = (feed.group, feed.slot);
            self.tell_group(group, slot, now);
        }
    }
}
