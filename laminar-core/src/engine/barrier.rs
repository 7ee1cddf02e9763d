//! Barriers on one reactor: they enter at the splits, pass all chains, and are reported.
//!
//! Invariants: the position of a split is taken when the barrier enters, and is one for all its
//! users; a reactor reports once per barrier, when every fragment that joined before it has passed.

use super::core::{Closing, Engine, Flight};
use super::feed::{GroupId, User};
use super::fragment::{FragmentId, Item};
use super::message::{Cursor, Event};
use super::plan::HoldPlan;
use crate::data::Batch;
use crate::ids::Epoch;
use crate::operator::{Barrier, OperatorError, ReadCursor};

/// Rows that one scan of a snapshot copies at a time.
const SNAPSHOT_ROWS: usize = 8192;

impl Engine {
    /// A barrier has come: it enters at every source leaf, and pending plans join behind it.
    pub(super) fn begin_barrier(&mut self, barrier: Barrier) {
        let mut cursors = if barrier.checkpoint.is_some() { self.cursors() } else { Vec::new() };
        if barrier.checkpoint.is_some() && self.closing == Closing::Asked {
            self.closing = Closing::At(barrier.epoch);
        }
        if barrier.checkpoint.is_some() && self.store.is_some() {
            self.freeze_requests();
        }
        self.last_barrier = barrier.epoch;
        self.flowing = false;
        let remaining = self.behind(barrier.epoch);
        let users: Vec<(FragmentId, usize)> =
            self.groups.iter().flat_map(|group| group.users.iter().map(|user| (user.fragment, user.leaf))).collect();
        for (fragment, leaf) in users {
            if let Some(fragment) = self.fragment(fragment) {
                fragment.put(leaf, 0, Item::Barrier(barrier));
            }
        }
        for hold in std::mem::take(&mut self.holds) {
            cursors.extend(self.hold(&hold));
        }
        self.flight = Some(Flight { barrier, remaining, cursors, entered: self.entered_lsn });
        self.join_pending(barrier.epoch);
        for subscription in &mut self.subscriptions {
            subscription.arm(barrier.epoch);
        }
        self.finish_flight();
    }

    /// Positions of all splits.
    fn cursors(&self) -> Vec<Cursor> {
        self.splits
            .iter()
            .map(|split| Cursor {
                group: split.feed.group,
                split: split.key.clone(),
                position: split.position(),
                ended: split.ended,
            })
            .collect()
    }

    /// Parts a pipeline from its splits behind the barrier that has just entered; returns its place.
    fn hold(&mut self, plan: &HoldPlan) -> Vec<Cursor> {
        let cursors = self.cursors();
        let mut place = Vec::new();
        for (from, to) in &plan.moves {
            let mine = |user: &User| plan.fragments.contains(&user.fragment);
            let (moved, stay): (Vec<User>, Vec<User>) =
                std::mem::take(&mut self.group(*from).users).into_iter().partition(mine);
            // Its splits are opened anew when it goes on; until they tell, time is what it was.
            for user in &moved {
                if let Some(fragment) = self.fragment(user.fragment) {
                    fragment.close(user.leaf);
                }
            }
            self.group(*from).users = stay;
            self.group(*to).users = moved;
            let here = cursors.iter().filter(|cursor| cursor.group == *from);
            place.extend(here.map(|cursor| Cursor { group: *to, ..cursor.clone() }));
        }
        place
    }

    /// How many fragments have joined before an epoch and have not passed its barrier.
    fn behind(&self, epoch: Epoch) -> usize {
        self.fragments
            .iter()
            .flatten()
            .filter(|fragment| fragment.joined.is_some_and(|joined| joined < epoch))
            .filter(|fragment| fragment.passed.is_none_or(|passed| passed.epoch < epoch))
            .count()
    }

    /// Counts anew after fragments were removed.
    pub(super) fn recount_flight(&mut self) {
        if let Some(epoch) = self.flight.as_ref().map(|flight| flight.barrier.epoch) {
            let remaining = self.behind(epoch);
            if let Some(flight) = &mut self.flight {
                flight.remaining = remaining;
            }
            self.finish_flight();
        }
    }

    /// Reports the barrier when every fragment has passed it.
    pub(super) fn finish_flight(&mut self) {
        if self.flight.as_ref().is_none_or(|flight| flight.remaining > 0) {
            return;
        }
        if let Some(Flight { barrier, cursors, entered, .. }) = self.flight.take() {
            if barrier.checkpoint.is_some() {
                self.checkpoint_cursors.clone_from(&cursors);
                self.begin_store(barrier, entered);
            }
            self.tell(Event::Passed { reactor: self.me, barrier, cursors });
        }
    }

    /// An epoch is complete on all reactors: its changes become readable, new readers get their
    /// snapshot, subscribers their changes.
    pub(super) fn announce(&mut self, epoch: Epoch) {
        self.announced = epoch;
        for fragment in self.fragments.iter_mut().flatten() {
            let Some(vertex) = fragment.shape.output else { continue };
            for chain in &mut fragment.chains {
                if let Some(readable) = chain.readable(vertex) {
                    readable.epoch_complete(epoch);
                }
            }
        }
        for push in &mut self.pushes {
            push.forget(epoch);
        }
        self.give_snapshots(epoch);
        self.begin_stages(epoch);
        self.give_changes(epoch);
    }

    /// Puts the rows as of `epoch` in front of every link that waits for them.
    fn give_snapshots(&mut self, epoch: Epoch) {
        for index in 0..self.links.len() {
            if !self.links[index].iter().any(|link| link.snapshot) {
                continue;
            }
            let mut links = std::mem::take(&mut self.links[index]);
            for link in links.iter_mut().filter(|link| link.snapshot && link.after.is_none()) {
                link.snapshot = false;
                let rows = self.snapshot(FragmentId(index as u32), &link.columns, epoch);
                match (rows, self.fragment(link.fragment)) {
                    (Ok(rows), Some(target)) => target.release(link.leaf, rows),
                    (Err(error), Some(target)) => {
                        target.failed = true;
                        let pipeline = target.pipeline;
                        self.tell(Event::Failed { pipeline, error: error.into() });
                    }
                    (_, None) => {}
                }
            }
            self.links[index] = links;
        }
    }

    /// Gives sinks over relations that keep rows these rows first.
    fn begin_stages(&mut self, epoch: Epoch) {
        for index in 0..self.stages.len() {
            if !self.stages[index].wants_snapshot() {
                continue;
            }
            let id = self.stages[index].fragment();
            let width = self.fragment(id).map_or(0, |fragment| fragment.output_width);
            let columns: Vec<usize> = (0..width).collect();
            let rows = self.snapshot(id, &columns, epoch).map_err(super::EngineError::from);
            if let Err(error) = rows.and_then(|rows| self.stages[index].begin(rows, epoch)) {
                self.tell(Event::Failed { pipeline: self.stages[index].sink(), error });
            }
            // What waits for a checkpoint must meet one.
            self.flows();
        }
    }

    /// All rows of an output as of a complete epoch, per local shard.
    pub(super) fn snapshot(
        &mut self,
        id: FragmentId,
        columns: &[usize],
        epoch: Epoch,
    ) -> Result<Vec<(usize, Batch)>, OperatorError> {
        let mut rows = Vec::new();
        let Some(mut fragment) = self.fragments.get_mut(id.index()).and_then(Option::take) else { return Ok(rows) };
        let result = (|| {
            let Some(vertex) = fragment.shape.output else { return Ok(()) };
            let places = fragment.chains.iter_mut().zip(&fragment.arenas);
            for (slot, (chain, arena)) in places.enumerate() {
                let Some(readable) = chain.readable(vertex) else { continue };
                let mut from = Some(ReadCursor::default());
                while let Some(cursor) = from {
                    let (batch, next) = readable.scan(Some(epoch), cursor, SNAPSHOT_ROWS, arena)?;
                    if batch.num_rows() > 0 {
                        rows.push((slot, Batch::new(batch.project(columns)?)));
                    }
                    from = next;
                }
            }
            Ok(())
        })();
        self.fragments[id.index()] = Some(fragment);
        result.map(|()| rows)
    }

    /// The group's present mark in one local shard.
    pub(super) fn group_assigned(&self, id: GroupId) -> bool {
        self.groups.iter().any(|group| group.id == id && group.assigned)
    }
}
