//! From an image to an arena that can be used at once.
//!
//! Only the map segments and the pages of table records are read: they say where everything is. All other
//! segments are absent until they are touched (`absent`); what the heap side needs from their content is gathered
//! behind the loader (`sweep`).
//! Invariant: after a restore succeeded, every page has one owner, every table an index whose directory is whole,
//! and free pages are known.

use super::absent::{Absent, SegmentSource};
use super::blob::Blobs;
use super::entry::EntryLayout;
use super::error::ArenaError;
use super::index::Index;
use super::page::{ARENA_MAGIC, ARENA_VERSION, Descriptor, GROUP_SEGMENTS, PageKind};
use super::record::{RECORD_BYTES, RECORDS_PER_PAGE, TableRecord};
use super::segment::{PAGE_BYTES, SEGMENT_PAGES};
use super::store::{Arena, ArenaOptions};
use super::sweep::Unswept;
use super::table::Table;
use crate::error::{Result, StorageError};

const NO_SUCH_TABLE: &str = "a page of a table that does not exist";

impl Arena {
    /// The arena of an image; `has_bytes` says which of its segments are more than zeros.
    ///
    /// # Errors
    /// `Rot` and `Disk` of the source; `Malformed` for a structure that no arena has; `Arena` when memory is refused.
    pub(crate) fn restore(options: ArenaOptions, has_bytes: &[bool], source: Box<dyn SegmentSource>) -> Result<Self> {
        let mut arena = Self::without_pages(options)?;
        for _ in has_bytes {
            arena.pages.add_segment()?;
        }
        arena.pages.region.expect(Absent::new(has_bytes.to_vec(), source));
        for map in (0..has_bytes.len()).step_by(GROUP_SEGMENTS) {
            arena.pages.region.fill(map)?;
        }
        let mut restored = Restored { arena };
        let owned = restored.owned(has_bytes).map_err(|error| restored.placed(error))?;
        for page in restored.arena.record_pages.clone() {
            restored.arena.pages.region.fill(page as usize / SEGMENT_PAGES)?;
        }
        restored.open_tables(owned).map_err(|error| restored.placed(error))?;
        Ok(restored.arena)
    }
}

/// An arena in the making.
struct Restored {
    arena: Arena,
}

impl Restored {
    fn placed(&self, error: ArenaError) -> StorageError {
        match self.arena.pages.region.absent() {
            Some(absent) => absent.place(error),
            None => StorageError::Arena(error),
        }
    }

    fn owned(&mut self, has_bytes: &[bool]) -> std::result::Result<Vec<Vec<u32>>, ArenaError> {
        self.check_header()?;
        let mut owners = Owners::new(self.arena.pages.page_count() * RECORDS_PER_PAGE);
        self.arena.pages.adopt_descriptors(has_bytes, |page, found| owners.take(page as u32, found))?;
        let (record_pages, owned) = owners.finish().map_err(|what| self.damaged(0, what))?;
        self.arena.record_pages = record_pages;
        Ok(owned)
    }

    fn open_tables(&mut self, owned: Vec<Vec<u32>>) -> std::result::Result<(), ArenaError> {
        for (number, owned) in owned.into_iter().enumerate() {
            let record = self.record(number)?;
            let Some(shape) = record.shape else {
                if !owned.is_empty() {
                    return Err(self.damaged(owned[0], NO_SUCH_TABLE));
                }
                self.arena.tables.push(None);
                continue;
            };
            let layout = EntryLayout::new(shape)?;
            let generation = self.arena.next_generation;
            let table = self.table((number as u32, generation), record, layout, owned)?;
            let id = Arena::table_id(number as u32, generation);
            if self.arena.by_key.insert(record.key, id).is_some() {
                return Err(self.damaged(self.arena.record_pages[0], "two tables have one key"));
            }
            self.arena.next_generation += 1;
            self.arena.tables.push(Some(table));
        }
        Ok(())
    }

    fn damaged(&self, page: u32, what: &'static str) -> ArenaError {
        self.arena.pages.damaged(page as usize * PAGE_BYTES, what)
    }

    fn check_header(&self) -> std::result::Result<(), ArenaError> {
        if self.arena.pages.segments() == 0 {
            return Err(self.damaged(0, "the image has no segment"));
        }
        let region = &self.arena.pages.region;
        if region.bytes(0, 8) != ARENA_MAGIC {
            return Err(self.damaged(0, "no arena begins here"));
        }
        if region.u32_at(8) != ARENA_VERSION {
            return Err(self.damaged(8, "unknown version of the arena layout"));
        }
        if region.u64_at(16) != self.arena.id().0 {
            return Err(self.damaged(16, "the image belongs to another pipeline"));
        }
        Ok(())
    }

    fn record(&self, number: usize) -> std::result::Result<TableRecord, ArenaError> {
        let page = self.arena.record_pages[number / RECORDS_PER_PAGE];
        let offset = page as usize * PAGE_BYTES + number % RECORDS_PER_PAGE * RECORD_BYTES;
        let bytes = self.arena.pages.region.bytes(offset, RECORD_BYTES);
        TableRecord::decode(bytes).ok_or_else(|| self.arena.pages.damaged(offset, "no table has such a record"))
    }

    fn table(
        &self,
        (number, generation): (u32, u32),
        record: TableRecord,
        layout: EntryLayout,
        owned: Vec<u32>,
    ) -> std::result::Result<Table, ArenaError> {
        let pages = &self.arena.pages;
        let mut buckets = Vec::new();
        let mut slabs = Vec::new();
        let mut blobs = Blobs::default();
        let mut kept = Vec::with_capacity(owned.len());
        for page in owned {
            let Some(found) = pages.descriptor(page as usize) else { continue };
            match found.kind {
                PageKind::Bucket => buckets.push((page, found.depth, found.word)),
                PageKind::Slab => slabs.push(page),
                _ => blobs.adopt(pages, page, found)?,
            }
            if found.kind != PageKind::BlobRun {
                kept.push(page);
            }
        }
        if buckets.is_empty() {
            return Err(self.damaged(self.arena.record_pages[0], "a table without an index"));
        }
        Ok(Table {
            number,
            generation,
            key: record.key,
            layout,
            index: Index::from_buckets(pages, &buckets)?,
            blobs,
            pages: kept,
            free: Vec::new(),
            unswept: Some(Box::new(Unswept::new(slabs, record.len))),
            open: (0, 0),
            len: record.len,
            stale_record: false,
        })
    }
}

/// Who owns the pages of an image.
struct Owners {
    /// Tables that there can be.
    limit: usize,
    /// Order and page.
    records: Vec<(u64, u32)>,
    /// By table.
    owned: Vec<Vec<u32>>,
    /// Pages of large blobs behind their heads: as found, and as the heads say.
    tails: (u64, u64),
}

impl Owners {
    const fn new(limit: usize) -> Self {
        Self { limit, records: Vec::new(), owned: Vec::new(), tails: (0, 0) }
    }

    fn take(&mut self, page: u32, found: Descriptor) -> std::result::Result<(), &'static str> {
        match found.kind {
            PageKind::Free => {}
            PageKind::Tables => self.records.push((found.word, page)),
            PageKind::RunTail => self.tails.0 += 1,
            _ => {
                if found.kind == PageKind::BlobRun {
                    self.tails.1 += found.word.saturating_sub(1);
                }
                let table = found.table as usize;
                if table >= self.limit {
                    return Err(NO_SUCH_TABLE);
                }
                if self.owned.len() <= table {
                    self.owned.resize(table + 1, Vec::new());
                }
                self.owned[table].push(page);
            }
        }
        Ok(())
    }

    /// Record pages in their order, and the pages of each table.
    fn finish(mut self) -> std::result::Result<(Vec<u32>, Vec<Vec<u32>>), &'static str> {
        if self.tails.0 != self.tails.1 {
            return Err("pages of a large blob without their head");
        }
        self.records.sort_unstable();
        if self.records.iter().enumerate().any(|(at, record)| record.0 != at as u64) {
            return Err("a page of table records is missing");
        }
        let capacity = self.records.len() * RECORDS_PER_PAGE;
        if self.owned.len() > capacity {
            return Err(NO_SUCH_TABLE);
        }
        self.owned.resize(capacity, Vec::new());
        Ok((self.records.into_iter().map(|record| record.1).collect(), self.owned))
    }
}
