//! The heap twin of an arena: the same answers from standard collections.
//!
//! Exists so that property tests have something to compare with, and so that an operator test can run without
//! mapped memory. Slow, and nothing of it is durable.
//! Invariant: no code is shared with the arena except the scan order, which both promise.

use super::index::order;
use super::table::TableKey;
use std::collections::BTreeMap;

/// One table: by scan order, then key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct HeapTable {
    value_len: usize,
    rows: BTreeMap<(u64, Vec<u8>), Vec<u8>>,
}

/// Tables on the heap. Cloning it is its checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeapArena {
    tables: BTreeMap<TableKey, HeapTable>,
}

impl HeapArena {
    /// No tables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens or creates a table with values of `value_len` bytes.
    pub fn open_table(&mut self, table: TableKey, value_len: usize) {
        self.tables.entry(table).or_insert_with(|| HeapTable { value_len, rows: BTreeMap::new() });
    }

    /// Drops a table; `false` when there is none.
    pub fn drop_table(&mut self, table: TableKey) -> bool {
        self.tables.remove(&table).is_some()
    }

    /// The tables, ascending.
    pub fn tables(&self) -> Vec<TableKey> {
        self.tables.keys().copied().collect()
    }

    /// Finds or creates a key; `true` when it was created, with a zeroed value. `None`: no such table.
    pub fn upsert(&mut self, table: TableKey, hash: u64, key: &[u8]) -> Option<bool> {
        let table = self.tables.get_mut(&table)?;
        let (before, value_len) = (table.rows.len(), table.value_len);
        table.rows.entry((order(hash), key.to_vec())).or_insert_with(|| vec![0; value_len]);
        Some(table.rows.len() > before)
    }

    /// The value of a key.
    pub fn value(&self, table: TableKey, hash: u64, key: &[u8]) -> Option<&[u8]> {
        self.tables.get(&table)?.rows.get(&(order(hash), key.to_vec())).map(Vec::as_slice)
    }

    /// The value of a key, to store into.
    pub fn value_mut(&mut self, table: TableKey, hash: u64, key: &[u8]) -> Option<&mut [u8]> {
        self.tables.get_mut(&table)?.rows.get_mut(&(order(hash), key.to_vec())).map(Vec::as_mut_slice)
    }

    /// Removes a key; `false` when it was not there.
    pub fn remove(&mut self, table: TableKey, hash: u64, key: &[u8]) -> bool {
        self.tables.get_mut(&table).is_some_and(|table| table.rows.remove(&(order(hash), key.to_vec())).is_some())
    }

    /// Keys in a table; 0 without one.
    pub fn len(&self, table: TableKey) -> usize {
        self.tables.get(&table).map_or(0, |table| table.rows.len())
    }

    /// Whether there is no table at all.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// All rows of a table in scan order (ties by key): hash, key, value.
    pub fn rows(&self, table: TableKey) -> Vec<(u64, Vec<u8>, Vec<u8>)> {
        let rows = self.tables.get(&table).into_iter().flat_map(|table| &table.rows);
        rows.map(|((place, key), value)| (place.rotate_right(12), key.clone(), value.clone())).collect()
    }
}
