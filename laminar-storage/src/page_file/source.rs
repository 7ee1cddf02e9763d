//! The bytes of one arena's image, segment by segment, while a restored arena is read back.
//!
//! Invariant: what a missing segment needs is named by the arena's newest state until the segment was read (it can
//! only be written anew, or its blocks changed, after it was), so nothing here is overwritten meanwhile.

use std::cell::RefCell;
use std::sync::Arc;

use super::delta::DeltaPage;
use super::image::{ArenaState, SEGMENT_PAGES};
use super::layout::{SLOT_BYTES, SegmentRow};
use super::rows::Place;
use crate::arena::{ArenaError, BLOCK_BYTES, PAGE_BYTES, SEGMENT_BYTES, SegmentSource};
use crate::disk::ReadAt;
use crate::error::{Result, StorageError};
use crate::ids::ObjectId;

/// Neighbouring parts are read together up to this size.
const READ_BYTES: usize = 256 << 10;

/// Blocks of one page in a delta.
#[derive(Clone, Copy)]
struct Part {
    /// In the file.
    offset: u64,
    place: Place,
    crc: u32,
    mask: u64,
    /// Those that no younger delta replaces.
    living: u64,
}

impl Part {
    fn bytes(&self) -> usize {
        self.mask.count_ones() as usize * BLOCK_BYTES
    }

    fn end(&self) -> u64 {
        self.offset + self.bytes() as u64
    }
}

/// See the file's invariant.
pub(super) struct ImageSource {
    reader: Arc<dyn ReadAt>,
    path: String,
    arena: ObjectId,
    segments: Vec<SegmentRow>,
    /// By segment, in the order of the file; given up when the segment was read.
    parts: RefCell<Vec<Vec<Part>>>,
}

impl ImageSource {
    /// `heads`: number, offset and pages of each delta of the image.
    pub(super) fn new(
        reader: Arc<dyn ReadAt>,
        path: String,
        arena: ObjectId,
        state: &ArenaState,
        heads: &[(u64, u64, Vec<DeltaPage>)],
    ) -> Self {
        let mut parts = vec![Vec::new(); state.segments.len()];
        for (number, start, pages) in heads {
            for DeltaPage { page, crc, mask, at } in pages {
                let (offset, place) = (start + *at as u64, Place::new(page % SEGMENT_PAGES, *number));
                let part = Part { offset, place, crc: *crc, mask: *mask, living: 0 };
                parts[(page / SEGMENT_PAGES) as usize].push(part);
            }
        }
        for (parts, rows) in parts.iter_mut().zip(&state.rows) {
            parts.sort_unstable_by_key(|part: &Part| part.place);
            let living: Vec<u64> = rows.living_in_order(parts.iter().map(|part| part.place)).collect();
            parts.iter_mut().zip(living).for_each(|(part, living)| part.living = living);
            parts.retain(|part| part.living != 0);
            parts.shrink_to_fit();
            parts.sort_unstable_by_key(|part| part.offset);
        }
        Self { reader, path, arena, segments: state.segments.clone(), parts: RefCell::new(parts) }
    }

    /// Which segments are more than zeros.
    pub(super) fn has_bytes(&self) -> Vec<bool> {
        let parts = self.parts.borrow();
        self.segments.iter().zip(parts.iter()).map(|(row, parts)| row.offset != 0 || !parts.is_empty()).collect()
    }

    fn read_exact(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        let got = self.reader.read_at(offset, into).map_err(StorageError::disk("read a page file"))?;
        if got < into.len() {
            let detail = format!("the file ends {} bytes too early", into.len() - got);
            return Err(self.rot(offset + got as u64, detail));
        }
        Ok(())
    }

    /// Puts neighbouring parts of a segment in place.
    fn read_parts(&self, segment: usize, parts: &[Part], into: &mut [u8]) -> Result<()> {
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return Ok(()) };
        let mut bytes = vec![0; (last.end() - first.offset) as usize];
        self.read_exact(first.offset, &mut bytes)?;
        for part in parts {
            let from = (part.offset - first.offset) as usize;
            let blocks = &bytes[from..from + part.bytes()];
            if crc32c::crc32c(blocks) != part.crc {
                let page = segment * SEGMENT_PAGES as usize + part.place.page() as usize;
                let detail = format!("blocks of page {page} of pipeline {} fail their checksum", self.arena);
                return Err(self.rot(part.offset, detail));
            }
            let page = part.place.page() as usize * PAGE_BYTES;
            let (mut rest, mut blocks) = (part.mask, blocks.chunks_exact(BLOCK_BYTES));
            while let (true, Some(bytes)) = (rest != 0, blocks.next()) {
                let block = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                if part.living >> block & 1 == 1 {
                    let at = page + block * BLOCK_BYTES;
                    into[at..at + BLOCK_BYTES].copy_from_slice(bytes);
                }
            }
        }
        Ok(())
    }

    fn rot(&self, offset: u64, detail: String) -> StorageError {
        StorageError::Rot { file: self.path.clone(), offset, detail }
    }
}

impl SegmentSource for ImageSource {
    fn read(&self, segment: usize, into: &mut [u8]) -> Result<()> {
        let row = self.segments[segment];
        // A segment that was never written whole is zeros but for its deltas' blocks, and so is fresh memory.
        if row.offset != 0 {
            debug_assert_eq!(into.len() as u64, SLOT_BYTES, "a segment fills a slot");
            self.read_exact(row.offset, into)?;
            if crc32c::crc32c(into) != row.crc {
                let detail = format!("segment {segment} of pipeline {} fails its checksum", self.arena);
                return Err(self.rot(row.offset, detail));
            }
        }
        let parts = self.parts.borrow()[segment].clone();
        let mut from = 0;
        for at in 1..=parts.len() {
            let joins = parts.get(at).is_some_and(|next| {
                next.offset == parts[at - 1].end() && next.end() - parts[from].offset <= READ_BYTES as u64
            });
            if !joins {
                self.read_parts(segment, &parts[from..at], into)?;
                from = at;
            }
        }
        self.parts.borrow_mut()[segment] = Vec::new();
        Ok(())
    }

    fn place(&self, error: ArenaError) -> StorageError {
        match error {
            ArenaError::Damaged { arena, offset, what } => {
                let slot = self.segments.get(offset / SEGMENT_BYTES).map_or(0, |row| row.offset);
                let at = if slot == 0 { 0 } else { slot + (offset % SEGMENT_BYTES) as u64 };
                let detail = format!("pipeline {arena} at arena offset {offset:#x}: {what}");
                StorageError::Malformed { file: self.path.clone(), offset: at, detail }
            }
            other => StorageError::Arena(other),
        }
    }
}
