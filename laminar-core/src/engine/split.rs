//! Splits on one reactor: polled when ready, decoded, judged by event time, handed to their users.
//!
//! Invariants: a split is polled only while every user has room, so nothing is read that cannot be
//! taken; its position moves with the rows handed over; an external failure is retried with a
//! growing pause, any other stops the split and is reported.

use std::sync::Arc;

use super::EngineError;
use super::core::Engine;
use super::feed::{Feed, GroupId, item};
use super::message::{Event, OpenedSplit, SplitWake};
use super::source_rows::SourceRows;
use crate::connector::{Budget, ConnectorError, Fault, Polled, Position, SplitKey, SplitReader};
use crate::data::{Batch, EventTime};
use crate::graph::SourceSpec;
use crate::graph::fragment::SourceSide;
use crate::lane::Mark;
use crate::reactor::Now;

/// The first and the longest pause after an external failure, in microseconds.
const RETRY_US: (u64, u64) = (50_000, 5_000_000);

/// One split.
pub struct Split {
    /// Its name.
    pub key: SplitKey,
    /// Its way into the chains.
    pub feed: Feed,
    /// Whether it is bounded and over.
    pub ended: bool,
    /// Why it cannot be read at present.
    pub trouble: Option<ConnectorError>,
    reader: Box<dyn SplitReader>,
    pub(super) rows: SourceRows,
    wake: Arc<SplitWake>,
    /// Not polled before this moment.
    resume: u64,
    pause: u64,
    stopped: bool,
}

impl Split {
    /// The place just behind the last record handed over.
    pub fn position(&self) -> Position {
        self.reader.position()
    }

    /// Records between the position and the split's present end.
    pub fn lag(&self) -> Option<u64> {
        self.reader.lag()
    }

    /// Tells the other system that all before a position is durable.
    pub fn checkpointed(&mut self, position: &Position) {
        self.reader.checkpointed(position);
    }

    fn end(&mut self) {
        self.ended = true;
        if let Some(watermark) = &mut self.feed.watermark {
            watermark.end();
        }
    }

    fn pollable(&self, now: u64) -> bool {
        !self.ended && !self.stopped && self.resume <= now && self.wake.is_ready()
    }

    fn failed(&mut self, error: ConnectorError, now: Now) -> Option<ConnectorError> {
        self.wake.keep();
        let stop = error.fault != Fault::External;
        self.trouble = Some(error.clone());
        if stop {
            self.stopped = true;
            return Some(error);
        }
        self.pause = (self.pause * 2).clamp(RETRY_US.0, RETRY_US.1);
        self.resume = now.micros + self.pause;
        None
    }
}

impl Engine {
    /// Adds splits of a group; every split that exists is then on some reactor.
    pub(super) fn add_splits(&mut self, group: GroupId, spec: &Arc<SourceSpec>, opened: Vec<OpenedSplit>, now: Now) {
        for split in opened {
            let Some(slot) = self.slot_of(split.shard) else { continue };
            match SourceRows::new(spec, &split.key.0, &self.registry, self.compiler.as_ref()) {
                Ok(rows) => self.splits.push(Split {
                    key: split.key,
                    feed: Feed::new(spec, group, slot, now),
                    ended: false,
                    trouble: None,
                    reader: split.reader,
                    rows,
                    wake: split.wake,
                    resume: 0,
                    pause: 0,
                    stopped: false,
                }),
                Err(error) => {
                    let error = ConnectorError::user("LDB-3022", error.to_string());
                    self.tell(Event::SplitFailed { object: spec.id, split: split.key, error });
                }
            }
        }
        let group = self.group(group);
        group.assigned = true;
        group.unsettled = true;
    }

    /// Whether some split could be polled now, as far as its readiness says.
    pub(super) fn split_ready(&self) -> bool {
        self.splits
            .iter()
            .any(|split| split.pollable(u64::MAX) && split.resume == 0 && self.group_has_room(split.feed.group))
    }

    /// Polls every ready split once.
    pub(super) fn poll_splits(&mut self, now: Now) -> bool {
        let count = self.splits.len();
        if count == 0 {
            return false;
        }
        let first = self.rotate_splits();
        let mut busy = false;
        for index in (0..count).map(|i| (first + i) % count) {
            if self.splits[index].reader.due_us().is_some_and(|due| now.wall.0 >= due) {
                self.splits[index].wake.keep();
            }
            if self.splits[index].pollable(now.micros) && self.group_has_room(self.splits[index].feed.group) {
                busy = true;
                if let Err(error) = self.poll_split(index, now) {
                    let split = &mut self.splits[index];
                    split.stopped = true;
                    let error = ConnectorError::user("LDB-3022", error.to_string());
                    split.trouble = Some(error.clone());
                    let (object, key) = (split.feed.object, split.key.clone());
                    self.tell(Event::SplitFailed { object, split: key, error });
                }
            }
        }
        busy
    }

    /// Whether a group has users and each of them can take rows.
    pub(super) fn group_has_room(&self, id: GroupId) -> bool {
        let Some(group) = self.groups.iter().find(|group| group.id == id) else { return false };
        // Somebody is parted from it at the coming barrier, maybe for want of room: nothing is read before.
        let parting = self.holds.iter().any(|hold| hold.moves.iter().any(|(from, _)| *from == id));
        !parting
            && !group.users.is_empty()
            && group.users.iter().all(|user| {
                self.fragments[user.fragment.index()].as_ref().is_none_or(|fragment| !fragment.full(user.leaf))
            })
    }

    fn poll_split(&mut self, index: usize, now: Now) -> Result<(), EngineError> {
        let keep = self.reads_dead_letters(self.splits[index].feed.group);
        let split = &mut self.splits[index];
        split.wake.take();
        split.rows.keep_dead_letters(keep);
        let budget = Budget { records: self.limits.batch_rows, bytes: self.limits.batch_bytes, now_us: now.wall.0 };
        let polled = split.reader.poll(budget, &mut split.rows);
        let rows = split.rows.take()?;
        let dead_letters = split.rows.take_dead_letters()?;
        let mut fatal = None;
        match polled {
            Ok(Polled::Ready) => split.wake.keep(),
            Ok(Polled::Pending { caught_up }) => {
                if let Some(watermark) = &mut split.feed.watermark {
                    watermark.polled(caught_up, now.wall);
                }
            }
            Ok(Polled::End) => split.end(),
            Err(error) => fatal = split.failed(error, now),
        }
        if fatal.is_none() && split.resume <= now.micros {
            split.resume = 0;
            split.pause = 0;
            split.trouble = None;
        }
        let (group, slot, ended) = (split.feed.group, split.feed.slot, split.ended);
        if let Some(rows) = rows {
            let others = self.others(group, slot, index);
            let batch = self.splits[index].feed.observe(Batch::new(rows), others, now)?;
            self.hand_out(group, slot, SourceSide::Rows, &batch)?;
        }
        if let Some(dead_letters) = dead_letters {
            self.hand_out(group, slot, SourceSide::DeadLetters, &Batch::new(dead_letters))?;
        }
        self.tell_group(group, slot, now);
        let split = &self.splits[index];
        if ended {
            self.tell(Event::SplitEnded { group, split: split.key.clone() });
        }
        if let Some(error) = fatal {
            self.tell(Event::SplitFailed { object: split.feed.object, split: split.key.clone(), error });
        }
        Ok(())
    }

    /// The least watermark of the other splits of a group in a shard.
    fn others(&self, group: GroupId, slot: usize, but: usize) -> EventTime {
        let others = self
            .splits
            .iter()
            .enumerate()
            .filter(|(i, split)| *i != but && split.feed.group == group && split.feed.slot == slot);
        match Mark::over(others.map(|(_, split)| split.feed.mark)) {
            Mark::At(watermark) => watermark,
            Mark::Idle => EventTime::MAX,
        }
    }

    /// Whether somebody reads what the decoder refuses.
    fn reads_dead_letters(&self, id: GroupId) -> bool {
        let group = self.groups.iter().find(|group| group.id == id);
        group.is_some_and(|group| group.users.iter().any(|user| user.rows == SourceSide::DeadLetters))
    }

    /// Gives rows of a group to all its users of this side.
    pub(super) fn hand_out(
        &mut self,
        group: GroupId,
        slot: usize,
        side: SourceSide,
        batch: &Batch,
    ) -> Result<(), EngineError> {
        if batch.is_empty() {
            return Ok(());
        }
        let Some(group) = self.groups.iter().find(|g| g.id == group) else { return Ok(()) };
        for user in group.users.iter().filter(|user| user.rows == side) {
            let rows = item(batch, &user.columns, slot)?;
            if let Some(Some(fragment)) = self.fragments.get_mut(user.fragment.index()) {
                fragment.put(user.leaf, 0, rows);
            }
        }
        Ok(())
    }

    /// Tells the users of a group how far time has come in a shard.
    pub(super) fn tell_group(&mut self, id: GroupId, slot: usize, now: Now) {
        if !self.group_assigned(id) {
            return;
        }
        let here = |feed: &Feed| feed.group == id && feed.slot == slot;
        let mut mark = Mark::Idle;
        for split in self.splits.iter_mut().filter(|split| here(&split.feed)) {
            split.feed.mark = split.feed.current(now, split.ended);
            mark = mark.min(split.feed.mark);
        }
        for push in &mut self.pushes {
            if let Some(feed) = push.feed_mut().filter(|feed| here(feed)) {
                feed.mark = feed.current(now, false);
                mark = mark.min(feed.mark);
            }
        }
        let Some(group) = self.groups.iter_mut().find(|group| group.id == id) else { return };
        if group.marks[slot] == mark {
            return;
        }
        group.marks[slot] = mark;
        let users: Vec<_> = group.users.iter().map(|user| (user.fragment, user.leaf)).collect();
        for (fragment, leaf) in users {
            if let Some(fragment) = self.fragment(fragment) {
                fragment.put_mark(leaf, slot, mark);
            }
        }
    }

    /// Lets splits that have been silent for too long go idle, and shards without a split with them.
    pub(super) fn tell_time(&mut self, now: Now) {
        let silent = |feed: &Feed| feed.idle_from().is_some_and(|from| from <= now.wall);
        let mut due: Vec<GroupId> =
            self.groups.iter_mut().filter_map(|g| std::mem::take(&mut g.unsettled).then_some(g.id)).collect();
        due.extend(self.splits.iter().map(|split| &split.feed).filter(|feed| silent(feed)).map(|feed| feed.group));
        due.extend(self.pushes.iter().filter_map(super::push::Push::feed).filter(|feed| silent(feed)).map(|f| f.group));
        for group in due {
            for slot in 0..self.slots.len() {
                self.tell_group(group, slot, now);
            }
        }
    }

    /// The next moment at which something is due without a wake.
    pub(super) fn deadline(&self, now: Now) -> Option<u64> {
        let in_micros = |at: EventTime| now.micros.saturating_add(at.0.saturating_sub(now.wall.0).max(1) as u64);
        let idle = self
            .splits
            .iter()
            .map(|split| &split.feed)
            .chain(self.pushes.iter().filter_map(super::push::Push::feed))
            .filter_map(Feed::idle_from)
            .map(in_micros);
        // A split that is not polled, however long its rows have been due, is no reason to wake.
        let polled = self.splits.iter().filter(|s| !s.ended && !s.stopped && self.group_has_room(s.feed.group));
        let due = polled.filter_map(|split| match split.resume > now.micros {
            true => Some(split.resume),
            false => split.reader.due_us().map(|at| in_micros(EventTime(at))),
        });
        let store = self.store.as_ref().and_then(|store| store.deadline(now.micros));
        idle.chain(due).chain(store).chain(self.delayed.deadline()).chain(self.spill_deadline()).min()
    }
}
