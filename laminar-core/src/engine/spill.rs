//! Spilling: a query lets go of memory on this reactor until it holds as little as it was told to.
//!
//! Invariants: at most one segment in a turn; what the disk does not take stays in memory, and it is tried again after
//! a pause; a command holds until the query holds so little, or is gone. Control is told of each change, not of each try.

use super::core::Engine;
use super::memory::Held;
use super::message::{Event, SpillNews};
use crate::ids::ObjectId;
use crate::reactor::Now;
use laminar_storage::disk::DiskResult;

/// Pause after the disk took nothing, in microseconds.
const PAUSE_US: u64 = 200_000;

/// Of a limit, one part in so many is kept free: a query spills before anybody has to wait, and what waited goes on when
/// so much is free again.
pub const SPARE_SHARE: u64 = 8;

/// How much of a limit may be in memory before a query spills.
pub fn spill_from(limit: u64) -> u64 {
    limit - limit / SPARE_SHARE
}

/// Down to how much of a limit it spills then. The difference is what grows between two commands to spill.
pub fn spill_to(limit: u64) -> u64 {
    limit - limit / 4
}

/// A query that is to hold less.
pub(super) struct Spilling {
    pub(super) pipeline: ObjectId,
    /// Bytes that it may hold here.
    to: u64,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The next segment may be spilled.
    Goes,
    /// The disk took nothing; when to try again.
    Blocked(u64),
    /// There is nothing left to spill, until the query has worked.
    Empty,
    /// As `Empty`, and it has worked since.
    Worked,
}

impl Spilling {
    /// The query has worked, so there may be something to spill again.
    pub(super) fn worked(&mut self) {
        if self.stage == Stage::Empty {
            self.stage = Stage::Worked;
        }
    }

    fn is_due(&self, now: Now) -> bool {
        match self.stage {
            Stage::Goes | Stage::Worked => true,
            Stage::Blocked(until) => until <= now.micros,
            Stage::Empty => false,
        }
    }

    fn resume(&self) -> Option<u64> {
        if let Stage::Blocked(until) = self.stage { Some(until) } else { None }
    }
}

impl Engine {
    /// A query is to hold no more than so much here.
    pub(super) fn spill(&mut self, pipeline: ObjectId, to: u64) {
        match self.spilling.iter_mut().find(|spilling| spilling.pipeline == pipeline) {
            Some(spilling) => {
                spilling.to = to;
                spilling.worked();
            }
            None => self.spilling.push_back(Spilling { pipeline, to, stage: Stage::Goes }),
        }
    }

    /// Spills a segment of the next query that has to.
    pub(super) fn spill_step(&mut self, now: Now) -> bool {
        let Some(due) = self.spilling.iter().position(|spilling| spilling.is_due(now)) else { return false };
        let Some(Spilling { pipeline, to, stage }) = self.spilling.remove(due) else { return false };
        if self.held.get(&pipeline).map_or(0, Held::now) <= to {
            self.tell_spill(pipeline, SpillNews::Done);
            return true;
        }
        let (next, news) = match self.spill_segment(pipeline) {
            Ok(0) => (Stage::Empty, (stage != Stage::Worked).then_some(SpillNews::Empty)),
            Ok(_) => (Stage::Goes, (stage != Stage::Goes).then_some(SpillNews::Goes)),
            Err(error) => {
                let news = SpillNews::Blocked(error.message);
                (Stage::Blocked(now.micros + PAUSE_US), (!matches!(stage, Stage::Blocked(_))).then_some(news))
            }
        };
        if let Some(news) = news {
            self.tell_spill(pipeline, news);
        }
        self.spilling.push_back(Spilling { pipeline, to, stage: next });
        true
    }

    /// When to try again what the disk did not take.
    pub(super) fn spill_deadline(&self) -> Option<u64> {
        self.spilling.iter().filter_map(Spilling::resume).min()
    }

    /// Queries for whose state the disk has no room: to read more of it back would only fill memory.
    pub(super) fn held_up(&self) -> impl Iterator<Item = ObjectId> + '_ {
        self.spilling.iter().filter(|spilling| spilling.resume().is_some()).map(|spilling| spilling.pipeline)
    }

    /// What is held is told to the byte, so that the next share of it is less.
    fn tell_spill(&mut self, pipeline: ObjectId, news: SpillNews) {
        self.tell_bytes(pipeline);
        self.tell(Event::Spill { pipeline, reactor: self.me, news });
    }

    /// Spills the fullest segment of a query; returns its bytes, 0 when there is none or nowhere to spill to.
    fn spill_segment(&mut self, pipeline: ObjectId) -> DiskResult<u64> {
        let Some(store) = self.store.as_mut() else { return Ok(0) };
        let mine = self.fragments.iter_mut().flatten().filter(|it| it.pipeline == pipeline && !it.failed);
        let arenas = mine.flat_map(|fragment| {
            let index = fragment.id.index();
            fragment.arenas.iter_mut().map(move |arena| (index, arena))
        });
        let Some((index, arena)) = arenas.max_by_key(|(_, arena)| arena.spillable()) else { return Ok(0) };
        let spilled = store.spill(arena);
        if let Some(mut fragment) = self.fragments[index].take() {
            self.count_bytes(&mut fragment);
            self.fragments[index] = Some(fragment);
        }
        spilled
    }
}
