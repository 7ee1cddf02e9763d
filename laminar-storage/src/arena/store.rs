//! The arena as operators see it: tables of one pipeline on one shard.
//!
//! Invariant: the catalog of tables (`by_key`) and the records in the arena's pages agree at every freeze.

use super::batch::KeyBatch;
use super::blob::{BlobRef, MAX_BLOB_BYTES};
use super::entry::TableShape;
use super::error::ArenaError;
use super::fold::Folder;
use super::page::{Descriptor, PageKind, Pages};
use super::record::{RECORD_BYTES, RECORDS_PER_PAGE, TableRecord};
use super::scan::ScanCursor;
use super::segment::PAGE_BYTES;
use super::table::{Slot, Table, TableKey};
use crate::ids::{ObjectId, OperatorId};
use std::collections::BTreeMap;

/// What an arena is for and how far it may grow.
#[derive(Clone, Copy, Debug)]
pub struct ArenaOptions {
    /// The pipeline; tags the arena's pages in the page file.
    pub id: ObjectId,
    /// Bytes of pages it may use; above 64 GiB counts as 64 GiB.
    pub memory_limit: u64,
    /// Longest key or blob in bytes, at most [`MAX_BLOB_BYTES`].
    pub max_value: usize,
}

impl ArenaOptions {
    /// An arena for `id` with the default limits: 64 GiB of pages, values of 16 MiB.
    pub const fn new(id: ObjectId) -> Self {
        Self { id, memory_limit: 1 << 36, max_value: MAX_BLOB_BYTES }
    }
}

/// An open table; valid in this arena until the table is dropped or the arena closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableId {
    number: u32,
    generation: u32,
}

/// The state of one pipeline on one shard. One thread at a time.
pub struct Arena {
    pub(crate) pages: Pages,
    pub(crate) tables: Vec<Option<Table>>,
    pub(crate) by_key: BTreeMap<TableKey, TableId>,
    pub(crate) record_pages: Vec<u32>,
    pub(crate) next_generation: u32,
    max_value: usize,
    untracked: bool,
}

impl Arena {
    /// An empty arena; takes a few pages of memory.
    ///
    /// # Errors
    /// `System` when the address space cannot be reserved.
    pub fn new(options: ArenaOptions) -> Result<Self, ArenaError> {
        let mut arena = Self::without_pages(options)?;
        arena.pages.format()?;
        Ok(arena)
    }

    pub(crate) fn without_pages(options: ArenaOptions) -> Result<Self, ArenaError> {
        Ok(Self {
            pages: Pages::new(options.id, options.memory_limit.min(1 << 36))?,
            tables: Vec::new(),
            by_key: BTreeMap::new(),
            record_pages: Vec::new(),
            next_generation: 1,
            max_value: options.max_value.min(MAX_BLOB_BYTES),
            untracked: false,
        })
    }

    /// The pipeline.
    pub fn id(&self) -> ObjectId {
        self.pages.id()
    }

    /// Bytes of pages in use.
    pub fn bytes_used(&self) -> u64 {
        self.pages.used_bytes()
    }

    /// The memory limit in bytes.
    pub fn memory_limit(&self) -> u64 {
        self.pages.limit()
    }

    /// Bytes held aside for a frozen image that is not yet written.
    pub fn aside_bytes(&self) -> usize {
        self.pages.blocks.aside_bytes()
    }

    /// Opens the table of `key`, creating it empty when there is none.
    ///
    /// # Errors
    /// `ShapeMismatch` when it exists with another shape; `EntryTooLarge`, `MemoryLimit`, `System`.
    pub fn open_table(&mut self, key: TableKey, shape: TableShape) -> Result<TableId, ArenaError> {
        if let Some(id) = self.by_key.get(&key).copied() {
            let found = self.table(id).layout.shape;
            if found != shape {
                return Err(ArenaError::ShapeMismatch {
                    operator: key.operator.0,
                    found: format!("{found:?}"),
                    expected: format!("{shape:?}"),
                });
            }
            return Ok(id);
        }
        let number = match self.tables.iter().position(Option::is_none) {
            Some(number) => number,
            None => {
                self.tables.push(None);
                self.tables.len() - 1
            }
        };
        if number / RECORDS_PER_PAGE >= self.record_pages.len() {
            let word = self.record_pages.len() as u64;
            let page = self.pages.allocate(Descriptor { kind: PageKind::Tables, depth: 0, table: 0, word })?;
            self.record_pages.push(page);
        }
        let id = TableId { number: number as u32, generation: self.next_generation };
        let table = Table::create(&mut self.pages, id.number, id.generation, key, shape)?;
        self.next_generation += 1;
        self.tables[number] = Some(table);
        self.by_key.insert(key, id);
        Ok(id)
    }

    /// The tables of an operator by part, ascending.
    pub fn tables(&self, operator: OperatorId) -> Vec<(i64, TableId)> {
        let (from, to) = (TableKey { operator, part: i64::MIN }, TableKey { operator, part: i64::MAX });
        self.by_key.range(from..=to).map(|(key, id)| (key.part, *id)).collect()
    }

    /// Every table, by operator and part.
    pub fn all_tables(&self) -> Vec<(TableKey, TableId)> {
        self.by_key.iter().map(|(key, id)| (*key, *id)).collect()
    }

    /// Drops a table and frees its pages whole; costs O(pages), not O(keys).
    ///
    /// # Errors
    /// `UnknownTable`.
    pub fn drop_table(&mut self, id: TableId) -> Result<(), ArenaError> {
        let slot = self.tables.get_mut(id.number as usize).ok_or(ArenaError::UnknownTable)?;
        let table = slot.take_if(|table| table.generation == id.generation).ok_or(ArenaError::UnknownTable)?;
        self.by_key.remove(&table.key);
        table.release(&mut self.pages);
        self.write_record(id.number, TableRecord::EMPTY);
        Ok(())
    }

    /// Finds or creates the key of every row. `slots` gets one slot per row, `inserted` the rows that created
    /// their key (their values are zero); both are cleared first.
    ///
    /// # Errors
    /// `MemoryLimit`, `ValueTooLarge`, `KeyWidth`, `IndexSkew`, `System`: rows before the refused one are applied.
    pub fn upsert_batch(
        &mut self,
        id: TableId,
        hashes: &[u64],
        keys: KeyBatch<'_>,
        slots: &mut Vec<Slot>,
        inserted: &mut Vec<u32>,
    ) -> Result<(), ArenaError> {
        slots.clear();
        inserted.clear();
        slots.reserve(hashes.len());
        let max = self.max_value;
        let (pages, table) = self.parts(id)?;
        table.upsert_batch(pages, (hashes, keys), slots, inserted, max)
    }

    /// Finds the key of every row; `slots` is cleared first.
    ///
    /// # Errors
    /// `UnknownTable`.
    pub fn find_batch(
        &self,
        id: TableId,
        hashes: &[u64],
        keys: KeyBatch<'_>,
        slots: &mut Vec<Option<Slot>>,
    ) -> Result<(), ArenaError> {
        slots.clear();
        slots.reserve(hashes.len());
        self.known(id)?.find_batch(&self.pages, hashes, keys, slots);
        Ok(())
    }

    /// Finds or creates one key; tells whether it was created.
    ///
    /// # Errors
    /// As [`Arena::upsert_batch`].
    pub fn upsert(&mut self, id: TableId, hash: u64, key: &[u8]) -> Result<(Slot, bool), ArenaError> {
        let max = self.max_value;
        let (pages, table) = self.parts(id)?;
        match table.find(pages, hash, key) {
            Some(found) => Ok((found.slot, false)),
            None => Ok((table.insert(pages, hash, key, max)?, true)),
        }
    }

    /// The slot of a key. Panics when the table was dropped, as do all methods below without an error.
    #[inline]
    pub fn get(&self, id: TableId, hash: u64, key: &[u8]) -> Option<Slot> {
        self.table(id).find(&self.pages, hash, key).map(|found| found.slot)
    }

    /// Removes a key; `false` when it was not there. Its slot may be given to a later key.
    pub fn remove(&mut self, id: TableId, hash: u64, key: &[u8]) -> bool {
        let (pages, table) = self.live_parts(id);
        table.remove(pages, hash, key)
    }

    /// The key at a slot.
    pub fn key(&self, id: TableId, slot: Slot) -> &[u8] {
        self.table(id).key_of(&self.pages, slot)
    }

    /// The hash at a slot.
    pub fn hash(&self, _id: TableId, slot: Slot) -> u64 {
        self.pages.region.u64_at(slot.offset())
    }

    /// The value at a slot.
    #[inline]
    pub fn value(&self, id: TableId, slot: Slot) -> &[u8] {
        let layout = &self.table(id).layout;
        self.pages.region.bytes(slot.offset() + layout.value_at, layout.value_len)
    }

    /// The value at a slot, to store into; counts as changed.
    #[inline]
    pub fn value_mut(&mut self, id: TableId, slot: Slot) -> &mut [u8] {
        let layout = &self.table(id).layout;
        let (offset, len, blocks) = (slot.offset() + layout.value_at, layout.value_len, layout.value_blocks);
        self.pages.mark_value(offset, blocks);
        self.pages.region.bytes_mut(offset, len)
    }

    /// The fast path into the values of a table.
    ///
    /// # Errors
    /// `UnknownTable`.
    #[inline]
    pub fn fold(&mut self, id: TableId) -> Result<Folder<'_>, ArenaError> {
        let layout = self.known(id)?.layout;
        Ok(Folder::new(&mut self.pages, layout))
    }

    /// As [`Arena::fold`] but without dirty tracking: for measuring only, the arena can no longer be frozen.
    ///
    /// # Errors
    /// `UnknownTable`.
    pub fn fold_untracked(&mut self, id: TableId) -> Result<Folder<'_, false>, ArenaError> {
        let layout = self.known(id)?.layout;
        self.untracked = true;
        Ok(Folder::new(&mut self.pages, layout))
    }

    /// Brings entries near that will be read soon.
    #[inline]
    pub fn prefetch(&self, slots: &[Slot]) {
        for slot in slots {
            self.pages.region.prefetch(slot.offset());
        }
    }

    /// Keys in a table.
    pub fn len(&self, id: TableId) -> u64 {
        self.table(id).len
    }

    /// Whether a table has no key.
    pub fn is_empty(&self, id: TableId) -> bool {
        self.table(id).len == 0
    }

    /// Bytes of the pages a table owns.
    pub fn bytes(&self, id: TableId) -> u64 {
        self.table(id).bytes()
    }

    /// Visits keys in hash-prefix order from `cursor` on, at least `max_rows` if there are as many; returns where to
    /// go on, `None` at the end. Stable under any change between the calls.
    pub fn scan(
        &self,
        id: TableId,
        cursor: ScanCursor,
        max_rows: usize,
        mut visit: impl FnMut(u64, &[u8], &[u8]),
    ) -> Option<ScanCursor> {
        self.table(id).scan(&self.pages, cursor, max_rows, &mut visit)
    }

    /// Stores bytes of any length beside a table; they go with the table when it is dropped.
    ///
    /// # Errors
    /// `ValueTooLarge`, `MemoryLimit`, `UnknownTable`, `System`.
    pub fn put_blob(&mut self, id: TableId, bytes: &[u8]) -> Result<BlobRef, ArenaError> {
        if bytes.len() > self.max_value {
            return Err(ArenaError::ValueTooLarge { len: bytes.len(), limit: self.max_value });
        }
        let (pages, table) = self.parts(id)?;
        table.blobs.put(pages, table.number, bytes, &mut table.pages)
    }

    /// The bytes of a live blob. Panics when the reference points outside the arena.
    #[inline]
    pub fn blob(&self, blob: BlobRef) -> &[u8] {
        self.pages.region.bytes(blob.offset(), blob.len())
    }

    /// Gives a blob's bytes back. Panics when it is not live.
    pub fn free_blob(&mut self, id: TableId, blob: BlobRef) {
        let (pages, table) = self.live_parts(id);
        table.blobs.free(pages, blob);
    }

    /// Whether anything changed since the last freeze.
    pub fn is_changed(&self) -> bool {
        self.pages.blocks.is_changed() || self.tables.iter().flatten().any(|table| table.stale_record)
    }

    /// Whether a frozen image waits for the page file.
    pub fn is_frozen(&self) -> bool {
        self.pages.blocks.is_frozen()
    }

    /// Takes the barrier: the state of this instant becomes the image that the page file writes, while the
    /// arena goes on. Costs O(segments + tables). Panics when the previous image was neither written nor thawed.
    pub fn freeze(&mut self) {
        assert!(!self.untracked, "an arena with untracked stores cannot be checkpointed");
        for number in 0..self.tables.len() {
            if let Some(table) = self.tables[number].as_mut().filter(|table| table.stale_record) {
                table.stale_record = false;
                let record = TableRecord { key: table.key, shape: Some(table.layout.shape), len: table.len };
                self.write_record(number as u32, record);
            }
        }
        self.pages.blocks.freeze();
    }

    /// Gives a frozen image up; its changes stay for the next one.
    pub fn thaw(&mut self) {
        self.pages.blocks.thaw();
    }

    fn write_record(&mut self, number: u32, record: TableRecord) {
        let page = self.record_pages[number as usize / RECORDS_PER_PAGE] as usize;
        let offset = page * PAGE_BYTES + number as usize % RECORDS_PER_PAGE * RECORD_BYTES;
        self.pages.write(offset, RECORD_BYTES).copy_from_slice(&record.encode());
    }

    pub(crate) fn table_id(number: u32, generation: u32) -> TableId {
        TableId { number, generation }
    }

    fn known(&self, id: TableId) -> Result<&Table, ArenaError> {
        match self.tables.get(id.number as usize) {
            Some(Some(table)) if table.generation == id.generation => Ok(table),
            _ => Err(ArenaError::UnknownTable),
        }
    }

    #[inline(always)]
    fn table(&self, id: TableId) -> &Table {
        match self.known(id) {
            Ok(table) => table,
            Err(_) => stale_table(),
        }
    }

    fn parts(&mut self, id: TableId) -> Result<(&mut Pages, &mut Table), ArenaError> {
        match self.tables.get_mut(id.number as usize) {
            Some(Some(table)) if table.generation == id.generation => Ok((&mut self.pages, table)),
            _ => Err(ArenaError::UnknownTable),
        }
    }

    fn live_parts(&mut self, id: TableId) -> (&mut Pages, &mut Table) {
        match self.parts(id) {
            Ok(parts) => parts,
            Err(_) => stale_table(),
        }
    }
}

#[cold]
fn stale_table() -> ! {
    unreachable!("a table identifier was used after its table was dropped, or in another arena")
}
