//! What the page file knows of one arena: where its segments and deltas are, and which delta holds which block.
//!
//! Invariant: for each page the masks of its deltas are disjoint (an older delta's block that a younger one or a
//! segment replaced is dead), and a delta with no living block is gone.

use super::extent::Extents;
use super::layout::{DeltaRow, SLOT_BYTES, SegmentRow};
use super::slot::units;
use crate::arena::{PAGE_BYTES, SEGMENT_BYTES};
use std::collections::BTreeMap;
use std::sync::Arc;

const SEGMENT_PAGES: u32 = (SEGMENT_BYTES / PAGE_BYTES) as u32;

/// An arena's table as some mark names it.
#[derive(Debug)]
pub(super) struct ArenaImage {
    pub(super) segments: Vec<SegmentRow>,
    pub(super) deltas: Vec<DeltaRow>,
    pub(super) table_offset: u64,
    pub(super) table_len: u32,
    pub(super) table_crc: u32,
}

impl ArenaImage {
    /// Every extent of the image.
    fn extents(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let segments = self.segments.iter().filter(|row| row.offset != 0).map(|row| (row.offset, SLOT_BYTES));
        let deltas = self.deltas.iter().map(|row| (row.offset, units(row.len as usize)));
        segments.chain(deltas).chain([(self.table_offset, units(self.table_len as usize))])
    }

    /// Bytes of its segments and deltas.
    pub(super) fn bytes(&self) -> u64 {
        let segments = self.segments.iter().filter(|row| row.offset != 0).count() as u64 * SLOT_BYTES;
        segments + self.deltas.iter().map(|row| u64::from(row.len)).sum::<u64>()
    }

    /// Names all extents; `false` and none when one is impossible.
    pub(super) fn name(&self, extents: &mut Extents) -> bool {
        let named = self.extents().take_while(|(offset, len)| extents.name(*offset, *len)).count();
        let all = named == self.extents().count();
        if !all {
            self.extents().take(named).for_each(|(offset, _)| extents.unname(offset));
        }
        all
    }

    /// Gives an image up; the last holder takes the names away.
    pub(super) fn release(image: Arc<Self>, extents: &mut Extents) {
        if let Ok(image) = Arc::try_unwrap(image) {
            image.extents().for_each(|(offset, _)| extents.unname(offset));
        }
    }
}

/// A delta with its living blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct LiveDelta {
    pub(super) row: DeltaRow,
    pub(super) live: u32,
    pub(super) blocks: u32,
}

/// The newest state of one arena in the file; becomes an [`ArenaImage`] when a checkpoint finishes.
#[derive(Default)]
pub(super) struct ArenaState {
    pub(super) segments: Vec<SegmentRow>,
    /// By order of writing.
    pub(super) deltas: BTreeMap<u64, LiveDelta>,
    next_delta: u64,
    /// Page → (delta, living blocks).
    pub(super) pages: BTreeMap<u32, Vec<(u64, u64)>>,
    /// Living delta blocks per segment.
    pub(super) delta_blocks: Vec<u32>,
    /// The table as written; `None` while it is behind.
    pub(super) sealed: Option<Arc<ArenaImage>>,
}

impl ArenaState {
    /// Makes room for `count` segments; new ones are zeros.
    pub(super) fn grow(&mut self, count: usize) {
        if count > self.segments.len() {
            self.segments.resize(count, SegmentRow::default());
            self.delta_blocks.resize(count, 0);
        }
    }

    /// A delta was written (its extent is named for this state); returns its number.
    pub(super) fn add_delta(&mut self, row: DeltaRow, pages: &[(u32, u64)], extents: &mut Extents) -> u64 {
        let number = self.next_delta;
        self.next_delta += 1;
        let blocks = pages.iter().map(|(_, mask)| mask.count_ones()).sum();
        self.deltas.insert(number, LiveDelta { row, live: blocks, blocks });
        for (page, mask) in pages {
            self.kill(*page, *mask, extents);
            self.pages.entry(*page).or_default().push((number, *mask));
            self.delta_blocks[(*page / SEGMENT_PAGES) as usize] += mask.count_ones();
        }
        if blocks == 0 {
            self.deltas.remove(&number);
            extents.unname(row.offset);
        }
        number
    }

    /// A segment was written whole (its slot is named for this state).
    pub(super) fn set_segment(&mut self, segment: usize, row: SegmentRow, extents: &mut Extents) {
        let first = segment as u32 * SEGMENT_PAGES;
        let pages: Vec<u32> = self.pages.range(first..first + SEGMENT_PAGES).map(|(page, _)| *page).collect();
        for page in pages {
            self.kill(page, u64::MAX, extents);
        }
        let old = std::mem::replace(&mut self.segments[segment], row);
        if old.offset != 0 {
            extents.unname(old.offset);
        }
    }

    /// The delta blocks of `mask` in `page` are replaced.
    fn kill(&mut self, page: u32, mask: u64, extents: &mut Extents) {
        let Some(rows) = self.pages.get_mut(&page) else { return };
        for (number, have) in rows.iter_mut() {
            let dead = (*have & mask).count_ones();
            *have &= !mask;
            self.delta_blocks[(page / SEGMENT_PAGES) as usize] -= dead;
            if let Some(delta) = self.deltas.get_mut(number) {
                delta.live -= dead;
                if delta.live == 0 {
                    extents.unname(delta.row.offset);
                    self.deltas.remove(number);
                }
            }
        }
        rows.retain(|(_, have)| *have != 0);
        if rows.is_empty() {
            self.pages.remove(&page);
        }
    }

    /// Gives up everything that this state names.
    pub(super) fn release(self, extents: &mut Extents) {
        self.segments.iter().filter(|row| row.offset != 0).for_each(|row| extents.unname(row.offset));
        self.deltas.values().for_each(|delta| extents.unname(delta.row.offset));
        if let Some(image) = self.sealed {
            ArenaImage::release(image, extents);
        }
    }
}
