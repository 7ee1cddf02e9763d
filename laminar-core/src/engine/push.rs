//! Pushed rows: tables and sources that clients INSERT into.
//!
//! Invariants: each lives in one home shard, so its rows have one order and one watermark; a table's
//! key is checked against the newest complete epoch and everything pushed since; rows enter the
//! chains in the order in which they were accepted, after their record is durable, and only then is
//! the client answered.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::concat_batches;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::EngineError;
use super::core::Engine;
use super::feed::Feed;
use super::plan::PushPlan;
use super::push_record;
use super::reply::Reply;
use super::request::{AdvanceWatermark, Insert, Inserted, OnConflict};
use super::source_rows::SourceRows;
use crate::connector::Registry;
use crate::data::{Batch, KeyEncoder};
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
    pub(super) answer: Answer,
}

/// Who waits for pushed rows to enter.
pub enum Answer {
    /// A client, and how many rows it is told.
    Client(Reply<Inserted>, u64),
    /// The replay at start.
    Replay(Reply<()>),
}

impl Answer {
    /// The rows cannot become durable.
    pub fn refuse(self, error: &EngineError) {
        match self {
            Self::Client(reply, _) => reply.send(Err(error.clone())),
            Self::Replay(reply) => reply.send(Err(error.clone())),
        }
    }
}

/// A table or push source on its way into the chains.
pub struct Push {
    pub(super) plan: PushPlan,
    /// Only in the home shard's reactor.
    feed: Option<Feed>,
    rows: SourceRows,
    keys: Option<TableKeys>,
}

/// The keys of a table that were changed and are not in a complete epoch yet.
struct TableKeys {
    columns: Vec<usize>,
    encoder: KeyEncoder,
    /// Per key: number of its last change, and its row.
    recent: BTreeMap<Vec<u8>, (u64, RecordBatch)>,
    /// Changes so far.
    accepted: u64,
    /// Changes that have entered the chains, and in which epoch they become visible.
    entered: VecDeque<(u64, Epoch)>,
}

impl TableKeys {
    /// Takes note of a change that is logged; returns its number.
    fn accept(&mut self, rows: Vec<(Vec<u8>, RecordBatch)>) -> u64 {
        self.accepted += 1;
        self.recent.extend(rows.into_iter().map(|(key, row)| (key, (self.accepted, row))));
        self.accepted
    }

    fn forget(&mut self, complete: Epoch) {
        let mut seen = 0;
        while let Some((number, _)) = self.entered.pop_front_if(|(_, epoch)| *epoch <= complete) {
            seen = number;
        }
        if seen > 0 {
            self.recent.retain(|_, (number, _)| *number > seen);
        }
    }
}

/// What a client's rows come to.
struct Change {
    object: ObjectId,
    batch: Batch,
    /// Rows the client is told.
    rows: u64,
    /// Keys of a keyed table and their new rows.
    keys: Vec<(Vec<u8>, RecordBatch)>,
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
            (Some(_), Some(columns)) if !columns.is_empty() => Some(TableKeys {
                columns: columns.clone(),
                encoder: KeyEncoder::new(&schema.columns, columns).map_err(OperatorError::from)?,
                recent: BTreeMap::new(),
                accepted: 0,
                entered: VecDeque::new(),
            }),
            _ => None,
        };
        let rows = SourceRows::new(&plan.source, "", registry, compiler)?;
        Ok(Self { plan: plan.clone(), feed, rows, keys })
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
        match self.accept(insert) {
            Err(error) => reply.send(Err(error)),
            Ok(Change { object, batch, rows, .. }) if batch.is_empty() => {
                let read = self.is_read(object);
                reply.send(Ok(Inserted { rows, epoch: self.last_barrier, read }));
            }
            Ok(Change { object, batch, rows, keys }) => match self.log_pushed(object, self.home(object), &batch) {
                Err(error) => reply.send(Err(error)),
                Ok(lsn) => {
                    let table = self.push_of(object).and_then(|push| push.keys.as_mut());
                    let number = table.map_or(0, |table| table.accept(keys));
                    self.pushed.push_back(Pushed { object, batch, lsn, number, answer: Answer::Client(reply, rows) });
                    self.enter_pushed(now);
                }
            },
        }
    }

    fn push_of(&mut self, object: ObjectId) -> Option<&mut Push> {
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
        match push_record::decode(record, &schema) {
            Ok(batch) => {
                self.pushed.push_back(Pushed { object, batch, lsn: None, number: 0, answer: Answer::Replay(entered) });
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
                keys.entered.push_back((pushed.number, epoch));
            }
            match pushed.answer {
                Answer::Client(reply, rows) => {
                    reply.send(result.map(|read| Inserted { rows, epoch, read }));
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

    fn home(&self, object: ObjectId) -> crate::ids::ShardId {
        let push = self.pushes.iter().find(|push| push.object() == object);
        push.map_or_else(Default::default, |push| push.plan.home)
    }

    fn is_read(&self, object: ObjectId) -> bool {
        let Some(push) = self.pushes.iter().find(|push| push.object() == object) else { return false };
        self.groups.iter().any(|group| group.id == push.plan.group && !group.users.is_empty())
    }

    /// Checks rows against types, constraints and the table's key.
    fn accept(&mut self, insert: Insert) -> Result<Change, EngineError> {
        let Insert { object, rows, on_conflict } = insert;
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

    /// Turns rows of a keyed table into a change: what they replace is taken back.
    fn resolve_keys(
        &mut self,
        index: usize,
        rows: RecordBatch,
        on_conflict: OnConflict,
    ) -> Result<Change, EngineError> {
        let existing = self.existing(index, &rows)?;
        let push = &mut self.pushes[index];
        let (object, table) = (push.object(), push.plan.source.name.clone());
        let Some(keys) = push.keys.as_mut() else {
            return Err(EngineError::Internal(format!("{table} has no key")));
        };
        let encoded = keys.encoder.encode(&rows).keys;
        let mut old: BTreeMap<&[u8], Option<RecordBatch>> = BTreeMap::new();
        let mut new: BTreeMap<&[u8], usize> = BTreeMap::new();
        for row in 0..rows.num_rows() {
            let key = encoded.key(row);
            let before = match (new.get(key), keys.recent.get(key)) {
                (Some(&earlier), _) => Some(rows.slice(earlier, 1)),
                (None, Some((_, recent))) => Some(recent.clone()),
                (None, None) => existing.get(key).cloned(),
            };
            match (before, on_conflict) {
                (Some(_), OnConflict::Error) => {
                    let key = text_of(&rows, &keys.columns, row);
                    return Err(EngineError::DuplicateKey { table, key });
                }
                (Some(_), OnConflict::Keep) => {}
                (before, _) => {
                    old.entry(key).or_insert(before);
                    new.insert(key, row);
                }
            }
        }
        let retracted: Vec<RecordBatch> = old.into_values().flatten().collect();
        let mut picked: Vec<u32> = new.values().map(|&row| row as u32).collect();
        picked.sort_unstable();
        let keys = new.iter().map(|(key, &row)| (key.to_vec(), rows.slice(row, 1))).collect();
        let inserted = picked.len();
        let fresh = Batch::new(rows.clone()).take(&UInt32Array::from(picked)).map_err(OperatorError::from)?;
        let changed = |batch| Change { object, batch, rows: inserted as u64, keys };
        if retracted.is_empty() {
            return Ok(changed(fresh));
        }
        let back = retracted.len();
        let all = concat_batches(&rows.schema(), retracted.iter().chain([&fresh.rows])).map_err(OperatorError::from)?;
        let weights: Arc<[i64]> = std::iter::repeat_n(-1, back).chain(std::iter::repeat_n(1, inserted)).collect();
        Ok(changed(Batch::with_weights(all, weights)))
    }

    /// The table's rows that have the keys of `rows`, as of the newest complete epoch.
    fn existing(&mut self, index: usize, rows: &RecordBatch) -> Result<BTreeMap<Vec<u8>, RecordBatch>, EngineError> {
        let push = &mut self.pushes[index];
        let (Some(keys), Some((_, fragment)), Some(feed)) = (&mut push.keys, &push.plan.table, &push.feed) else {
            return Ok(BTreeMap::new());
        };
        let Some(Some(fragment)) = self.fragments.get_mut(fragment.index()) else { return Ok(BTreeMap::new()) };
        let Some(vertex) = fragment.shape.output else { return Ok(BTreeMap::new()) };
        let Some(readable) = fragment.chains[feed.slot].readable(vertex) else { return Ok(BTreeMap::new()) };
        let wanted = rows.project(&keys.columns).map_err(OperatorError::from)?;
        let found = readable.get(readable.complete(), &wanted, &fragment.arenas[feed.slot])?;
        let encoded = keys.encoder.encode(&found).keys;
        Ok((0..found.num_rows()).map(|row| (encoded.key(row).to_vec(), found.slice(row, 1))).collect())
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

/// The key of a row as text, for the error.
fn text_of(rows: &RecordBatch, columns: &[usize], row: usize) -> String {
    let options = FormatOptions::default().with_null("NULL");
    let texts: Vec<String> = columns
        .iter()
        .map(|&column| {
            ArrayFormatter::try_new(rows.column(column), &options)
                .map_or_else(|_| "?".into(), |f| f.value(row).to_string())
        })
        .collect();
    format!("({})", texts.join(", "))
}
