//! The rows of a view in the arena.
//!
//! With a key: key → the row's bytes in a blob. Without: the row's bytes → how many there are. With a retention
//! rows lie in one table per bucket of event time, so that old ones leave with their table.
//! Invariant: a place (bucket, key) holds at most one content.

use arrow::array::RecordBatch;

use crate::data::{EncodedRows, EventTimes, KeyEncoder, Keys, RowCodec, StreamSchema};
use crate::ids::OperatorId;
use crate::operator::layout::{Kept, fields};
use crate::operator::port::OperatorError;
use crate::shard::hash_bytes;
use laminar_storage::arena::{Arena, ArenaError, BlobRef, ScanCursor, TableId, TableKey, TableShape};
use std::collections::BTreeMap;

/// A retention is kept to within this part of itself.
const BUCKETS_PER_RETENTION: i64 = 16;
/// The bucket of rows without a time; it never expires.
const TIMELESS: i64 = i64::MAX;

/// What a place holds: a row's bytes, or with a multiset how many of the row that is the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Row(Vec<u8>),
    Count(i64),
}

/// Where a row belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlaceOf<'a> {
    pub(super) part: i64,
    pub(super) hash: u64,
    pub(super) key: &'a [u8],
}

/// How rows find their places.
pub(super) struct Store {
    id: OperatorId,
    pub(super) codec: RowCodec,
    /// Finds keys in the view's rows; none = a multiset.
    keys: Option<KeyEncoder>,
    /// Finds keys in batches of key columns only.
    lookup: Option<KeyEncoder>,
    retention: Option<Retention>,
    tables: BTreeMap<i64, TableId>,
}

#[derive(Clone, Copy, Debug)]
struct Retention {
    column: usize,
    keep: i64,
    bucket: i64,
}

/// The places of a batch's rows.
pub(super) struct Placed<'a> {
    keys: Option<Keys<'a>>,
    hashes: Vec<u64>,
    parts: Option<Vec<i64>>,
    pub(super) rows: EncodedRows,
}

impl Placed<'_> {
    pub(super) fn place(&self, row: usize) -> PlaceOf<'_> {
        let part = self.parts.as_ref().map_or(0, |parts| parts[row]);
        match &self.keys {
            Some(keys) => PlaceOf { part, hash: keys.hashes[row], key: keys.keys.key(row) },
            None => PlaceOf { part, hash: self.hashes[row], key: self.rows.get(row) },
        }
    }
}

impl Store {
    pub(super) fn new(id: OperatorId, schema: &StreamSchema, retention: Option<i64>) -> Result<Self, OperatorError> {
        let codec = RowCodec::new(&schema.columns)?;
        let (mut keys, mut lookup) = (None, None);
        if let Some(columns) = &schema.key {
            keys = Some(KeyEncoder::new(&schema.columns, columns)?);
            let only = schema.columns.project(columns)?;
            lookup = Some(KeyEncoder::new(&only, &(0..columns.len()).collect::<Vec<_>>())?);
        }
        let retention = match (retention, schema.time.first()) {
            (None, _) => None,
            (Some(keep), Some(column)) => {
                Some(Retention { column: *column, keep, bucket: (keep / BUCKETS_PER_RETENTION).max(1) })
            }
            (Some(_), None) => return Err(OperatorError::defect("a retention without a time attribute")),
        };
        Ok(Self { id, codec, keys, lookup, retention, tables: BTreeMap::new() })
    }

    pub(super) fn has_key(&self) -> bool {
        self.keys.is_some()
    }

    /// What a view keeps, described.
    pub(super) fn layout(&self, schema: &StreamSchema) -> Kept {
        let cut = |retention: Retention| {
            let column = schema.columns.field(retention.column).name();
            format!("tables of {} us of {column}", retention.bucket)
        };
        Kept {
            keeps: if self.has_key() { "rows".into() } else { "rows by their whole content".into() },
            key: fields(&schema.columns, schema.key.as_deref().unwrap_or_default()),
            values: schema.columns.fields().iter().map(|field| field.as_ref().clone()).collect(),
            windows: self.retention.map(cut),
            shape: self.shape(),
        }
    }

    fn shape(&self) -> TableShape {
        match &self.keys {
            Some(keys) => TableShape { value_len: 8, key: keys.shape() },
            None => TableShape::variable(8),
        }
    }

    /// Takes in the tables that a restart finds.
    pub(super) fn restore(&mut self, arena: &mut Arena) -> Result<(), OperatorError> {
        for (part, _) in arena.tables(self.id) {
            let key = TableKey { operator: self.id, part };
            self.tables.insert(part, arena.open_table(key, self.shape())?);
        }
        Ok(())
    }

    /// The places of all rows of a batch.
    pub(super) fn place<'a>(&'a mut self, rows: &RecordBatch) -> Result<Placed<'a>, OperatorError> {
        let encoded = self.codec.encode(rows);
        let parts = self.retention.map(|retention| retention.parts(rows)).transpose()?;
        let hashes = match &self.keys {
            Some(_) => Vec::new(),
            None => (0..rows.num_rows()).map(|row| hash_bytes(encoded.get(row))).collect(),
        };
        let keys = self.keys.as_mut().map(|keys| keys.encode(rows));
        Ok(Placed { keys, hashes, parts, rows: encoded })
    }

    /// The hashes of the rows' places.
    pub(super) fn hashes(&mut self, rows: &RecordBatch) -> Vec<u64> {
        match &mut self.keys {
            Some(keys) => keys.encode(rows).hashes.to_vec(),
            None => {
                let encoded = self.codec.encode(rows);
                (0..rows.num_rows()).map(|row| hash_bytes(encoded.get(row))).collect()
            }
        }
    }

    /// Encodes a batch of key columns; none for a multiset.
    pub(super) fn encode_keys(&mut self, keys: &RecordBatch) -> Option<Keys<'_>> {
        self.lookup.as_mut().map(|lookup| lookup.encode(keys))
    }

    /// The tables of a view, by bucket.
    pub(super) fn parts(&self) -> impl Iterator<Item = i64> + '_ {
        self.tables.keys().copied()
    }

    /// What a place holds.
    pub(super) fn get(&self, place: PlaceOf<'_>, arena: &Arena) -> Option<Content> {
        get(self.tables.get(&place.part), self.has_key(), place, arena)
    }

    /// Walks a bucket in hash-prefix order.
    pub(super) fn scan(
        &self,
        part: i64,
        from: ScanCursor,
        max_rows: usize,
        arena: &Arena,
        mut visit: impl FnMut(u64, &[u8], Content),
    ) -> Option<ScanCursor> {
        let table = *self.tables.get(&part)?;
        arena.scan(table, from, max_rows, |hash, key, value| visit(hash, key, content(self.has_key(), value, arena)))
    }

    /// Drops the buckets that lie wholly before the watermark less the retention.
    pub(super) fn expire(&mut self, watermark: i64, arena: &mut Arena) -> Result<(), OperatorError> {
        let Some(retention) = self.retention else { return Ok(()) };
        let limit = watermark.saturating_sub(retention.keep);
        while let Some((&part, &table)) = self.tables.first_key_value()
            && part != TIMELESS
            && part.saturating_add(1).saturating_mul(retention.bucket) <= limit
        {
            arena.drop_table(table)?;
            self.tables.remove(&part);
        }
        Ok(())
    }

    /// Splits into what placing borrows and what storing needs.
    pub(super) fn writer(&self) -> Writer {
        Writer { id: self.id, shape: self.shape(), has_key: self.has_key() }
    }

    pub(super) fn tables_mut(&mut self) -> &mut BTreeMap<i64, TableId> {
        &mut self.tables
    }
}

impl Retention {
    fn parts(self, rows: &RecordBatch) -> Result<Vec<i64>, OperatorError> {
        let times = EventTimes::read(rows.column(self.column).as_ref())?;
        let part = |row: usize| times.get(row).map_or(TIMELESS, |time| time.0.div_euclid(self.bucket));
        Ok((0..rows.num_rows()).map(part).collect())
    }
}

fn content(has_key: bool, value: &[u8], arena: &Arena) -> Content {
    let mut word = [0; 8];
    word.copy_from_slice(&value[..8]);
    match has_key {
        true => Content::Row(arena.blob(BlobRef::from_u64(u64::from_le_bytes(word))).to_vec()),
        false => Content::Count(i64::from_le_bytes(word)),
    }
}

fn get(table: Option<&TableId>, has_key: bool, place: PlaceOf<'_>, arena: &Arena) -> Option<Content> {
    let table = *table?;
    let slot = arena.get(table, place.hash, place.key)?;
    Some(content(has_key, arena.value(table, slot), arena))
}

/// Writes places; apart from [`Store`] so that a batch's borrowed keys can be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writer {
    id: OperatorId,
    shape: TableShape,
    has_key: bool,
}

impl Writer {
    /// What a place holds.
    pub(super) fn get(&self, tables: &BTreeMap<i64, TableId>, place: PlaceOf<'_>, arena: &Arena) -> Option<Content> {
        get(tables.get(&place.part), self.has_key, place, arena)
    }

    /// Makes a place hold a content, or nothing.
    pub(super) fn put(
        &self,
        tables: &mut BTreeMap<i64, TableId>,
        place: PlaceOf<'_>,
        content: Option<&Content>,
        arena: &mut Arena,
    ) -> Result<(), ArenaError> {
        let table = match tables.get(&place.part) {
            Some(table) => *table,
            None => {
                let table = arena.open_table(TableKey { operator: self.id, part: place.part }, self.shape)?;
                tables.insert(place.part, table);
                table
            }
        };
        let held = arena.get(table, place.hash, place.key);
        let old_blob = held.filter(|_| self.has_key).map(|slot| {
            let mut word = [0; 8];
            word.copy_from_slice(&arena.value(table, slot)[..8]);
            BlobRef::from_u64(u64::from_le_bytes(word))
        });
        let word = match content {
            None => {
                arena.remove(table, place.hash, place.key);
                None
            }
            Some(Content::Count(count)) => Some(*count as u64),
            Some(Content::Row(row)) => Some(arena.put_blob(table, row)?.as_u64()),
        };
        if let Some(word) = word {
            let slot = match held {
                Some(slot) => slot,
                None => arena.upsert(table, place.hash, place.key)?.0,
            };
            arena.value_mut(table, slot).copy_from_slice(&word.to_le_bytes());
        }
        if let Some(blob) = old_blob {
            arena.free_blob(table, blob);
        }
        Ok(())
    }
}
