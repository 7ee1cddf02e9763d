//! The fast path into the values of one table, for folds column by column.

use super::block_dirty::{BlockDirty, DirtyWords};
use super::entry::EntryLayout;
use super::page::Pages;
use super::segment::{PAGE_BYTES, RegionView};
use super::table::Slot;

/// Mutable access to the values of one table; one branch per store for dirty tracking.
///
/// With `TRACK = false` stores escape the next checkpoint; only for measuring what tracking costs
/// (the arena then refuses to freeze).
pub struct Folder<'a, const TRACK: bool = true> {
    memory: RegionView<'a>,
    dirty: DirtyWords<'a>,
    layout: EntryLayout,
}

impl<'a, const TRACK: bool> Folder<'a, TRACK> {
    pub(crate) fn new(pages: &'a mut Pages, layout: EntryLayout) -> Self {
        Self { memory: pages.region.view(), dirty: BlockDirty::words(&mut pages.blocks), layout }
    }

    /// The value at a slot of this table, to store into.
    #[inline(always)]
    pub fn value_mut(&mut self, slot: Slot) -> &mut [u8] {
        let offset = slot.offset() + self.layout.value_at;
        self.mark(offset);
        self.memory.bytes_mut(offset, self.layout.value_len)
    }

    /// `N` bytes at `at` of the value, to store into. Panics when they do not lie in the value.
    #[inline(always)]
    pub fn field_mut<const N: usize>(&mut self, slot: Slot, at: usize) -> &mut [u8; N] {
        assert!(at + N <= self.layout.value_len, "a field behind the end of the value");
        let offset = slot.offset() + self.layout.value_at;
        self.mark(offset);
        self.memory.array_mut::<N>(offset + at)
    }

    /// The value at a slot.
    #[inline(always)]
    pub fn value(&self, slot: Slot) -> &[u8] {
        self.memory.bytes(slot.offset() + self.layout.value_at, self.layout.value_len)
    }

    /// Brings the values of coming stores near.
    #[inline]
    pub fn prefetch(&self, slots: &[Slot]) {
        for slot in slots {
            self.memory.prefetch(slot.offset() + self.layout.value_at);
        }
    }

    #[inline(always)]
    fn mark(&mut self, offset: usize) {
        if TRACK {
            let mask = self.layout.value_blocks << (offset % PAGE_BYTES / 64);
            self.dirty.mark(&self.memory, offset / PAGE_BYTES, mask);
        }
    }
}
