//! Whole columns of keys against a table: probes in groups, with prefetch.
//!
//! A group goes through three stages: prefetch the chunk of each row, read its tags and prefetch the entry
//! they name, compare and settle. So the misses of a group overlap instead of adding up.
//! Invariant: a candidate found by stage two is only a hint; every row is settled by comparing the entry,
//! and falls back to a full probe, because a row before it may have inserted or split.

use super::error::ArenaError;
use super::index::{matches, slot_in, tag};
use super::page::Pages;
use super::table::{Slot, Table};
use std::num::NonZeroU32;

/// Rows in flight at once; about what the line-fill buffers hold.
pub(crate) const GROUP: usize = 16;

/// A column of encoded keys.
#[derive(Clone, Copy, Debug)]
pub enum KeyBatch<'a> {
    /// Keys of one width, one after the other.
    Fixed {
        /// `width` bytes per row.
        bytes: &'a [u8],
        /// Bytes of each key; at least 1.
        width: usize,
    },
    /// Row `i` is `bytes[offsets[i]..offsets[i + 1]]`, as in an Arrow binary array.
    Variable {
        /// One more than rows, ascending.
        offsets: &'a [i32],
        /// All keys.
        bytes: &'a [u8],
    },
}

impl<'a> KeyBatch<'a> {
    /// The key of a row. Panics when the row is out of range.
    #[inline(always)]
    pub fn key(&self, row: usize) -> &'a [u8] {
        match *self {
            Self::Fixed { bytes, width } => &bytes[row * width..(row + 1) * width],
            Self::Variable { offsets, bytes } => &bytes[offsets[row] as usize..offsets[row + 1] as usize],
        }
    }
}

impl Table {
    /// Stages one and two: a candidate entry per hash, 0 where the first chunk has none.
    #[inline(always)]
    fn candidates(&self, pages: &Pages, hashes: &[u64], into: &mut [u32; GROUP]) {
        let mut chunks = [0usize; GROUP];
        for (hash, chunk) in hashes.iter().zip(&mut chunks) {
            *chunk = self.index.probe(*hash).offset();
            pages.region.prefetch(*chunk);
        }
        for ((hash, chunk), candidate) in hashes.iter().zip(&chunks).zip(into) {
            let chunk = pages.region.block(*chunk);
            let found = matches(chunk, tag(*hash));
            *candidate = if found == 0 { 0 } else { slot_in(chunk, found.trailing_zeros() as usize) };
            pages.region.prefetch(*candidate as usize * super::entry::SLOT_BYTES);
        }
    }

    pub(crate) fn find_batch(&self, pages: &Pages, hashes: &[u64], keys: KeyBatch<'_>, slots: &mut Vec<Option<Slot>>) {
        let mut candidates = [0; GROUP];
        for (group, hashes) in hashes.chunks(GROUP).enumerate() {
            self.candidates(pages, hashes, &mut candidates);
            for (at, hash) in hashes.iter().enumerate() {
                let key = keys.key(group * GROUP + at);
                let slot = match NonZeroU32::new(candidates[at]).map(Slot) {
                    Some(slot) if self.holds(pages, slot, *hash, key) => Some(slot),
                    _ => self.find(pages, *hash, key).map(|found| found.slot),
                };
                slots.push(slot);
            }
        }
    }

    pub(crate) fn upsert_batch(
        &mut self,
        pages: &mut Pages,
        (hashes, keys): (&[u64], KeyBatch<'_>),
        slots: &mut Vec<Slot>,
        inserted: &mut Vec<u32>,
        max_key: usize,
    ) -> Result<(), ArenaError> {
        let mut candidates = [0; GROUP];
        for (group, hashes) in hashes.chunks(GROUP).enumerate() {
            self.candidates(pages, hashes, &mut candidates);
            for (at, hash) in hashes.iter().enumerate() {
                let row = group * GROUP + at;
                let key = keys.key(row);
                let slot = match NonZeroU32::new(candidates[at]).map(Slot) {
                    Some(slot) if self.holds(pages, slot, *hash, key) => slot,
                    _ => match self.find(pages, *hash, key) {
                        Some(found) => found.slot,
                        None => {
                            inserted.push(row as u32);
                            self.insert(pages, *hash, key, max_key)?
                        }
                    },
                };
                slots.push(slot);
            }
        }
        Ok(())
    }
}
