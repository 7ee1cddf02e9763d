//! Bytes of state per query in the memory of this reactor, as the control thread is told. What is spilled is not in
//! memory: the kernel keeps of it what it has room for.
//!
//! Invariants: counted when a fragment has worked, from what its arenas and operators know anyway, never by
//! the row; what was last told differs from what is held by less than one part in [`TELL_SHARE`], or by less
//! than [`TELL_BYTES`].

use super::core::Engine;
use super::fragment::Fragment;
use super::message::Event;
use super::spill::Spilling;
use crate::ids::ObjectId;
use laminar_storage::arena::Arena;

/// One part in so many of what was told is news.
const TELL_SHARE: u64 = 64;

/// Less is never news: a page of an arena.
const TELL_BYTES: u64 = 4096;

/// Bytes of one query.
#[derive(Default)]
pub(super) struct Held {
    now: u64,
    told: u64,
}

impl Held {
    /// Bytes now.
    pub(super) fn now(&self) -> u64 {
        self.now
    }
}

impl Engine {
    /// Counts what a fragment holds now, and tells it where it is news.
    pub(super) fn count_bytes(&mut self, fragment: &mut Fragment) {
        fragment.arenas.iter_mut().for_each(Arena::reclaim);
        let bytes = fragment.state_bytes() - fragment.spilled_bytes();
        let before = std::mem::replace(&mut fragment.counted, bytes);
        self.spilling.iter_mut().filter(|spilling| spilling.pipeline == fragment.pipeline).for_each(Spilling::worked);
        let held = self.held.entry(fragment.pipeline).or_default();
        held.now = held.now + bytes - before;
        if held.now.abs_diff(held.told) < (held.told / TELL_SHARE).max(TELL_BYTES) {
            return;
        }
        self.tell_bytes(fragment.pipeline);
    }

    /// Tells what a query holds now.
    pub(super) fn tell_bytes(&mut self, pipeline: ObjectId) {
        let Some(held) = self.held.get_mut(&pipeline) else { return };
        held.told = held.now;
        let bytes = held.now;
        self.tell(Event::Holds { pipeline, reactor: self.me, bytes });
    }
}
