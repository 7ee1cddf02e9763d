//! Which blocks changed since the last checkpoint, and what they held at the barrier.
//!
//! A store sets the block's bit in its page's `u64`. A barrier swaps the dirty words with the (empty)
//! frozen words; from then on the first store to a frozen block copies its 64 bytes aside.
//! Invariant: a block whose frozen bit is set holds its barrier content in the aside log if its dirty
//! bit is set too, else in place. So no third state is kept, and the hot path has one branch.

use super::segment::{BLOCK_BYTES, PAGE_BYTES, Region, RegionRead, RegionView, SEGMENT_PAGES};
use crate::mutant::{self, Mutant};

/// A segment of which more blocks than this changed is written whole: that costs little more than they do, and what
/// deltas have of it is dead then.
const WHOLE_BLOCKS: u32 = (SEGMENT_PAGES * 64) as u32 / 16 * 13;

const ASIDE_CHUNK: usize = 1024;

struct AsideBlock {
    /// The page's earlier aside block, as index + 1.
    next: u32,
    block: u8,
    bytes: [u8; BLOCK_BYTES],
}

/// What the page file wants written with the next checkpoint though it did not change.
#[derive(Default)]
pub(crate) struct FoldRequest {
    /// Pages with the blocks wanted.
    pub(crate) blocks: Vec<(u32, u64)>,
    /// Segments wanted whole.
    pub(crate) segments: Vec<u32>,
}

/// Dirty, frozen and aside state of all pages of an arena.
#[derive(Default)]
pub(crate) struct BlockDirty {
    dirty: Vec<u64>,
    image: FrozenImage,
}

/// All that a first store to a block needs besides the dirty words.
#[derive(Default)]
struct FrozenImage {
    frozen: Vec<u64>,
    /// Dirty blocks per segment.
    dirty_blocks: Vec<u32>,
    /// Segments that the frozen image writes whole.
    rewrite: Vec<bool>,
    /// Per page: newest aside block as index + 1.
    aside_head: Vec<u32>,
    aside: Vec<Vec<AsideBlock>>,
    fold: FoldRequest,
    frozen_segments: Option<u32>,
    /// Blocks of the last frozen image that had changed.
    frozen_blocks: u64,
    changed: bool,
}

/// The dirty words borrowed for a loop of stores.
pub(crate) struct DirtyWords<'a> {
    dirty: &'a mut [u64],
    image: &'a mut FrozenImage,
}

impl DirtyWords<'_> {
    /// Notes a coming store to the blocks of `mask` in `page`. To be called before the store.
    #[inline(always)]
    pub(crate) fn mark(&mut self, memory: &RegionView<'_>, page: usize, mask: u64) {
        if self.dirty[page] & mask != mask {
            self.image.mark_first(self.dirty, memory.read(), page, mask);
        }
    }
}

impl FrozenImage {
    #[cold]
    #[inline(never)]
    fn mark_first(&mut self, dirty: &mut [u64], memory: RegionRead<'_>, page: usize, mask: u64) {
        let first = mask & !dirty[page];
        let mut copy = first & self.frozen[page];
        while copy != 0 {
            let block = copy.trailing_zeros() as u8;
            copy &= copy - 1;
            self.copy_aside(&memory, page, block);
        }
        dirty[page] |= mask;
        self.dirty_blocks[page / SEGMENT_PAGES] += first.count_ones();
        self.changed = true;
    }

    fn copy_aside(&mut self, memory: &RegionRead<'_>, page: usize, block: u8) {
        if self.aside.last().is_none_or(|chunk| chunk.len() == ASIDE_CHUNK) {
            self.aside.push(Vec::with_capacity(ASIDE_CHUNK));
        }
        let full = (self.aside.len() - 1) * ASIDE_CHUNK;
        if let Some(chunk) = self.aside.last_mut() {
            let bytes = *memory.block(page * PAGE_BYTES + block as usize * BLOCK_BYTES);
            chunk.push(AsideBlock { next: self.aside_head[page], block, bytes });
            self.aside_head[page] = (full + chunk.len()) as u32;
        }
    }

    /// Puts the blocks of `aside` that were copied aside over those of the page that `blocks` has in the order of `mask`.
    fn restore_aside(&self, page: usize, (mask, aside): (u64, u64), blocks: &mut [u8]) {
        let mut at = self.aside_head[page];
        while at != 0 {
            let index = at as usize - 1;
            let entry = &self.aside[index / ASIDE_CHUNK][index % ASIDE_CHUNK];
            if aside >> entry.block & 1 == 1 {
                let place = (mask & ((1 << entry.block) - 1)).count_ones() as usize * BLOCK_BYTES;
                blocks[place..place + BLOCK_BYTES].copy_from_slice(&entry.bytes);
            }
            at = entry.next;
        }
    }

    fn clear_aside(&mut self) {
        if !self.aside.is_empty() {
            self.aside.clear();
            self.aside_head.fill(0);
        }
    }
}

impl BlockDirty {
    /// Makes room for one more segment, clean.
    pub(crate) fn add_segment(&mut self) {
        let pages = self.dirty.len() + SEGMENT_PAGES;
        self.dirty.resize(pages, 0);
        self.image.frozen.resize(pages, 0);
        self.image.aside_head.resize(pages, 0);
        self.image.dirty_blocks.push(0);
        self.image.rewrite.push(false);
    }

    /// Borrows the words for a loop of stores.
    #[inline(always)]
    pub(crate) fn words(&mut self) -> DirtyWords<'_> {
        DirtyWords { dirty: &mut self.dirty, image: &mut self.image }
    }

    /// Notes a coming store to the blocks of `mask` in `page`. To be called before the store.
    #[inline(always)]
    pub(crate) fn mark(&mut self, region: &Region, page: usize, mask: u64) {
        if self.dirty[page] & mask != mask {
            self.image.mark_first(&mut self.dirty, region.read(), page, mask);
        }
    }

    /// Forgets that a page changed; for a page that was freed.
    pub(crate) fn forget(&mut self, page: usize) {
        self.image.dirty_blocks[page / SEGMENT_PAGES] -= self.dirty[page].count_ones();
        // A frozen block that was copied aside must still be found there, and that is told by its
        // dirty bit, so those bits stay.
        self.dirty[page] &= self.image.frozen[page];
        self.image.dirty_blocks[page / SEGMENT_PAGES] += self.dirty[page].count_ones();
        self.image.changed = true;
    }

    /// Whether anything changed since the last freeze.
    pub(crate) fn is_changed(&self) -> bool {
        self.image.changed
    }

    /// Whether a frozen image waits to be written.
    pub(crate) fn is_frozen(&self) -> bool {
        self.image.frozen_segments.is_some()
    }

    /// Segments of the frozen image; 0 when there is none.
    pub(crate) fn frozen_segments(&self) -> u32 {
        self.image.frozen_segments.unwrap_or(0)
    }

    /// Takes the barrier: what is dirty becomes the frozen image. Costs O(segments) plus the blocks that
    /// the page file wants folded. The previous image must have been taken (`end_frozen`).
    pub(crate) fn freeze(&mut self) {
        assert!(self.image.frozen_segments.is_none(), "the previous frozen image was neither written nor thawed");
        if mutant::active(Mutant::ForgetDirtyBlock) {
            self.forget_one_dirty_block();
        }
        std::mem::swap(&mut self.dirty, &mut self.image.frozen);
        let fold = std::mem::take(&mut self.image.fold);
        for (page, mask) in fold.blocks {
            if let Some(word) = self.image.frozen.get_mut(page as usize) {
                *word |= mask;
            }
        }
        self.image.rewrite.fill(false);
        for segment in fold.segments {
            if let Some(whole) = self.image.rewrite.get_mut(segment as usize) {
                *whole = true;
            }
        }
        self.image.frozen_blocks = 0;
        for segment in 0..self.image.dirty_blocks.len() {
            let changed = std::mem::take(&mut self.image.dirty_blocks[segment]);
            self.image.frozen_blocks += u64::from(changed);
            self.image.rewrite[segment] |= changed > WHOLE_BLOCKS;
            if self.image.rewrite[segment] {
                let first = segment * SEGMENT_PAGES;
                self.image.frozen[first..first + SEGMENT_PAGES].fill(u64::MAX);
            }
        }
        self.image.frozen_segments = Some(self.image.dirty_blocks.len() as u32);
        self.image.changed = false;
    }

    /// Gives the frozen image up: what was not yet taken counts as changed again.
    pub(crate) fn thaw(&mut self) {
        if self.image.frozen_segments.take().is_none() {
            return;
        }
        for page in 0..self.image.frozen.len() {
            let back = self.image.frozen[page] & !self.dirty[page];
            self.image.dirty_blocks[page / SEGMENT_PAGES] += back.count_ones();
            self.dirty[page] |= back;
            self.image.frozen[page] = 0;
        }
        self.image.changed = true;
        self.image.clear_aside();
    }

    /// Whether the frozen image writes `segment` whole.
    pub(crate) fn is_rewritten(&self, segment: usize) -> bool {
        self.image.rewrite[segment]
    }

    /// Blocks of `page` that belong to the frozen image and were not taken yet.
    pub(crate) fn frozen_mask(&self, page: usize) -> u64 {
        self.image.frozen[page]
    }

    /// Appends the barrier content of the frozen blocks of `page` to `out`, in order, and releases them.
    pub(crate) fn take_frozen(&mut self, region: &Region, page: usize, out: &mut Vec<u8>) {
        let mask = std::mem::take(&mut self.image.frozen[page]);
        let start = out.len();
        // Neighbours at once: what was copied aside is put over it.
        let mut rest = mask;
        while rest != 0 {
            let block = rest.trailing_zeros() as usize;
            let run = (rest >> block).trailing_ones() as usize;
            out.extend_from_slice(region.bytes(page * PAGE_BYTES + block * BLOCK_BYTES, run * BLOCK_BYTES));
            rest &= u64::MAX.checked_shl((block + run) as u32).unwrap_or(0);
        }
        let aside = mask & self.dirty[page];
        if aside != 0 {
            self.image.restore_aside(page, (mask, aside), &mut out[start..]);
        }
    }

    /// Ends the frozen image after all of it was taken.
    pub(crate) fn end_frozen(&mut self) {
        debug_assert!(self.image.frozen.iter().all(|word| *word == 0), "a frozen block was not taken");
        self.image.frozen_segments = None;
        self.image.clear_aside();
    }

    /// Bytes held aside for the frozen image.
    pub(crate) fn aside_bytes(&self) -> usize {
        self.image.aside.len() * ASIDE_CHUNK * std::mem::size_of::<AsideBlock>()
    }

    /// Blocks of the last frozen image that had changed.
    pub(crate) fn frozen_blocks(&self) -> u64 {
        self.image.frozen_blocks
    }

    /// Told by the page file: what to write with the next image though it may not change.
    pub(crate) fn request_fold(&mut self, fold: FoldRequest) {
        self.image.fold = fold;
    }

    /// The mutant "forget a dirty block": drops the newest dirty mark, for tests that must notice it.
    pub(crate) fn forget_one_dirty_block(&mut self) -> bool {
        for page in (0..self.dirty.len()).rev() {
            if self.dirty[page] != 0 {
                let bit = 1u64 << (63 - self.dirty[page].leading_zeros());
                self.dirty[page] &= !bit;
                self.image.dirty_blocks[page / SEGMENT_PAGES] -= 1;
                return true;
            }
        }
        false
    }
}
