//! Spilling: a query lets go of memory on this reactor until it holds as little as it was told to.
//!
//! Invariants: at most one segment in a turn; what the disk does not take stays in memory, and it is tried again after
//! a pause; each command is answered with [`SpillNews::Over`] when it is done.

use super::core::Engine;
use super::message::{Event, SpillNews};
use crate::ids::ObjectId;
use crate::reactor::Now;
use laminar_storage::disk::DiskResult;

/// Pause after the disk took nothing, in microseconds.
const PAUSE_US: u64 = 200_000;

/// How much of a limit may be in memory before a query spills: less than all, so that it is spilled before anybody has
/// to wait.
pub fn spill_from(limit: u64) -> u64 {
    limit - limit / 8
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
    /// When to try again, while the disk takes nothing.
    resume: Option<u64>,
}

impl Engine {
    /// A query is to hold no more than so much here.
    pub(super) fn spill(&mut self, pipeline: ObjectId, to: u64) {
        match self.spilling.iter_mut().find(|spilling| spilling.pipeline == pipeline) {
            Some(spilling) => spilling.to = to,
            None => self.spilling.push_back(Spilling { pipeline, to, resume: None }),
        }
    }

    /// Spills a segment of the next query that has to.
    pub(super) fn spill_step(&mut self, now: Now) -> bool {
        let due = |spilling: &Spilling| spilling.resume.is_none_or(|at| at <= now.micros);
        let Some(next) = self.spilling.iter().position(due) else { return false };
        let Some(Spilling { pipeline, to, resume }) = self.spilling.remove(next) else { return false };
        let held = self.held.get(&pipeline).map_or(0, super::memory::Held::now);
        let spilled = if held > to { self.spill_segment(pipeline) } else { Ok(0) };
        match &spilled {
            Ok(0) => {
                self.tell_spill(pipeline, SpillNews::Over);
                return true;
            }
            Ok(_) if resume.is_some() => self.tell_spill(pipeline, SpillNews::Goes),
            Err(error) if resume.is_none() => self.tell_spill(pipeline, SpillNews::Blocked(error.message.clone())),
            _ => {}
        }
        let resume = spilled.is_err().then_some(now.micros + PAUSE_US);
        self.spilling.push_back(Spilling { pipeline, to, resume });
        true
    }

    /// When to try again what the disk did not take.
    pub(super) fn spill_deadline(&self) -> Option<u64> {
        self.spilling.iter().filter_map(|spilling| spilling.resume).min()
    }

    /// Queries for whose state the disk has no room: to read more of it back would only fill memory.
    pub(super) fn held_up(&self) -> impl Iterator<Item = ObjectId> + '_ {
        self.spilling.iter().filter(|spilling| spilling.resume.is_some()).map(|spilling| spilling.pipeline)
    }

    fn tell_spill(&self, pipeline: ObjectId, news: SpillNews) {
        self.tell(Event::Spill { pipeline, reactor: self.me, news });
    }

    /// Spills the fullest segment of a query; returns its bytes, 0 when there is none or nowhere to spill to.
    fn spill_segment(&mut self, pipeline: ObjectId) -> DiskResult<u64> {
        let Some(store) = self.store.as_mut() else { return Ok(0) };
        let mine = self.fragments.iter_mut().filter(|fragment| {
            fragment.as_ref().is_some_and(|fragment| fragment.pipeline == pipeline && !fragment.failed)
        });
        let fullest = |fragment: &super::fragment::Fragment| {
            let arenas = fragment.arenas.iter().enumerate().map(|(slot, arena)| (arena.spillable(), slot));
            arenas.max().unwrap_or_default()
        };
        let found = mine.max_by_key(|fragment| fragment.as_ref().map(|fragment| fullest(fragment).0));
        let Some(mut fragment) = found.and_then(Option::take) else { return Ok(0) };
        let slot = fullest(&fragment).1;
        let spilled = fragment.arenas.get_mut(slot).map_or(Ok(0), |arena| store.spill(arena));
        self.count_bytes(&mut fragment);
        let index = fragment.id.index();
        self.fragments[index] = Some(fragment);
        spilled
    }
}
