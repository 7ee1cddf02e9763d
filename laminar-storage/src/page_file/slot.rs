//! Free space of a page file: whole slots, and small extents within slots that are cut up.
//!
//! Not stored: after a restart it is what the retained marks do not name.
//! Invariant: free slots, free small extents and what is in use never overlap; unit 0 (the file's header) is
//! never handed out.

use super::layout::{SLOT_BYTES, UNIT_BYTES};
use std::collections::{BTreeMap, BTreeSet};

/// The allocator over the allocated part of the file.
#[derive(Default)]
pub(super) struct Space {
    /// Slots that the file has.
    slots: u64,
    free_slots: BTreeSet<u64>,
    /// Free extents in slots that are cut up: offset → bytes.
    small: BTreeMap<u64, u64>,
    /// Bytes in use in each slot that is cut up.
    cut: BTreeMap<u64, u64>,
}

/// Rounds a length up to units.
pub(super) fn units(len: usize) -> u64 {
    (len as u64).next_multiple_of(UNIT_BYTES)
}

/// A length in units that fits into a slot, so that no small extent runs into its neighbour.
#[derive(Clone, Copy, Debug)]
pub(super) struct SmallLen(u64);

impl SmallLen {
    /// Room for `len` bytes; `None`: no slot has it.
    pub(super) fn of(len: usize) -> Option<Self> {
        Some(Self(units(len))).filter(|len| len.0 <= SLOT_BYTES)
    }

    pub(super) fn bytes(self) -> u64 {
        self.0
    }
}

impl Space {
    /// Slots that the file has.
    pub(super) fn slots(&self) -> u64 {
        self.slots
    }

    /// Bytes that nothing uses.
    pub(super) fn free_bytes(&self) -> u64 {
        self.free_slots.len() as u64 * SLOT_BYTES + self.small.values().sum::<u64>()
    }

    /// The file has grown by `count` allocated slots.
    pub(super) fn grow(&mut self, count: u64) {
        for slot in self.slots..self.slots + count {
            self.free_slots.insert(slot);
        }
        if self.slots == 0 && count > 0 {
            self.cut_up(0);
            self.take_range(0, UNIT_BYTES);
        }
        self.slots += count;
    }

    /// A whole slot: its byte offset.
    pub(super) fn take_slot(&mut self) -> Option<u64> {
        self.free_slots.pop_first().map(|slot| slot * SLOT_BYTES)
    }

    /// A small extent within one slot: the offset.
    pub(super) fn take_small(&mut self, len: SmallLen) -> Option<u64> {
        let len = len.bytes();
        let fit = |small: &BTreeMap<u64, u64>| small.iter().find(|(_, free)| **free >= len).map(|(offset, _)| *offset);
        let offset = match fit(&self.small) {
            Some(offset) => offset,
            None => {
                let slot = self.free_slots.first().copied()?;
                self.cut_up(slot);
                slot * SLOT_BYTES
            }
        };
        self.take_range(offset, len);
        Some(offset)
    }

    /// Marks what a mark names as used, while space is rebuilt. `false`: it overlaps or lies outside.
    pub(super) fn claim(&mut self, offset: u64, len: u64) -> bool {
        if len == 0 || !offset.is_multiple_of(UNIT_BYTES) || offset.saturating_add(len) > self.slots * SLOT_BYTES {
            return false;
        }
        let slot = offset / SLOT_BYTES;
        if offset == slot * SLOT_BYTES && len == SLOT_BYTES {
            return self.free_slots.remove(&slot);
        }
        if self.free_slots.contains(&slot) {
            self.cut_up(slot);
        }
        let hole = self.small.range(..=offset).next_back().map(|(start, free)| (*start, *free));
        match hole {
            Some((start, free)) if start + free >= offset + len => {
                self.take_range(offset, len);
                true
            }
            _ => false,
        }
    }

    /// Gives an extent back.
    pub(super) fn give(&mut self, offset: u64, len: u64) {
        let slot = offset / SLOT_BYTES;
        let Some(used) = self.cut.get_mut(&slot) else {
            self.free_slots.insert(slot);
            return;
        };
        *used -= len;
        let empty = *used == 0;
        let (mut start, mut size) = (offset, len);
        if let Some((before, free)) = self.small.range(..offset).next_back().map(|(at, free)| (*at, *free))
            && before + free == offset
            && before / SLOT_BYTES == slot
        {
            self.small.remove(&before);
            (start, size) = (before, size + free);
        }
        if (offset + len) / SLOT_BYTES == slot
            && let Some(free) = self.small.remove(&(offset + len))
        {
            size += free;
        }
        if empty {
            self.cut.remove(&slot);
            self.free_slots.insert(slot);
        } else {
            self.small.insert(start, size);
        }
    }

    fn cut_up(&mut self, slot: u64) {
        self.free_slots.remove(&slot);
        self.cut.insert(slot, 0);
        self.small.insert(slot * SLOT_BYTES, SLOT_BYTES);
    }

    /// Takes a range out of the hole that holds it.
    fn take_range(&mut self, offset: u64, len: u64) {
        let Some((start, free)) = self.small.range(..=offset).next_back().map(|(at, free)| (*at, *free)) else {
            return;
        };
        self.small.remove(&start);
        if start < offset {
            self.small.insert(start, offset - start);
        }
        if start + free > offset + len {
            self.small.insert(offset + len, start + free - offset - len);
        }
        if let Some(used) = self.cut.get_mut(&(offset / SLOT_BYTES)) {
            *used += len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_never_overlap_and_come_back_as_whole_slots() {
        let mut space = Space::default();
        space.grow(8);
        let mut rng = fastrand::Rng::with_seed(1);
        let mut live: Vec<(u64, u64)> = Vec::new();
        for _ in 0..5_000 {
            if rng.bool() {
                let len = if rng.u8(..) < 40 { SLOT_BYTES } else { UNIT_BYTES * rng.u64(1..100) };
                let small = SmallLen::of(len as usize).unwrap();
                let taken = if len == SLOT_BYTES { space.take_slot() } else { space.take_small(small) };
                if let Some(offset) = taken {
                    assert!(offset >= UNIT_BYTES && offset + len <= 8 * SLOT_BYTES);
                    assert!(live.iter().all(|(at, size)| offset + len <= *at || at + size <= offset));
                    live.push((offset, len));
                }
            } else if !live.is_empty() {
                let (offset, len) = live.swap_remove(rng.usize(..live.len()));
                space.give(offset, len);
            }
            let used: u64 = live.iter().map(|extent| extent.1).sum();
            assert_eq!(space.free_bytes() + used + UNIT_BYTES, 8 * SLOT_BYTES);
        }
        live.drain(..).for_each(|(offset, len)| space.give(offset, len));
        assert_eq!(std::iter::from_fn(|| space.take_slot()).count(), 7);
    }

    #[test]
    fn what_is_longer_than_a_slot_gets_no_space() {
        assert!(SmallLen::of(SLOT_BYTES as usize + 1).is_none());
        let mut space = Space::default();
        space.grow(3);
        let slot = SmallLen::of(SLOT_BYTES as usize - 1).unwrap();
        assert_eq!((space.take_small(slot), space.take_small(slot)), (Some(SLOT_BYTES), Some(2 * SLOT_BYTES)));
        assert_eq!(space.take_small(slot), None);
        space.give(SLOT_BYTES, slot.bytes());
        assert_eq!(space.take_slot(), Some(SLOT_BYTES));
    }

    #[test]
    fn what_a_mark_names_can_be_claimed_once() {
        let mut space = Space::default();
        space.grow(2);
        assert!(space.claim(8192, 4096) && !space.claim(8192, 4096) && !space.claim(4096, 8192));
        assert!(space.claim(SLOT_BYTES, SLOT_BYTES) && !space.claim(SLOT_BYTES, 4096));
        assert!(!space.claim(0, 4096), "the header belongs to nobody");
        assert!(!space.claim(2 * SLOT_BYTES, 4096));
    }
}
