//! Byte strings of any length that belong to a table: long keys and what operators keep beside values.
//!
//! Up to 2032 bytes a blob lies in a page of its size class, whose first 32 bytes hold the bitmap of its
//! live chunks; a longer one has a run of pages of its own. Nothing ever moves.
//! Invariant: a chunk is live exactly if its bit is set, so the free lists need not be stored.

use super::error::ArenaError;
use super::page::{Descriptor, PageKind, Pages};
use super::segment::PAGE_BYTES;
use std::collections::BTreeMap;

/// Chunk sizes in bytes.
pub(crate) const CLASSES: [usize; 13] = [32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1008, 1344, 2032];
const HEADER_BYTES: usize = 32;
const UNIT_BYTES: usize = 16;
/// Pages of an image looked into at once: of each only the bitmap is read.
const PAGES_AT_ONCE: usize = 64;
/// Longest blob whatever the configuration says; `state.max_value` is at most this.
pub const MAX_BLOB_BYTES: usize = 16 << 20;

/// The place and length of a blob, to be kept inside a value as 8 bytes. The default is the empty blob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlobRef(u64);

impl BlobRef {
    /// The reference as it is stored (little endian).
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The reference from [`BlobRef::as_u64`].
    pub const fn from_u64(raw: u64) -> Self {
        Self(raw)
    }

    /// Length of the blob in bytes.
    pub const fn len(self) -> usize {
        self.0 as u32 as usize
    }

    /// Whether the blob is empty; an empty blob occupies nothing.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    fn new(offset: usize, len: usize) -> Self {
        Self(((offset / UNIT_BYTES) as u64 * (1 << 32)) | len as u64)
    }

    pub(crate) fn offset(self) -> usize {
        (self.0 >> 32) as usize * UNIT_BYTES
    }
}

fn class_of(len: usize) -> Option<usize> {
    CLASSES.iter().position(|size| len <= *size)
}

fn chunks(class: usize) -> usize {
    (PAGE_BYTES - HEADER_BYTES) / CLASSES[class]
}

fn full(class: usize) -> u128 {
    (1u128 << chunks(class)) - 1
}

/// The blobs of one table: which pages have room.
#[derive(Default)]
pub(crate) struct Blobs {
    /// Per class: pages with a free chunk.
    room: [Vec<u32>; CLASSES.len()],
    /// Pages of an image that were not looked into yet, ascending: they count as full.
    unswept: Vec<u32>,
    /// First page and length of each run.
    pub(crate) runs: BTreeMap<u32, u32>,
}

impl Blobs {
    /// Stores a blob. A page that was newly taken for a class is pushed to `owned`.
    pub(crate) fn put(
        &mut self,
        pages: &mut Pages,
        table: u32,
        bytes: &[u8],
        owned: &mut Vec<u32>,
    ) -> Result<BlobRef, ArenaError> {
        if bytes.is_empty() {
            return Ok(BlobRef::default());
        }
        let Some(class) = class_of(bytes.len()) else {
            let count = bytes.len().div_ceil(PAGE_BYTES);
            let head = Descriptor { kind: PageKind::BlobRun, depth: 0, table, word: count as u64 };
            let first = pages.allocate_run(count, head)?;
            self.runs.insert(first, count as u32);
            let offset = first as usize * PAGE_BYTES;
            pages.write(offset, bytes.len()).copy_from_slice(bytes);
            return Ok(BlobRef::new(offset, bytes.len()));
        };
        let page = match self.room[class].last() {
            Some(page) => *page,
            None => {
                let descriptor = Descriptor { kind: PageKind::BlobSlab, depth: class as u8, table, word: 0 };
                let page = pages.allocate(descriptor)?;
                self.room[class].push(page);
                owned.push(page);
                page
            }
        };
        let base = page as usize * PAGE_BYTES;
        let live = bitmap(pages, base);
        let chunk = (!live).trailing_zeros() as usize;
        set_bitmap(pages, base, live | 1 << chunk);
        if live | 1 << chunk == full(class) {
            self.room[class].pop();
        }
        let offset = base + HEADER_BYTES + chunk * CLASSES[class];
        pages.write(offset, bytes.len()).copy_from_slice(bytes);
        Ok(BlobRef::new(offset, bytes.len()))
    }

    /// Gives a blob's bytes back. The reference must be live and of this table.
    pub(crate) fn free(&mut self, pages: &mut Pages, blob: BlobRef) {
        if blob.is_empty() {
            return;
        }
        let page = (blob.offset() / PAGE_BYTES) as u32;
        match class_of(blob.len()) {
            None => {
                let count = self.runs.remove(&page);
                assert!(count.is_some(), "a blob was freed twice or in another table");
                pages.release(page, count.unwrap_or(0) as usize);
            }
            Some(class) => {
                let base = page as usize * PAGE_BYTES;
                let bit = 1u128 << ((blob.offset() - base - HEADER_BYTES) / CLASSES[class]);
                let live = bitmap(pages, base);
                assert!(live & bit != 0, "a blob was freed twice");
                set_bitmap(pages, base, live & !bit);
                if live == full(class) && self.unswept.binary_search(&page).is_err() {
                    self.room[class].push(page);
                }
            }
        }
    }

    /// Of an image: takes in a page of the table, in ascending order; reads descriptors only.
    pub(crate) fn adopt(&mut self, pages: &Pages, page: u32, descriptor: Descriptor) -> Result<(), ArenaError> {
        let base = page as usize * PAGE_BYTES;
        match descriptor.kind {
            PageKind::BlobRun => {
                let count = descriptor.word;
                let tail = |at: u64| {
                    let found = pages.descriptor(page as usize + at as usize);
                    found.is_some_and(|found| found.kind == PageKind::RunTail && found.table == descriptor.table)
                };
                let fits = count >= 1 && page as u64 + count <= pages.page_count() as u64;
                if !fits || !(1..count).all(tail) {
                    return Err(pages.damaged(base, "a blob's run of pages is broken"));
                }
                self.runs.insert(page, count as u32);
            }
            _ if descriptor.depth as usize >= CLASSES.len() => {
                return Err(pages.damaged(base, "a blob page of no class"));
            }
            _ => self.unswept.push(page),
        }
        Ok(())
    }

    /// Looks into the next pages of an image; `false` when there was none left.
    pub(crate) fn sweep(&mut self, pages: &Pages) -> Result<bool, ArenaError> {
        let next = self.unswept.split_off(self.unswept.len().saturating_sub(PAGES_AT_ONCE));
        next.iter().rev().try_for_each(|page| self.sweep_page(pages, *page))?;
        Ok(!next.is_empty())
    }

    fn sweep_page(&mut self, pages: &Pages, page: u32) -> Result<(), ArenaError> {
        let base = page as usize * PAGE_BYTES;
        let class = pages.descriptor(page as usize).map_or(usize::MAX, |found| found.depth as usize);
        if class >= CLASSES.len() || bitmap(pages, base) & !full(class) != 0 {
            return Err(pages.damaged(base, "a blob page's bitmap does not fit its class"));
        }
        if bitmap(pages, base) != full(class) {
            self.room[class].push(page);
        }
        Ok(())
    }

    /// Whether a reference read from an image names a live blob of `table`.
    pub(crate) fn is_live(&self, pages: &Pages, table: u32, blob: BlobRef) -> bool {
        let page = blob.offset() / PAGE_BYTES;
        if blob.is_empty() || page >= pages.page_count() {
            return blob.is_empty();
        }
        let base = page * PAGE_BYTES;
        match class_of(blob.len()) {
            None => {
                blob.offset() == base
                    && self.runs.get(&(page as u32)) == Some(&(blob.len().div_ceil(PAGE_BYTES) as u32))
            }
            Some(class) => {
                let owner = pages.descriptor(page).is_some_and(|found| {
                    found.kind == PageKind::BlobSlab && found.table == table && found.depth as usize == class
                });
                let at = blob.offset() - base;
                owner
                    && at >= HEADER_BYTES
                    && (at - HEADER_BYTES).is_multiple_of(CLASSES[class])
                    && (at - HEADER_BYTES) / CLASSES[class] < chunks(class)
                    && bitmap(pages, base) >> ((at - HEADER_BYTES) / CLASSES[class]) & 1 == 1
            }
        }
    }
}

fn bitmap(pages: &Pages, base: usize) -> u128 {
    u128::from(pages.region.u64_at(base)) | u128::from(pages.region.u64_at(base + 8)) << 64
}

fn set_bitmap(pages: &mut Pages, base: usize, live: u128) {
    pages.write(base, 16).copy_from_slice(&live.to_le_bytes());
}
