//! One state table: keys to fixed-width values, with stable slots.
//!
//! Joins the index, the slab of entries and the blobs of one (operator, part). Batches are in `batch.rs`,
//! scans in `scan.rs`, restoring in `restore.rs` and `sweep.rs`.
//! Invariant: an entry is live exactly if the index names its slot; a free slot is in `free`, behind the end of
//! the open slab page, or in a restored page that was not swept yet.

use super::blob::{BlobRef, Blobs};
use super::entry::{EntryLayout, KeyPlace, KeyShape, SLOT_BYTES, TableShape};
use super::error::ArenaError;
use super::index::{Index, Probe, matches, passed_on, slot_in, tag};
use super::page::{Descriptor, PageKind, Pages};
use super::segment::PAGE_BYTES;
use super::sweep::Unswept;
use crate::ids::OperatorId;
use std::num::NonZeroU32;

/// Which table of an arena: the operator and a part of its own choice (a window's start, a join side).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableKey {
    /// The operator.
    pub operator: OperatorId,
    /// The part; a part is dropped whole.
    pub part: i64,
}

/// Place of an entry. Valid until its key is removed or its table dropped; survives checkpoints and restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub(crate) NonZeroU32);

impl Slot {
    #[inline(always)]
    pub(crate) fn offset(self) -> usize {
        self.0.get() as usize * SLOT_BYTES
    }
}

/// A key found: its slot and where the index names it.
pub(crate) struct Found {
    pub(crate) slot: Slot,
    at: Probe,
    index: usize,
}

/// The heap side of a table; everything here is rebuilt when an image is restored.
pub(crate) struct Table {
    pub(crate) number: u32,
    pub(crate) generation: u32,
    pub(crate) key: TableKey,
    pub(crate) layout: EntryLayout,
    pub(crate) index: Index,
    pub(crate) blobs: Blobs,
    /// Buckets, slab pages and blob pages, but not blob runs.
    pub(crate) pages: Vec<u32>,
    pub(crate) free: Vec<u32>,
    /// What a restored table has not looked into yet.
    pub(crate) unswept: Option<Box<Unswept>>,
    /// Entries not yet used at the end of the newest slab page: next offset and how many.
    pub(crate) open: (usize, usize),
    pub(crate) len: u64,
    /// Its record in the arena is behind `len`.
    pub(crate) stale_record: bool,
}

impl Table {
    pub(crate) fn create(
        pages: &mut Pages,
        number: u32,
        generation: u32,
        key: TableKey,
        shape: TableShape,
    ) -> Result<Self, ArenaError> {
        let layout = EntryLayout::new(shape)?;
        let (index, bucket) = Index::create(pages, number)?;
        Ok(Self {
            number,
            generation,
            key,
            layout,
            index,
            blobs: Blobs::default(),
            pages: vec![bucket],
            free: Vec::new(),
            unswept: None,
            open: (0, 0),
            len: 0,
            stale_record: true,
        })
    }

    /// Gives all pages back.
    pub(crate) fn release(self, pages: &mut Pages) {
        for page in self.pages {
            pages.release(page, 1);
        }
        for (page, count) in self.blobs.runs {
            pages.release(page, count as usize);
        }
    }

    #[inline]
    pub(crate) fn find(&self, pages: &Pages, hash: u64, key: &[u8]) -> Option<Found> {
        let mut at = self.index.probe(hash);
        let tag = tag(hash);
        for _ in 0..super::index::CHUNKS {
            let chunk = pages.region.block(at.offset());
            let mut candidates = matches(chunk, tag);
            while candidates != 0 {
                let index = candidates.trailing_zeros() as usize;
                candidates &= candidates - 1;
                if let Some(slot) = NonZeroU32::new(slot_in(chunk, index))
                    && self.holds(pages, Slot(slot), hash, key)
                {
                    return Some(Found { slot: Slot(slot), at, index });
                }
            }
            if !passed_on(chunk) {
                return None;
            }
            at.advance();
        }
        None
    }

    /// Whether the entry at `slot` has this key.
    #[inline(always)]
    pub(crate) fn holds(&self, pages: &Pages, slot: Slot, hash: u64, key: &[u8]) -> bool {
        let entry = pages.region.bytes(slot.offset(), self.layout.value_at);
        if entry_hash(entry) != hash {
            return false;
        }
        match self.layout.key_place(entry) {
            KeyPlace::Inline(have) => same_bytes(have, key),
            KeyPlace::Blob(blob) => pages.region.bytes(blob.offset(), blob.len()) == key,
        }
    }

    /// Adds a key that is not in the table, with a zeroed value.
    pub(crate) fn insert(&mut self, pages: &mut Pages, hash: u64, key: &[u8], max: usize) -> Result<Slot, ArenaError> {
        if let KeyShape::Fixed(width) = self.layout.shape.key
            && key.len() != width as usize
        {
            return Err(ArenaError::KeyWidth { len: key.len(), width: width as usize });
        }
        if key.len() > max {
            return Err(ArenaError::ValueTooLarge { len: key.len(), limit: max });
        }
        let slot = self.take_slot(pages)?;
        let blob = if key.len() > self.layout.inline_limit() {
            match self.blobs.put(pages, self.number, key, &mut self.pages) {
                Ok(blob) => Some(blob),
                Err(error) => {
                    self.free.push(slot.0.get());
                    return Err(error);
                }
            }
        } else {
            None
        };
        let layout = self.layout;
        let entry = pages.write(slot.offset(), layout.value_at + layout.value_len);
        entry[..8].copy_from_slice(&hash.to_le_bytes());
        entry[8..].fill(0);
        if let KeyShape::Variable { .. } = layout.shape.key {
            entry[8..12].copy_from_slice(&(key.len() as u32).to_le_bytes());
        }
        match blob {
            Some(blob) => entry[12..20].copy_from_slice(&blob.as_u64().to_le_bytes()),
            None => entry[layout.key_at..layout.key_at + key.len()].copy_from_slice(key),
        }
        match self.index.insert(pages, self.number, hash, slot.0.get(), &mut self.pages) {
            Ok(()) => {
                self.len += 1;
                self.stale_record = true;
                Ok(slot)
            }
            Err(error) => {
                if let Some(blob) = blob {
                    self.blobs.free(pages, blob);
                }
                self.free.push(slot.0.get());
                Err(error)
            }
        }
    }

    pub(crate) fn remove(&mut self, pages: &mut Pages, hash: u64, key: &[u8]) -> bool {
        let Some(found) = self.find(pages, hash, key) else { return false };
        self.index.remove(pages, hash, found.at, found.index);
        if let Some(blob) = self.key_blob(pages, found.slot) {
            self.blobs.free(pages, blob);
        }
        if !self.unswept.as_mut().is_some_and(|unswept| unswept.removed(found.slot)) {
            self.free.push(found.slot.0.get());
        }
        self.len -= 1;
        self.stale_record = true;
        true
    }

    fn take_slot(&mut self, pages: &mut Pages) -> Result<Slot, ArenaError> {
        if let Some(slot) = self.free.pop().and_then(NonZeroU32::new) {
            return Ok(Slot(slot));
        }
        if self.open.1 == 0 {
            let descriptor = Descriptor { kind: PageKind::Slab, depth: 0, table: self.number, word: 0 };
            let page = pages.allocate(descriptor)?;
            self.pages.push(page);
            self.open = (page as usize * PAGE_BYTES, self.layout.per_page());
        }
        let offset = self.open.0;
        self.open = (offset + self.layout.stride, self.open.1 - 1);
        let slot = NonZeroU32::new((offset / SLOT_BYTES) as u32);
        // Page 0 of an arena is a map page, so no entry lies at offset 0.
        slot.map(Slot).ok_or_else(|| pages.damaged(offset, "an entry at offset 0"))
    }

    pub(crate) fn key_blob(&self, pages: &Pages, slot: Slot) -> Option<BlobRef> {
        match self.layout.key_place(pages.region.bytes(slot.offset(), self.layout.value_at)) {
            KeyPlace::Inline(_) => None,
            KeyPlace::Blob(blob) => Some(blob),
        }
    }

    pub(crate) fn key_of<'a>(&self, pages: &'a Pages, slot: Slot) -> &'a [u8] {
        match self.layout.key_place(pages.region.bytes(slot.offset(), self.layout.value_at)) {
            KeyPlace::Inline(key) => key,
            KeyPlace::Blob(blob) => pages.region.bytes(blob.offset(), blob.len()),
        }
    }

    /// Bytes of the pages that the table owns.
    pub(crate) fn bytes(&self) -> u64 {
        let runs: u64 = self.blobs.runs.values().map(|count| u64::from(*count)).sum();
        (self.pages.len() as u64 + runs) * PAGE_BYTES as u64
    }
}

#[inline(always)]
pub(crate) fn entry_hash(entry: &[u8]) -> u64 {
    let mut hash = [0; 8];
    hash.copy_from_slice(&entry[..8]);
    u64::from_le_bytes(hash)
}

/// Equality without a call for the widths that keys mostly have.
#[inline(always)]
fn same_bytes(have: &[u8], key: &[u8]) -> bool {
    if have.len() != key.len() {
        return false;
    }
    match (<&[u8; 8]>::try_from(have), <&[u8; 8]>::try_from(key)) {
        (Ok(have), Ok(key)) => u64::from_le_bytes(*have) == u64::from_le_bytes(*key),
        _ => have == key,
    }
}
