//! Writing frozen arenas, in steps that fit a reactor's turn.
//!
//! Invariant: an arena's frozen image is written as it was at the barrier, whatever is stored meanwhile.

use super::delta::{DELTA_PAGES, DeltaBuilder};
use super::extent::Extents;
use super::file::PageFile;
use super::finish::Stage;
use super::image::{ArenaImage, ArenaState};
use super::layout::{DeltaRow, SLOT_BYTES, SegmentRow};
use super::slot::SmallLen;
use crate::arena::{Arena, BLOCK_BYTES, PAGE_BYTES, SEGMENT_BYTES, SEGMENT_PAGES};
use crate::disk::Disk;
use crate::error::{Result, StorageError};

/// A whole segment is copied in pieces of this many pages.
const PIECE_PAGES: usize = 64;

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteStep {
    /// Nothing is left of the budget; call again.
    More,
    /// The file must grow first, or the disk is behind; call again after a completion.
    Blocked,
    /// The arena's image is written; nothing is frozen any more.
    Done,
}

/// A segment that is being written whole.
struct SegmentWrite {
    offset: u64,
    crc: u32,
}

/// How far an arena's frozen image is written.
#[derive(Default)]
pub(super) struct ArenaWrite {
    page: usize,
    delta: DeltaBuilder,
    segment: Option<SegmentWrite>,
}

impl ArenaWrite {
    /// Whether the delta must be written before the next page. `is_long`: it may fill a slot.
    fn is_full(&self, is_long: bool) -> bool {
        let next = self.delta.len() + PAGE_BYTES + BLOCK_BYTES;
        let fits = next as u64 <= SLOT_BYTES && self.delta.pages.len() < DELTA_PAGES;
        self.delta.is_full() && !(is_long && fits)
    }

    /// Gives up what was not completed.
    pub(super) fn discard(self, extents: &mut Extents) {
        if let Some(segment) = self.segment {
            extents.unname(segment.offset);
        }
    }
}

/// Fills a segment if it is absent; the bytes that this cost.
fn read_back(arena: &mut Arena, segment: usize) -> Result<i64> {
    Ok(if arena.pages.region.fill(segment)? { SEGMENT_BYTES as i64 } else { 0 })
}

impl PageFile {
    /// Writes of an arena's frozen image while `left` is positive, and takes from it the bytes that were written and
    /// those that had to be read back first. The first call names the arena to the file.
    ///
    /// # Errors
    /// `Order` between `finish` and its mark; `LogFailed` after a failed write; `Rot` and `Disk` when a restored
    /// segment of which blocks are wanted cannot be read back.
    pub fn write_step(&mut self, arena: &mut Arena, disk: &mut dyn Disk, left: &mut i64) -> Result<WriteStep> {
        self.check_usable()?;
        if !arena.is_frozen() {
            return Ok(WriteStep::Done);
        }
        if !matches!(self.stage, Stage::Open) {
            return Err(StorageError::Order {
                detail: "an arena was written while its image was being finished".into(),
            });
        }
        let id = arena.id();
        let end = arena.pages.blocks.frozen_segments() as usize * SEGMENT_PAGES;
        self.arenas.entry(id).or_default().grow(end / SEGMENT_PAGES);
        let mut write = self.writing.remove(&id).unwrap_or_default();
        let step = self.advance(arena, disk, &mut write, (end, left))?;
        match step {
            WriteStep::Done => {
                arena.pages.blocks.end_frozen();
                self.changed_bytes += arena.pages.blocks.frozen_blocks() * BLOCK_BYTES as u64;
                if let Some(state) = self.arenas.get(&id) {
                    super::fold::plan(state, arena);
                }
            }
            _ => {
                self.writing.insert(id, write);
            }
        }
        Ok(step)
    }

    fn advance(
        &mut self,
        arena: &mut Arena,
        disk: &mut dyn Disk,
        write: &mut ArenaWrite,
        (end, left): (usize, &mut i64),
    ) -> Result<WriteStep> {
        while write.page < end {
            if *left <= 0 {
                return Ok(WriteStep::More);
            }
            if self.is_behind()
                || (write.is_full(self.has_many_deltas(arena)) && !self.write_delta(arena, disk, write)?)
            {
                return Ok(WriteStep::Blocked);
            }
            let segment = write.page / SEGMENT_PAGES;
            if arena.pages.blocks.is_rewritten(segment) {
                if write.segment.is_none() {
                    let Some(offset) = self.extents.take_slot() else {
                        self.request_space(disk);
                        return Ok(WriteStep::Blocked);
                    };
                    *left -= read_back(arena, segment)?;
                    write.segment = Some(SegmentWrite { offset, crc: 0 });
                }
                self.write_piece(arena, disk, write);
                *left -= (PIECE_PAGES * PAGE_BYTES) as i64;
                continue;
            }
            let mask = arena.pages.blocks.frozen_mask(write.page);
            if mask != 0 {
                *left -= read_back(arena, segment)?;
                write.delta.pages.push((write.page as u32, mask));
                arena.pages.blocks.take_frozen(&arena.pages.region, write.page, &mut write.delta.blocks);
                *left -= i64::from(mask.count_ones()) * BLOCK_BYTES as i64;
            }
            *left -= 8;
            write.page += 1;
        }
        if !write.delta.is_empty() && !self.write_delta(arena, disk, write)? {
            return Ok(WriteStep::Blocked);
        }
        Ok(WriteStep::Done)
    }

    fn write_piece(&mut self, arena: &mut Arena, disk: &mut dyn Disk, write: &mut ArenaWrite) {
        let Some(target) = &mut write.segment else { return };
        let mut piece = Vec::with_capacity(PIECE_PAGES * PAGE_BYTES);
        let at = write.page % SEGMENT_PAGES;
        for page in write.page..write.page + PIECE_PAGES {
            arena.pages.blocks.take_frozen(&arena.pages.region, page, &mut piece);
        }
        target.crc = crc32c::crc32c_append(target.crc, &piece);
        let (offset, crc) = (target.offset, target.crc);
        self.emit(disk, offset + (at * PAGE_BYTES) as u64, piece);
        write.page += PIECE_PAGES;
        if write.page.is_multiple_of(SEGMENT_PAGES) {
            write.segment = None;
            self.changed_state(arena, |state, generation, extents| {
                let row = SegmentRow { offset, generation, crc };
                state.set_segment(write.page / SEGMENT_PAGES - 1, row, extents);
            });
        }
    }

    /// From then on deltas are as long as a slot: the table must have room for them, whatever has changed.
    fn has_many_deltas(&self, arena: &Arena) -> bool {
        self.arenas.get(&arena.id()).is_some_and(ArenaState::has_many_deltas)
    }

    fn write_delta(&mut self, arena: &Arena, disk: &mut dyn Disk, write: &mut ArenaWrite) -> Result<bool> {
        let len = write.delta.len();
        let Some(room) = SmallLen::of(len) else {
            return Err(StorageError::Order { detail: format!("a delta of {len} bytes is longer than a slot") });
        };
        let Some(offset) = self.extents.take_small(room) else {
            self.request_space(disk);
            return Ok(false);
        };
        let (bytes, crc) = write.delta.encode(arena.id(), self.generation);
        self.emit(disk, offset, bytes);
        let delta = std::mem::take(&mut write.delta);
        self.changed_state(arena, |state, generation, extents| {
            state.add_delta(DeltaRow { offset, generation, len: len as u32, crc }, &delta.pages, extents);
        });
        Ok(true)
    }

    fn changed_state(&mut self, arena: &Arena, change: impl FnOnce(&mut ArenaState, u64, &mut Extents)) {
        self.changed = true;
        let state = self.arenas.entry(arena.id()).or_default();
        change(state, self.generation, &mut self.extents);
        if let Some(image) = state.sealed.take() {
            ArenaImage::release(image, &mut self.extents);
        }
    }

    /// Gives an arena's frozen image up: what was not written counts as changed again. What was written stays and
    /// belongs to the next image.
    pub fn abandon(&mut self, arena: &mut Arena) {
        arena.thaw();
        self.generation += 1;
        let Some(write) = self.writing.remove(&arena.id()) else { return };
        for (page, mask) in &write.delta.pages {
            arena.pages.blocks.mark(&arena.pages.region, *page as usize, *mask);
        }
        if write.segment.is_some() {
            let first = write.page / SEGMENT_PAGES * SEGMENT_PAGES;
            for page in first..first + SEGMENT_PAGES {
                arena.pages.blocks.mark(&arena.pages.region, page, u64::MAX);
            }
        }
        write.discard(&mut self.extents);
        self.settle();
    }
}
