//! A delta: changed blocks of one arena, as one extent.
//!
//! `kind u32 · pages u32 · arena u64 · generation u64`, then per page `page u32 · 0 u32 · mask u64`, padded with zeros to 64,
//! then the blocks in the order of the masks' bits.

use crate::arena::BLOCK_BYTES;
use crate::ids::ObjectId;

const DELTA_KIND: u32 = 0x544c_4544;
const HEADER_BYTES: usize = 24;
const PAGE_ROW_BYTES: usize = 16;
/// A delta is closed when its blocks reach this; small enough to be written in one turn.
pub(super) const DELTA_TARGET_BYTES: usize = 512 << 10;

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

    pub(super) fn is_full(&self) -> bool {
        self.blocks.len() >= DELTA_TARGET_BYTES
    }

    pub(super) fn len(&self) -> usize {
        blocks_at(self.pages.len()) + self.blocks.len()
    }

    pub(super) fn encode(&self, arena: ObjectId, generation: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len().next_multiple_of(4096));
        out.extend_from_slice(&DELTA_KIND.to_le_bytes());
        out.extend_from_slice(&(self.pages.len() as u32).to_le_bytes());
        out.extend_from_slice(&arena.0.to_le_bytes());
        out.extend_from_slice(&generation.to_le_bytes());
        for (page, mask) in &self.pages {
            out.extend_from_slice(&u64::from(*page).to_le_bytes());
            out.extend_from_slice(&mask.to_le_bytes());
        }
        out.resize(blocks_at(self.pages.len()), 0);
        out.extend_from_slice(&self.blocks);
        out
    }
}

fn blocks_at(pages: usize) -> usize {
    (HEADER_BYTES + pages * PAGE_ROW_BYTES).next_multiple_of(BLOCK_BYTES)
}

/// A delta read back: its pages and where the blocks begin.
pub(super) struct Delta {
    pub(super) pages: Vec<(u32, u64)>,
    pub(super) blocks_at: usize,
}

impl Delta {
    /// `None`: no builder makes such bytes for this arena and generation.
    pub(super) fn decode(bytes: &[u8], arena: ObjectId, generation: u64) -> Option<Self> {
        let long = |at: usize| -> Option<u64> { Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?)) };
        let head = long(0)?;
        let count = (head >> 32) as usize;
        if head as u32 != DELTA_KIND || long(8)? != arena.0 || long(16)? != generation {
            return None;
        }
        let blocks_at = blocks_at(count);
        if blocks_at > bytes.len() {
            return None;
        }
        let mut pages = Vec::with_capacity(count);
        let mut blocks = 0;
        for row in bytes[HEADER_BYTES..HEADER_BYTES + count * PAGE_ROW_BYTES].chunks_exact(PAGE_ROW_BYTES) {
            let page = u64::from_le_bytes(row[..8].try_into().ok()?);
            let mask = u64::from_le_bytes(row[8..].try_into().ok()?);
            blocks += mask.count_ones() as usize;
            pages.push((u32::try_from(page).ok()?, mask));
        }
        (bytes.len() == blocks_at + blocks * BLOCK_BYTES).then_some(Self { pages, blocks_at })
    }
}
