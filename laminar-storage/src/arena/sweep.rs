//! Looking through the tables of a restored arena, behind its loader and between its operations.
//!
//! First each bucket of the index is checked, then each blob page gives its room and each page of entries its free
//! slots. The table is used and changed meanwhile: the walk over the buckets is the scan's, which meets every key
//! that stays; no entry is put into a page that was not swept; and a slot that is given back there is found free
//! when its page's turn comes.
//! Invariant: after the sweep no operation can leave the arena's pages or meet a structure that it did not write,
//! whatever the bytes were (S3).

use super::entry::SLOT_BYTES;
use super::error::ArenaError;
use super::index::{CHUNK_SLOTS, CHUNKS, matches, order, passed_on, slot_in, tag};
use super::page::{PageKind, Pages, is_map_page};
use super::segment::{BLOCK_BYTES, PAGE_BYTES};
use super::store::Arena;
use super::table::{Slot, Table};
use std::collections::BTreeSet;
use std::num::NonZeroU32;

/// Pages of entries looked at in one step.
const PAGES_AT_ONCE: usize = 16;

/// What is left to look at.
pub(crate) struct Unswept {
    /// Where the walk over the buckets goes on; none = it is over.
    position: Option<u64>,
    /// Pages of entries, ascending; the last is next, so that the lowest free slot is taken first.
    slabs: Vec<u32>,
    /// Live entries in those pages.
    live: u64,
    /// Offsets of the long keys that were met.
    keys: BTreeSet<usize>,
}

impl Unswept {
    /// `slabs`: all pages of entries, ascending, with `live` entries in them.
    pub(crate) fn new(slabs: Vec<u32>, live: u64) -> Self {
        Self { position: Some(0), slabs, live, keys: BTreeSet::new() }
    }

    /// An entry was removed; whether its slot will be found free later.
    pub(crate) fn removed(&mut self, slot: Slot) -> bool {
        let later = self.slabs.binary_search(&((slot.offset() / PAGE_BYTES) as u32)).is_ok();
        self.live = self.live.saturating_sub(u64::from(later));
        later
    }
}

impl Arena {
    /// Whether everything of a restored arena was read back and looked into.
    pub fn is_whole(&self) -> bool {
        self.pages.region.absent().is_none()
    }

    /// Why something of a restored arena could not be read back, be it for the loader or where it was needed: that
    /// access panicked.
    pub fn unreadable(&self) -> Option<crate::StorageError> {
        self.pages.region.absent()?.trouble()
    }

    /// One step of reading a restored arena back: a segment, then a piece of a table; `false` when it is whole.
    ///
    /// # Errors
    /// `Disk`, `Rot`, `Malformed`: what was restored must not be used any more.
    pub fn load_step(&mut self) -> crate::Result<bool> {
        if self.is_whole() {
            return Ok(false);
        }
        if self.pages.region.fill_next()? {
            return Ok(true);
        }
        let Self { pages, tables, .. } = self;
        let Some(table) = tables.iter_mut().flatten().find(|table| table.unswept.is_some()) else {
            self.pages.region.forget_absent();
            return Ok(false);
        };
        match (table.sweep(pages), pages.region.absent()) {
            (Err(error), Some(absent)) => Err(absent.place(error)),
            (swept, _) => Ok(swept.map(|()| true)?),
        }
    }
}

impl Table {
    /// One step: a bucket, some blob pages or some pages of entries.
    pub(crate) fn sweep(&mut self, pages: &Pages) -> Result<(), ArenaError> {
        let Some(mut unswept) = self.unswept.take() else { return Ok(()) };
        let over = self.sweep_piece(pages, &mut unswept);
        if !matches!(over, Ok(true)) {
            self.unswept = Some(unswept);
        }
        over.map(|_| ())
    }

    /// Whether it was the last.
    fn sweep_piece(&mut self, pages: &Pages, unswept: &mut Unswept) -> Result<bool, ArenaError> {
        if let Some(position) = unswept.position {
            let (bucket, next) = self.index.bucket_at(pages, position);
            self.check_bucket(pages, bucket)?;
            unswept.position = next;
            return Ok(false);
        }
        if self.blobs.sweep(pages)? {
            return Ok(false);
        }
        for _ in 0..PAGES_AT_ONCE {
            let Some(page) = unswept.slabs.pop() else { break };
            self.sweep_slab(pages, page, unswept)?;
        }
        if unswept.slabs.is_empty() && unswept.live != 0 {
            return Err(pages.damaged(0, "a table's key count does not fit its index"));
        }
        Ok(unswept.slabs.is_empty())
    }

    fn sweep_slab(&mut self, pages: &Pages, page: u32, unswept: &mut Unswept) -> Result<(), ArenaError> {
        let base = page as usize * PAGE_BYTES;
        let mut hashes = [0; PAGE_BYTES / SLOT_BYTES];
        for (at, hash) in hashes.iter_mut().enumerate().take(self.layout.per_page()) {
            *hash = pages.region.u64_at(base + at * self.layout.stride);
            pages.region.prefetch(self.index.probe(*hash).offset());
        }
        for at in (0..self.layout.per_page()).rev() {
            let (offset, hash) = (base + at * self.layout.stride, hashes[at]);
            let number = (offset / SLOT_BYTES) as u32;
            let named = self.times_named(pages, hash, number);
            let Some(slot) = NonZeroU32::new(number).map(Slot).filter(|_| named > 0) else {
                self.free.push(number);
                continue;
            };
            if named > 1 {
                return Err(pages.damaged(offset, "two places of the index name one slot"));
            }
            unswept.live = unswept.live.wrapping_sub(1);
            let Some(blob) = self.key_blob(pages, slot) else { continue };
            if blob.is_empty() || !self.blobs.is_live(pages, self.number, blob) || !unswept.keys.insert(blob.offset()) {
                return Err(pages.damaged(offset, "an entry's key lies in no live blob of its own"));
            }
        }
        Ok(())
    }

    /// How often the index names this slot for this hash.
    fn times_named(&self, pages: &Pages, hash: u64, slot: u32) -> usize {
        let mut at = self.index.probe(hash);
        let mut times = 0;
        for _ in 0..CHUNKS {
            let chunk = pages.region.block(at.offset());
            let mut candidates = matches(chunk, tag(hash));
            while candidates != 0 {
                times += usize::from(slot_in(chunk, candidates.trailing_zeros() as usize) == slot);
                candidates &= candidates - 1;
            }
            if !passed_on(chunk) {
                break;
            }
            at.advance();
        }
        times
    }

    /// Checks that every entry which a bucket names is one, and that its hash leads there.
    fn check_bucket(&self, pages: &Pages, bucket: u32) -> Result<(), ArenaError> {
        let base = bucket as usize * PAGE_BYTES;
        let mut slots = Vec::with_capacity(CHUNKS * CHUNK_SLOTS);
        for chunk in 0..CHUNKS {
            let bytes = pages.region.block(base + chunk * BLOCK_BYTES);
            let mut used = !matches(bytes, 0) & 0xfff;
            while used != 0 {
                let index = used.trailing_zeros() as usize;
                used &= used - 1;
                let slot = slot_in(bytes, index);
                pages.region.prefetch(slot as usize * SLOT_BYTES);
                pages.prefetch_descriptor(slot as usize * SLOT_BYTES / PAGE_BYTES);
                slots.push((slot, bytes[index], chunk));
            }
        }
        let (depth, prefix) = pages.descriptor(bucket as usize).map_or((0, 0), |found| (found.depth, found.word));
        for (slot, have_tag, chunk) in &slots {
            let offset = *slot as usize * SLOT_BYTES;
            if !self.is_entry(pages, offset) {
                return Err(pages.damaged(base, "the index names a slot that is no entry"));
            }
            let hash = pages.region.u64_at(offset);
            let in_bucket = depth == 0 || order(hash) >> (64 - depth) == prefix;
            if !in_bucket || tag(hash) != *have_tag || !self.reaches(pages, hash, *chunk) {
                return Err(pages.damaged(offset, "an entry's hash does not lead to its place in the index"));
            }
        }
        Ok(())
    }

    fn is_entry(&self, pages: &Pages, offset: usize) -> bool {
        let (page, at) = (offset / PAGE_BYTES, offset % PAGE_BYTES);
        let owned = page < pages.page_count()
            && !is_map_page(page)
            && !pages.is_free(page)
            && pages.descriptor(page).is_some_and(|found| found.kind == PageKind::Slab && found.table == self.number);
        owned && at.is_multiple_of(self.layout.stride) && at / self.layout.stride < self.layout.per_page()
    }

    fn reaches(&self, pages: &Pages, hash: u64, chunk: usize) -> bool {
        let mut at = self.index.probe(hash);
        for _ in 0..CHUNKS {
            if at.offset() % PAGE_BYTES / BLOCK_BYTES == chunk {
                return true;
            }
            if !passed_on(pages.region.block(at.offset())) {
                return false;
            }
            at.advance();
        }
        false
    }
}
