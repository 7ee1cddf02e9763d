//! From the bytes of an image to an arena: heap structures are rebuilt, every reference is checked.
//!
//! Invariant: after `finish` succeeded, no operation can leave the arena's pages or meet a structure that it did
//! not write, whatever the bytes were (S3).

use super::blob::Blobs;
use super::entry::{EntryLayout, KeyPlace, SLOT_BYTES};
use super::error::ArenaError;
use super::index::{CHUNK_SLOTS, CHUNKS, Index, matches, order, passed_on, slot_in, tag};
use super::page::{ARENA_MAGIC, ARENA_VERSION, PageKind};
use super::record::{RECORD_BYTES, RECORDS_PER_PAGE, TableRecord};
use super::segment::{BLOCK_BYTES, PAGE_BYTES, SEGMENT_BYTES, prefetch};
use super::store::{Arena, ArenaOptions};
use super::table::Table;

/// An arena whose segments are being filled from an image.
pub(crate) struct RestoredArena {
    arena: Arena,
}

impl RestoredArena {
    /// `segments` zeroed segments to fill.
    pub(crate) fn new(options: ArenaOptions, segments: usize) -> Result<Self, ArenaError> {
        let mut arena = Arena::without_pages(options)?;
        for _ in 0..segments {
            arena.pages.add_segment()?;
        }
        Ok(Self { arena })
    }

    /// The bytes of a segment, to be filled.
    pub(crate) fn segment_mut(&mut self, segment: usize) -> &mut [u8] {
        self.arena.pages.region.bytes_mut(segment * SEGMENT_BYTES, SEGMENT_BYTES)
    }

    /// Puts a block of a delta in its place.
    pub(crate) fn set_block(&mut self, page: usize, block: usize, bytes: &[u8]) {
        self.arena.pages.region.bytes_mut(page * PAGE_BYTES + block * BLOCK_BYTES, BLOCK_BYTES).copy_from_slice(bytes);
    }

    /// Checks the whole structure and opens the tables.
    pub(crate) fn finish(mut self) -> Result<Arena, ArenaError> {
        self.check_header()?;
        self.arena.pages.adopt_descriptors()?;
        let owned = self.pages_by_owner()?;
        let mut seen = self.slab_pages();
        for (number, owned) in owned.into_iter().enumerate() {
            let record = self.record(number)?;
            let Some(shape) = record.shape else {
                if !owned.is_empty() {
                    return Err(self.damaged(owned[0], "a page of a table that does not exist"));
                }
                self.arena.tables.push(None);
                continue;
            };
            let layout = EntryLayout::new(shape)?;
            let generation = self.arena.next_generation;
            let table = self.table(number as u32, generation, record, layout, owned, &mut seen)?;
            let id = Arena::table_id(number as u32, generation);
            if self.arena.by_key.insert(record.key, id).is_some() {
                return Err(self.damaged(self.arena.record_pages[0], "two tables have one key"));
            }
            self.arena.next_generation += 1;
            self.arena.tables.push(Some(table));
        }
        Ok(self.arena)
    }

    /// What the check of the index needs to know of each page, together in one line.
    fn slab_pages(&self) -> Vec<SlabPage> {
        let pages = &self.arena.pages;
        let slab = |page: usize| {
            let found = pages.descriptor(page).filter(|found| found.kind == PageKind::Slab);
            let owner = found.filter(|_| !super::page::is_map_page(page)).map_or(NO_TABLE, |found| found.table);
            SlabPage { owner, seen: [0; PAGE_BYTES / SLOT_BYTES / 64] }
        };
        (0..pages.page_count()).map(slab).collect()
    }

    fn damaged(&self, page: u32, what: &'static str) -> ArenaError {
        self.arena.pages.damaged(page as usize * PAGE_BYTES, what)
    }

    fn check_header(&self) -> Result<(), ArenaError> {
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

    /// Record pages in their order, and the pages of each table.
    fn pages_by_owner(&mut self) -> Result<Vec<Vec<u32>>, ArenaError> {
        let mut records = Vec::new();
        let mut owned: Vec<Vec<u32>> = Vec::new();
        let mut tail_pages = 0u64;
        let mut run_pages = 0u64;
        let limit = self.arena.pages.page_count();
        for page in 0..limit {
            if self.arena.pages.is_free(page) || super::page::is_map_page(page) {
                continue;
            }
            let Some(found) = self.arena.pages.descriptor(page) else { continue };
            match found.kind {
                PageKind::Tables => records.push((found.word, page as u32)),
                PageKind::RunTail => tail_pages += 1,
                _ => {
                    if found.kind == PageKind::BlobRun {
                        run_pages += found.word.saturating_sub(1);
                    }
                    let table = found.table as usize;
                    if table >= limit * RECORDS_PER_PAGE {
                        return Err(self.damaged(page as u32, "a page of a table that does not exist"));
                    }
                    if owned.len() <= table {
                        owned.resize(table + 1, Vec::new());
                    }
                    owned[table].push(page as u32);
                }
            }
        }
        if tail_pages != run_pages {
            return Err(self.damaged(0, "pages of a large blob without their head"));
        }
        records.sort_unstable();
        if records.iter().enumerate().any(|(at, record)| record.0 != at as u64) {
            return Err(self.damaged(0, "a page of table records is missing"));
        }
        self.arena.record_pages = records.into_iter().map(|record| record.1).collect();
        let capacity = self.arena.record_pages.len() * RECORDS_PER_PAGE;
        if owned.len() > capacity {
            return Err(self.damaged(0, "a page of a table that does not exist"));
        }
        owned.resize(capacity, Vec::new());
        Ok(owned)
    }

    fn record(&self, number: usize) -> Result<TableRecord, ArenaError> {
        let page = self.arena.record_pages[number / RECORDS_PER_PAGE];
        let offset = page as usize * PAGE_BYTES + number % RECORDS_PER_PAGE * RECORD_BYTES;
        let bytes = self.arena.pages.region.bytes(offset, RECORD_BYTES);
        TableRecord::decode(bytes).ok_or_else(|| self.arena.pages.damaged(offset, "no table has such a record"))
    }

    #[expect(clippy::too_many_arguments, reason = "what one table was read from")]
    fn table(
        &self,
        number: u32,
        generation: u32,
        record: TableRecord,
        layout: EntryLayout,
        owned: Vec<u32>,
        seen: &mut [SlabPage],
    ) -> Result<Table, ArenaError> {
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
        let index = Index::from_buckets(pages, &buckets)?;
        let mut table = Table {
            number,
            generation,
            key: record.key,
            layout,
            index,
            blobs,
            pages: kept,
            free: Vec::new(),
            open: (0, 0),
            len: 0,
            stale_record: false,
        };
        let mut entries = 0;
        for (page, depth, prefix) in buckets {
            entries += check_bucket(self, &table, (page, depth, prefix), seen)?;
        }
        if entries != record.len {
            return Err(self.damaged(self.arena.record_pages[0], "a table's key count does not fit its index"));
        }
        table.len = entries;
        // The lowest slot is taken first, so that a sparse table fills its early pages.
        for page in slabs.into_iter().rev() {
            for at in (0..layout.per_page()).rev() {
                let unit = at * layout.stride / SLOT_BYTES;
                if seen[page as usize].seen[unit / 64] >> (unit % 64) & 1 == 0 {
                    table.free.push((page as usize * PAGE_BYTES / SLOT_BYTES + unit) as u32);
                }
            }
        }
        Ok(table)
    }
}

const NO_TABLE: u32 = u32::MAX;

/// A page as the check sees it: whose entries it holds, and which entries or key blobs of it were named.
#[repr(align(64))]
struct SlabPage {
    owner: u32,
    seen: [u64; PAGE_BYTES / SLOT_BYTES / 64],
}

/// Checks every entry that a bucket names; returns how many.
fn check_bucket(
    image: &RestoredArena,
    table: &Table,
    (page, depth, prefix): (u32, u8, u64),
    seen: &mut [SlabPage],
) -> Result<u64, ArenaError> {
    let pages = &image.arena.pages;
    let mut slots = [(0u32, 0u8, 0u8); CHUNKS * CHUNK_SLOTS];
    let mut count = 0;
    for chunk in 0..CHUNKS {
        let bytes = pages.region.block(page as usize * PAGE_BYTES + chunk * BLOCK_BYTES);
        let mut used = !matches(bytes, 0) & 0xfff;
        while used != 0 {
            let index = used.trailing_zeros() as usize;
            used &= used - 1;
            let slot = slot_in(bytes, index);
            pages.region.prefetch(slot as usize * SLOT_BYTES);
            if let Some(page) = seen.get(slot as usize * SLOT_BYTES / PAGE_BYTES) {
                prefetch(page);
            }
            slots[count] = (slot, bytes[index], chunk as u8);
            count += 1;
        }
    }
    for (slot, have_tag, chunk) in &slots[..count] {
        let offset = *slot as usize * SLOT_BYTES;
        let (home, at) = (offset / PAGE_BYTES, offset % PAGE_BYTES);
        let slab = seen.get_mut(home).filter(|page| page.owner == table.number);
        let fits = at % table.layout.stride == 0 && at / table.layout.stride < table.layout.per_page();
        let Some(slab) = slab.filter(|_| fits) else {
            return Err(image.damaged(page, "the index names a slot that is no entry"));
        };
        let (word, bit) = (at / SLOT_BYTES / 64, 1u64 << (at / SLOT_BYTES % 64));
        if slab.seen[word] & bit != 0 {
            return Err(image.damaged(page, "two places of the index name one slot"));
        }
        slab.seen[word] |= bit;
        let hash = pages.region.u64_at(offset);
        let in_bucket = depth == 0 || order(hash) >> (64 - depth) == prefix;
        if !in_bucket || tag(hash) != *have_tag || !reachable(table, pages, hash, *chunk) {
            return Err(pages.damaged(offset, "an entry's hash does not lead to its place in the index"));
        }
        if let KeyPlace::Blob(blob) = table.layout.key_place(pages.region.bytes(offset, table.layout.value_at)) {
            let (home, unit) = (blob.offset() / PAGE_BYTES, blob.offset() % PAGE_BYTES / SLOT_BYTES);
            let (word, bit) = (unit / 64, 1u64 << (unit % 64));
            let fresh = seen.get(home).is_some_and(|page| page.seen[word] & bit == 0);
            if blob.is_empty() || !fresh || !table.blobs.is_live(pages, table.number, blob) {
                return Err(pages.damaged(offset, "an entry's key lies in no live blob of its own"));
            }
            seen[home].seen[word] |= bit;
        }
    }
    Ok(count as u64)
}

fn reachable(table: &Table, pages: &super::page::Pages, hash: u64, chunk: u8) -> bool {
    let mut at = table.index.probe(hash);
    for _ in 0..CHUNKS {
        if at.offset() % PAGE_BYTES / BLOCK_BYTES == chunk as usize {
            return true;
        }
        if !passed_on(pages.region.block(at.offset())) {
            return false;
        }
        at.advance();
    }
    false
}
