//! A delta: changed blocks of one arena, as one extent.
//!
//! `kind u32 · pages u32 · arena u64 · generation u64`, then per page `page u32 · crc u32 · mask u64`, padded with zeros to 64,
//! then the blocks in the order of the masks' bits. The arena table has the checksum of all before the blocks, which
//! has that of each page's blocks, so that a page's blocks can be read and verified alone.

use crate::arena::{BLOCK_BYTES, PAGE_BYTES};
use crate::ids::ObjectId;

const DELTA_KIND: u32 = 0x544c_4544;
pub(super) const HEADER_BYTES: usize = 24;
const PAGE_ROW_BYTES: usize = 16;
/// A delta with its head is at most so long, small enough to be written in one turn, and four fill a slot; unless its
/// arena has so many that they should be as long as a slot.
pub(super) const DELTA_BYTES: usize = 512 << 10;
/// Pages of a delta, at most: so much is noted in one turn.
pub(super) const DELTA_PAGES: usize = 4096;

/// A delta that is being filled.
#[derive(Default)]
pub(super) struct DeltaBuilder {
    pub(super) pages: Vec<(u32, u64)>,
    pub(super) blocks: Vec<u8>,
}

impl DeltaBuilder {
    pub(super) fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Whether one more page could be too much.
    pub(super) fn is_full(&self) -> bool {
        head_len(self.pages.len() + 1) + self.blocks.len() + PAGE_BYTES > DELTA_BYTES || self.pages.len() == DELTA_PAGES
    }

    pub(super) fn len(&self) -> usize {
        head_len(self.pages.len()) + self.blocks.len()
    }

    /// The bytes, and the checksum of their head.
    pub(super) fn encode(&self, arena: ObjectId, generation: u64) -> (Vec<u8>, u32) {
        let mut out = Vec::with_capacity(self.len().next_multiple_of(4096));
        out.extend_from_slice(&DELTA_KIND.to_le_bytes());
        out.extend_from_slice(&(self.pages.len() as u32).to_le_bytes());
        out.extend_from_slice(&arena.0.to_le_bytes());
        out.extend_from_slice(&generation.to_le_bytes());
        let mut at = 0;
        for (page, mask) in &self.pages {
            let end = at + mask.count_ones() as usize * BLOCK_BYTES;
            out.extend_from_slice(&page.to_le_bytes());
            out.extend_from_slice(&crc32c::crc32c(&self.blocks[at..end]).to_le_bytes());
            out.extend_from_slice(&mask.to_le_bytes());
            at = end;
        }
        out.resize(head_len(self.pages.len()), 0);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&self.blocks);
        (out, crc)
    }
}

fn head_len(pages: usize) -> usize {
    (HEADER_BYTES + pages * PAGE_ROW_BYTES).next_multiple_of(BLOCK_BYTES)
}

/// Bytes of the head that begins with these; `None`: it is longer than the delta.
pub(super) fn head_bytes(header: &[u8], len: usize) -> Option<usize> {
    let count = u32::from_le_bytes(header.get(4..8)?.try_into().ok()?);
    Some(head_len(count as usize)).filter(|head| *head <= len)
}

/// One page's blocks in a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeltaPage {
    pub(super) page: u32,
    /// Of its blocks.
    pub(super) crc: u32,
    pub(super) mask: u64,
    /// Where the blocks begin, from the start of the delta.
    pub(super) at: usize,
}

/// The pages of a delta of `len` bytes from its verified head. `None`: no builder makes such bytes for this arena and
/// generation.
pub(super) fn decode(head: &[u8], len: usize, arena: ObjectId, generation: u64) -> Option<Vec<DeltaPage>> {
    let long = |at: usize| -> Option<u64> { Some(u64::from_le_bytes(head.get(at..at + 8)?.try_into().ok()?)) };
    let first = long(0)?;
    let count = (first >> 32) as usize;
    if first as u32 != DELTA_KIND || long(8)? != arena.0 || long(16)? != generation || head.len() != head_len(count) {
        return None;
    }
    let mut pages = Vec::with_capacity(count);
    let mut at = head.len();
    for row in 0..count {
        let from = HEADER_BYTES + row * PAGE_ROW_BYTES;
        let (place, mask) = (long(from)?, long(from + 8)?);
        pages.push(DeltaPage { page: place as u32, crc: (place >> 32) as u32, mask, at });
        at += mask.count_ones() as usize * BLOCK_BYTES;
    }
    (at == len).then_some(pages)
}
