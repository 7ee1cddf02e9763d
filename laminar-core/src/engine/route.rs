//! Runs fragments and carries what leaves them to lanes, later fragments, sinks and subscribers.
//!
//! Invariants: a fragment steps only while all its outputs have room, so a fan-out goes to all or to
//! none; rows leave before the watermark or barrier that caused them; fragments run in ascending
//! order, inputs before users.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::UInt32Array;
use arrow::datatypes::Schema;

use super::chain::{Outgoing, judged};
use super::core::{Closing, Engine};
use super::feed::item;
use super::fragment::{Fragment, FragmentId, Item, Stepped};
use super::message::Event;
use super::shape::OutletId;
use super::{EngineError, panic_words};
use crate::data::{Batch, KeyEncoder, KeyError};
use crate::ids::{Epoch, ReactorId};
use crate::lane::{EdgeId, LaneMessage, ShardRun};
use crate::operator::{Barrier, OperatorError};
use crate::shard::{ShardMap, ShardedRows};
use laminar_storage::arena::Arena;
use laminar_storage::mutant::{self, Mutant};

/// Messages that a fragment takes in one turn at most.
const STEPS_PER_TURN: usize = 16;
/// Rows after which it takes no more of them: what comes next to the reactor waits for the end of the turn.
const ROWS_PER_TURN: usize = 4096;

/// A reader of a fragment's output in the same shard.
#[derive(Clone, Debug)]
pub struct Link {
    /// The reader.
    pub fragment: FragmentId,
    /// Its leaf.
    pub leaf: usize,
    /// Columns it needs.
    pub columns: Vec<usize>,
    /// It reads from the end of this epoch on; none = now.
    pub after: Option<Epoch>,
    /// Whether the rows as of that epoch are put in front.
    pub snapshot: bool,
}

/// Cuts batches by shard for one exchange.
pub struct SendRouter {
    encoder: KeyEncoder,
    sorted: ShardedRows,
}

impl SendRouter {
    /// A router over key columns; none = all rows to one shard.
    ///
    /// # Errors
    /// A column type that cannot be a key.
    pub fn new(schema: &Schema, keys: &[usize]) -> Result<Self, KeyError> {
        Ok(Self { encoder: KeyEncoder::new(schema, keys)?, sorted: ShardedRows::default() })
    }

    /// Cuts a batch: one message per reactor that gets rows.
    ///
    /// # Errors
    /// A key cannot be hashed, or Arrow refuses to pick rows (a defect).
    pub fn cut(
        &mut self,
        batch: &Batch,
        edge: EdgeId,
        map: &ShardMap,
    ) -> Result<Vec<(ReactorId, LaneMessage)>, OperatorError> {
        map.sort(self.encoder.hashes(&batch.rows), &mut self.sorted);
        let offsets = &self.sorted.offsets;
        let mut messages = Vec::new();
        for reactor in (0..map.reactors()).map(ReactorId) {
            let shards: Vec<_> = map.shards_of(reactor).collect();
            let (Some(first), Some(last)) = (shards.first(), shards.last()) else { continue };
            let (from, to) = (offsets[usize::from(first.0)], offsets[usize::from(last.0) + 1]);
            if from == to {
                continue;
            }
            let runs: Box<[ShardRun]> = shards
                .iter()
                .map(|&shard| {
                    let (start, end) = (offsets[usize::from(shard.0)], offsets[usize::from(shard.0) + 1]);
                    ShardRun { shard, start: start - from, rows: end - start }
                })
                .filter(|run| run.rows > 0)
                .collect();
            let all = to - from == batch.len() as u32 && runs.len() == 1;
            let rows = if all {
                batch.clone()
            } else {
                let picked = &self.sorted.rows[from as usize..to as usize];
                batch.take(&UInt32Array::from(picked.to_vec()))?
            };
            messages.push((reactor, LaneMessage::Rows { edge, batch: rows, runs }));
        }
        Ok(messages)
    }
}

/// The channels that the barrier of one lane ends: its own.
fn barred(from: usize, lanes: usize) -> Range<usize> {
    if mutant::active(Mutant::DropBarrier) && lanes > 1 {
        // The last lane's is lost, and the one of the lane before it stands for both.
        return if from + 1 == lanes { 0..0 } else { from..(from + 1 + usize::from(from + 2 == lanes)) };
    }
    from..from + 1
}

impl Engine {
    /// Takes what has come in on the lanes.
    pub(super) fn receive(&mut self) -> bool {
        let mut busy = false;
        for from in 0..self.lanes.reactors() {
            while let Some(message) = self.lanes.receive(from) {
                busy = true;
                self.deliver(from, message);
            }
        }
        busy
    }

    fn deliver(&mut self, from: usize, message: LaneMessage) {
        let edge = match &message {
            LaneMessage::Rows { edge, .. }
            | LaneMessage::Watermark { edge, .. }
            | LaneMessage::Barrier { edge, .. }
            | LaneMessage::Credit { edge, .. } => *edge,
        };
        let Some(Some((fragment, leaf))) = self.receivers.get(edge.index()).copied() else { return };
        let slots = self.slots.clone();
        let lanes = self.lanes.reactors();
        let Some(fragment) = self.fragment(fragment) else { return };
        match message {
            LaneMessage::Rows { batch, runs, .. } => {
                let last = runs.len().saturating_sub(1);
                for (index, run) in runs.iter().enumerate() {
                    let Some(slot) = slots.iter().position(|shard| *shard == run.shard) else { continue };
                    let batch = if run.rows as usize == batch.len() {
                        batch.clone()
                    } else {
                        batch.slice(run.start as usize, run.rows as usize)
                    };
                    fragment.put(leaf, from, Item::Rows { slot, batch, credit: index == last });
                }
            }
            LaneMessage::Watermark { mark, .. } => fragment.put(leaf, from, Item::Mark { slot: None, mark }),
            LaneMessage::Barrier { barrier, .. } => {
                for channel in barred(from, lanes) {
                    fragment.put(leaf, channel, Item::Barrier(barrier));
                }
            }
            LaneMessage::Credit { .. } => {}
        }
    }

    /// Gives every fragment its part of the turn.
    pub(super) fn run_fragments(&mut self) -> bool {
        let mut busy = false;
        for index in 0..self.fragments.len() {
            let ready = self.fragments[index].as_ref().is_some_and(|fragment| !fragment.failed && fragment.ready());
            if !ready {
                continue;
            }
            let Some(mut fragment) = self.fragments[index].take() else { continue };
            self.doing = Some(fragment.id);
            let mut rows = 0;
            for _ in 0..STEPS_PER_TURN {
                if rows >= ROWS_PER_TURN || !self.has_room(&fragment) {
                    break;
                }
                match self.step(&mut fragment) {
                    Ok(Some(taken)) => {
                        busy = true;
                        rows += taken;
                    }
                    Ok(None) => break,
                    Err(error) => {
                        fragment.failed = true;
                        match fragment.arenas.iter().find_map(Arena::unreadable) {
                            // Not the query's fault: a start that can read its state lets it go on (S3).
                            Some(unreadable) => self.store_failed(unreadable.into()),
                            None => self.tell(Event::Failed { pipeline: fragment.pipeline, error }),
                        }
                        break;
                    }
                }
            }
            self.count_bytes(&mut fragment);
            self.fragments[index] = Some(fragment);
        }
        busy
    }

    /// Whether everything that a fragment sends to can take more rows.
    pub(super) fn has_room(&self, fragment: &Fragment) -> bool {
        let room = |id: FragmentId, leaf: usize| {
            self.fragments.get(id.index()).and_then(Option::as_ref).is_none_or(|target| !target.full(leaf))
        };
        !fragment.edges.iter().any(|edge| self.lanes.blocked(*edge))
            && fragment.hands.iter().all(|&(id, leaf)| room(id, leaf))
            && self.links[fragment.id.index()].iter().all(|link| room(link.fragment, link.leaf))
    }

    /// Lets a fragment take one message; returns the rows of it, none when there was nothing to take.
    fn step(&mut self, fragment: &mut Fragment) -> Result<Option<usize>, EngineError> {
        let mut out = Vec::new();
        let stepped = catch_unwind(AssertUnwindSafe(|| fragment.step(&mut out)));
        let stepped = match stepped {
            Ok(stepped) => stepped?,
            Err(panic) => {
                return Err(EngineError::Internal(format!("panic in {}: {}", fragment.name, panic_words(&*panic))));
            }
        };
        if !out.is_empty() {
            self.flows();
        }
        for (slot, outgoing) in out {
            self.route(fragment, slot, outgoing)?;
        }
        let mut taken = 0;
        match stepped {
            Stepped::Nothing => return Ok(None),
            Stepped::Rows { rows, credit } => {
                taken = rows;
                self.flows();
                if let Some((edge, to)) = credit {
                    self.lanes.pay(edge, to, 1);
                }
            }
            Stepped::Marked => self.pass_marks(fragment),
            Stepped::Waiting => {}
            Stepped::Passed(barrier) => {
                // A watermark that waited for its rows goes ahead of the barrier.
                self.pass_marks(fragment);
                self.pass_barrier(fragment, barrier);
            }
        }
        Ok(Some(taken))
    }

    fn route(&mut self, fragment: &mut Fragment, slot: usize, outgoing: Outgoing) -> Result<(), EngineError> {
        let Outgoing { outlet, batch } = outgoing;
        match outlet {
            OutletId::Send(send) => {
                let vertex = fragment.shape.sends[send];
                let batch = judged(batch, fragment.mark_beside(vertex, slot));
                let edge = fragment.edges[send];
                for (to, message) in fragment.routers[send].cut(&batch, edge, &self.shards)? {
                    self.lanes.send(edge, to, message);
                }
            }
            OutletId::Hand(hand) => {
                let (target, leaf) = fragment.hands[hand];
                if let Some(target) = self.fragment(target) {
                    target.put(leaf, 0, Item::Rows { slot, batch, credit: false });
                }
            }
            OutletId::Output => self.output(fragment, slot, batch)?,
        }
        Ok(())
    }

    fn output(&mut self, fragment: &Fragment, slot: usize, batch: Batch) -> Result<(), EngineError> {
        let mut links = std::mem::take(&mut self.links[fragment.id.index()]);
        for link in links.iter_mut().filter(|link| link.after.is_none()) {
            let rows = item(&batch, &link.columns, slot)?;
            if let Some(target) = self.fragment(link.fragment) {
                target.put(link.leaf, 0, rows);
            }
        }
        self.links[fragment.id.index()] = links;
        let mut failed = Vec::new();
        let epoch = self.last_barrier.max(fragment.passed.map_or(Epoch::default(), |barrier| barrier.epoch));
        for stage in self.stages.iter_mut().filter(|stage| stage.fragment() == fragment.id) {
            if let Err(error) = stage.rows(slot, &batch, epoch) {
                failed.push(Event::Failed { pipeline: stage.sink(), error });
            }
        }
        failed.into_iter().for_each(|event| self.tell(event));
        for subscription in self.subscriptions.iter_mut().filter(|s| s.fragment == fragment.id) {
            subscription.rows(&batch);
        }
        Ok(())
    }

    /// Tells everyone behind a fragment how far event time has come.
    fn pass_marks(&mut self, fragment: &mut Fragment) {
        for send in 0..fragment.edges.len() {
            let mark = fragment.mark(fragment.shape.sends[send]);
            if fragment.sent_marks[send] != mark {
                fragment.sent_marks[send] = mark;
                let edge = fragment.edges[send];
                self.lanes.send_all(edge, || LaneMessage::Watermark { edge, mark });
            }
        }
        for hand in 0..fragment.hands.len() {
            let (target, leaf) = fragment.hands[hand];
            let marks = fragment.marks_of(fragment.shape.hands[hand]);
            self.tell_marks(target, leaf, &marks);
        }
        if let Some(vertex) = fragment.shape.output {
            let marks = fragment.marks_of(vertex);
            let links = std::mem::take(&mut self.links[fragment.id.index()]);
            for link in links.iter().filter(|link| link.after.is_none()) {
                self.tell_marks(link.fragment, link.leaf, &marks);
            }
            self.links[fragment.id.index()] = links;
        }
    }

    /// Tells a leaf the marks of the local shards that differ from what it was told before.
    pub(super) fn tell_marks(&mut self, fragment: FragmentId, leaf: usize, marks: &[crate::lane::Mark]) {
        if let Some(fragment) = self.fragment(fragment) {
            for (slot, &mark) in marks.iter().enumerate() {
                fragment.put_mark(leaf, slot, mark);
            }
        }
    }

    fn pass_barrier(&mut self, fragment: &mut Fragment, barrier: Barrier) {
        for send in 0..fragment.edges.len() {
            let edge = fragment.edges[send];
            self.lanes.send_all(edge, || LaneMessage::Barrier { edge, barrier });
        }
        for hand in 0..fragment.hands.len() {
            let (target, leaf) = fragment.hands[hand];
            if let Some(target) = self.fragment(target) {
                target.put(leaf, 0, Item::Barrier(barrier));
            }
        }
        if let Some(vertex) = fragment.shape.output {
            let marks = fragment.marks_of(vertex);
            self.end_epoch(fragment.id, barrier, &marks);
        }
        if let Some(flight) = self.flight.as_mut().filter(|flight| flight.barrier == barrier) {
            flight.remaining = flight.remaining.saturating_sub(1);
        }
        self.finish_flight();
    }

    /// Ends an epoch for those who read a fragment's output, and lets new readers begin.
    fn end_epoch(&mut self, fragment: FragmentId, barrier: Barrier, marks: &[crate::lane::Mark]) {
        let mut links = std::mem::take(&mut self.links[fragment.index()]);
        for link in &mut links {
            if link.after.is_none() {
                if let Some(target) = self.fragment(link.fragment) {
                    target.put(link.leaf, 0, Item::Barrier(barrier));
                }
            } else if link.after.is_some_and(|after| barrier.epoch >= after) {
                link.after = None;
                self.tell_marks(link.fragment, link.leaf, marks);
            }
        }
        self.links[fragment.index()] = links;
        for stage in self.stages.iter_mut().filter(|stage| stage.fragment() == fragment) {
            stage.barrier(barrier);
            if self.closing == Closing::At(barrier.epoch) {
                stage.close();
            }
        }
        for subscription in self.subscriptions.iter_mut().filter(|s| s.fragment == fragment) {
            subscription.barrier(barrier.epoch);
        }
    }
}
