//! Walking a table in hash-prefix order, in pieces.
//!
//! Invariant: a key's place in the walk depends on its hash alone, so a walk meets every key that stays in
//! the table exactly once, whatever is inserted, removed or split between the pieces.

use super::index::{CHUNK_SLOTS, CHUNKS, order, slot_in};
use super::page::Pages;
use super::segment::{BLOCK_BYTES, PAGE_BYTES};
use super::table::{Slot, Table, entry_hash};
use std::num::NonZeroU32;

/// How far a walk has come. The default is its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScanCursor(u64);

impl ScanCursor {
    /// Whether the walk has already passed the place of keys with this hash: a change of such a key must be
    /// handed on by whoever follows the walk, all others will be met.
    pub fn has_passed(self, hash: u64) -> bool {
        order(hash) < self.0
    }
}

/// Takes hash, key and value.
pub(crate) type Visit<'a> = dyn FnMut(u64, &[u8], &[u8]) + 'a;

impl Table {
    /// Visits at least `max_rows` keys if there are as many (more only where hashes are equal); `None` at the end.
    pub(crate) fn scan(
        &self,
        pages: &Pages,
        cursor: ScanCursor,
        max_rows: usize,
        visit: &mut Visit<'_>,
    ) -> Option<ScanCursor> {
        let mut position = cursor.0;
        let mut left = max_rows.max(1);
        let mut rows = Vec::with_capacity(CHUNKS * CHUNK_SLOTS);
        loop {
            let (bucket, next) = self.index.bucket_at(pages, position);
            self.bucket_rows(pages, bucket, position, &mut rows);
            for at in 0..rows.len() {
                let (place, slot) = rows[at];
                if left == 0 && rows[at - 1].0 != place {
                    return Some(ScanCursor(place));
                }
                let value = pages.region.bytes(slot.offset() + self.layout.value_at, self.layout.value_len);
                visit(place.rotate_right(12), self.key_of(pages, slot), value);
                left = left.saturating_sub(1);
            }
            position = next?;
            if left == 0 {
                return Some(ScanCursor(position));
            }
        }
    }

    fn bucket_rows(&self, pages: &Pages, bucket: u32, from: u64, rows: &mut Vec<(u64, Slot)>) {
        rows.clear();
        for chunk in 0..CHUNKS {
            let bytes = pages.region.block(bucket as usize * PAGE_BYTES + chunk * BLOCK_BYTES);
            for index in (0..CHUNK_SLOTS).filter(|index| bytes[*index] != 0) {
                if let Some(slot) = NonZeroU32::new(slot_in(bytes, index)).map(Slot) {
                    pages.region.prefetch(slot.offset());
                    rows.push((0, slot));
                }
            }
        }
        for (place, slot) in rows.iter_mut() {
            *place = order(entry_hash(pages.region.bytes(slot.offset(), 8)));
        }
        rows.retain(|(place, _)| *place >= from);
        rows.sort_unstable();
    }
}
