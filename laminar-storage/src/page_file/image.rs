//! What the page file knows of one arena: where its segments and deltas are, and which delta holds which block.
//!
//! Invariant: a block lives in one place, the youngest (an older delta's block that a younger one or a segment replaced is
//! dead), and what holds no living block is gone: a delta, and the slot of a segment whose blocks all stand in deltas.

use super::extent::Extents;
use super::fold::Bounds;
use super::layout::{DeltaRow, SLOT_BYTES, SegmentRow};
use super::rows::{Place, Row, Rows};
use super::slot::units;
use crate::arena::{BLOCK_BYTES, SEGMENT_BYTES};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const SEGMENT_PAGES: u32 = crate::arena::SEGMENT_PAGES as u32;
pub(super) const SEGMENT_BLOCKS: u32 = (SEGMENT_BYTES / BLOCK_BYTES) as u32;

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
#[derive(Debug)]
pub(super) struct LiveDelta {
    pub(super) row: DeltaRow,
    pub(super) live: u32,
    /// Of which it has blocks, dead ones too.
    pub(super) pages: Vec<u32>,
}

/// The newest state of one arena in the file; becomes an [`ArenaImage`] when a checkpoint finishes.
#[derive(Default)]
pub(super) struct ArenaState {
    pub(super) segments: Vec<SegmentRow>,
    /// By order of writing.
    pub(super) deltas: BTreeMap<u64, LiveDelta>,
    next_delta: u64,
    /// By segment: where its blocks in deltas are.
    pub(super) rows: Vec<Rows>,
    /// Living delta blocks per segment.
    pub(super) delta_blocks: Vec<u32>,
    /// The table as written; `None` while it is behind.
    pub(super) sealed: Option<Arc<ArenaImage>>,
    pub(super) bounds: Bounds,
}

impl ArenaState {
    /// Makes room for `count` segments; new ones are zeros.
    pub(super) fn grow(&mut self, count: usize) {
        if count > self.segments.len() {
            self.segments.resize(count, SegmentRow::default());
            self.rows.resize_with(count, Rows::default);
            self.delta_blocks.resize(count, 0);
        }
    }

    /// Whether there are as many deltas as there should be.
    pub(super) fn has_many_deltas(&self) -> bool {
        self.deltas.len() >= self.bounds.deltas(self.segments.len())
    }

    /// A delta was written (its extent is named for this state); returns its number.
    pub(super) fn add_delta(&mut self, row: DeltaRow, pages: &[(u32, u64)], extents: &mut Extents) -> u64 {
        let number = self.enter(row, pages, extents);
        let mut rows = Vec::with_capacity(pages.len());
        for of_segment in pages.chunk_by(|one, next| one.0 / SEGMENT_PAGES == next.0 / SEGMENT_PAGES) {
            rows.clear();
            rows.extend(of_segment.iter().map(|(page, mask)| Row::new(page % SEGMENT_PAGES, number, *mask)));
            self.place((of_segment[0].0 / SEGMENT_PAGES) as usize, &mut rows, extents);
        }
        number
    }

    /// As [`ArenaState::add_delta`] of each, oldest first, in time that grows with their pages alone; returns the
    /// number of the first.
    pub(super) fn add_deltas(&mut self, deltas: &[(DeltaRow, Vec<(u32, u64)>)], extents: &mut Extents) -> u64 {
        let first = self.next_delta;
        let mut rows: Vec<Vec<Row>> = vec![Vec::new(); self.segments.len()];
        for (row, pages) in deltas {
            let number = self.enter(*row, pages, extents);
            for (page, mask) in pages {
                rows[(page / SEGMENT_PAGES) as usize].push(Row::new(page % SEGMENT_PAGES, number, *mask));
            }
        }
        for (segment, rows) in rows.iter_mut().enumerate() {
            self.place(segment, rows, extents);
        }
        first
    }

    /// Numbers a delta; one without living blocks is gone at once.
    fn enter(&mut self, row: DeltaRow, pages: &[(u32, u64)], extents: &mut Extents) -> u64 {
        let number = self.next_delta;
        self.next_delta += 1;
        let live = pages.iter().map(|(_, mask)| mask.count_ones()).sum();
        if live == 0 {
            extents.unname(row.offset);
        } else {
            self.deltas.insert(number, LiveDelta { row, live, pages: pages.iter().map(|(page, _)| *page).collect() });
        }
        number
    }

    /// Blocks of a segment stand in these deltas now, which are its youngest.
    fn place(&mut self, segment: usize, younger: &mut [Row], extents: &mut Extents) {
        let Self { segments, deltas, rows, delta_blocks, .. } = self;
        delta_blocks[segment] += younger.iter().map(|row| row.mask.count_ones()).sum::<u32>();
        rows[segment].add(younger, |number, lost| {
            delta_blocks[segment] -= lost;
            kill(deltas, number, lost, extents);
        });
        if delta_blocks[segment] == SEGMENT_BLOCKS && segments[segment].offset != 0 {
            extents.unname(segments[segment].offset);
            segments[segment] = SegmentRow { offset: 0, crc: 0, ..segments[segment] };
        }
    }

    /// A segment was written whole (its slot is named for this state).
    pub(super) fn set_segment(&mut self, segment: usize, row: SegmentRow, extents: &mut Extents) {
        for row in std::mem::take(&mut self.rows[segment]).iter() {
            kill(&mut self.deltas, row.place.delta(), row.mask.count_ones(), extents);
        }
        self.delta_blocks[segment] = 0;
        let old = std::mem::replace(&mut self.segments[segment], row);
        if old.offset != 0 {
            extents.unname(old.offset);
        }
    }

    /// Living blocks of a page in a delta.
    pub(super) fn living(&self, page: u32, delta: u64) -> u64 {
        let rows = self.rows.get((page / SEGMENT_PAGES) as usize);
        rows.map_or(0, |rows| rows.living(Place::new(page % SEGMENT_PAGES, delta)))
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

/// A delta loses blocks; without any it is gone.
fn kill(deltas: &mut BTreeMap<u64, LiveDelta>, number: u64, blocks: u32, extents: &mut Extents) {
    let Some(delta) = deltas.get_mut(&number) else { return };
    delta.live -= blocks;
    if delta.live == 0 {
        extents.unname(delta.row.offset);
        deltas.remove(&number);
    }
}
