//! Claims of the arena in memory; with files they are in `page_file`.

mod hostile;
mod region;
mod spill;

use super::*;
use crate::ids::{ObjectId, OperatorId};

/// An image in memory.
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl SegmentSource for Bytes {
    fn read(&self, segment: usize, into: &mut [u8]) -> crate::Result<()> {
        into.copy_from_slice(&self.0[segment * SEGMENT_BYTES..][..SEGMENT_BYTES]);
        Ok(())
    }

    fn place(&self, error: ArenaError) -> crate::StorageError {
        crate::StorageError::Arena(error)
    }
}

const TABLE: TableKey = TableKey { operator: OperatorId(7), part: 0 };

fn arena() -> Arena {
    Arena::new(ArenaOptions::new(ObjectId(1))).unwrap()
}

fn hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

fn number_keys(range: std::ops::Range<u64>) -> (Vec<u64>, Vec<u8>) {
    let bytes: Vec<u8> = range.clone().flat_map(u64::to_be_bytes).collect();
    (range.map(|number| hash(&number.to_be_bytes())).collect(), bytes)
}

#[test]
fn a_batch_creates_each_key_once_and_finds_it_again() {
    let mut arena = arena();
    let table = arena.open_table(TABLE, TableShape::fixed(8, 16)).unwrap();
    let (hashes, bytes) = number_keys(0..100_000);
    let keys = KeyBatch::Fixed { bytes: &bytes, width: 8 };
    let (mut slots, mut inserted) = (Vec::new(), Vec::new());
    arena.upsert_batch(table, &hashes, keys, &mut slots, &mut inserted).unwrap();
    assert_eq!(inserted.len(), 100_000);
    let first = slots.clone();
    for (row, slot) in slots.iter().enumerate() {
        arena.value_mut(table, *slot)[..8].copy_from_slice(&(row as u64).to_le_bytes());
    }
    arena.upsert_batch(table, &hashes, keys, &mut slots, &mut inserted).unwrap();
    assert!(inserted.is_empty());
    assert_eq!(first, slots, "slots are stable over splits");
    let mut found = Vec::new();
    arena.find_batch(table, &hashes, keys, &mut found).unwrap();
    for (row, slot) in found.into_iter().enumerate() {
        let slot = slot.unwrap();
        assert_eq!(arena.value(table, slot)[..8], (row as u64).to_le_bytes());
        assert_eq!(arena.key(table, slot), (row as u64).to_be_bytes());
        assert_eq!(arena.hash(table, slot), hashes[row]);
    }
    assert_eq!(arena.len(table), 100_000);
}

#[test]
fn a_key_that_repeats_within_a_batch_is_created_once() {
    let mut arena = arena();
    let table = arena.open_table(TABLE, TableShape::variable(8)).unwrap();
    let (offsets, bytes) = ([0, 3, 6, 9, 12], b"abcabdabcabd");
    let hashes: Vec<u64> = offsets.windows(2).map(|w| hash(&bytes[w[0] as usize..w[1] as usize])).collect();
    let (mut slots, mut inserted) = (Vec::new(), Vec::new());
    let keys = KeyBatch::Variable { offsets: &offsets, bytes };
    arena.upsert_batch(table, &hashes, keys, &mut slots, &mut inserted).unwrap();
    assert_eq!(inserted, [0, 1]);
    assert_eq!((slots[0], slots[1]), (slots[2], slots[3]));
}

#[test]
fn long_keys_live_in_blobs_and_leave_with_their_key() {
    let mut arena = arena();
    let table = arena.open_table(TABLE, TableShape::variable(8)).unwrap();
    let keys: Vec<Vec<u8>> = (0..200u32).map(|n| n.to_be_bytes().repeat(1 + n as usize * 7)).collect();
    for key in &keys {
        assert!(arena.upsert(table, hash(key), key).unwrap().1);
    }
    for key in &keys {
        let slot = arena.get(table, hash(key), key).unwrap();
        assert_eq!(arena.key(table, slot), key.as_slice());
    }
    let full = arena.bytes_used();
    for key in &keys {
        assert!(arena.remove(table, hash(key), key));
        assert!(!arena.remove(table, hash(key), key));
    }
    for key in &keys {
        assert!(arena.upsert(table, hash(key), key).unwrap().1);
    }
    assert_eq!(arena.bytes_used(), full, "removed keys leave their room to new ones");
}

#[test]
fn a_recycled_slot_holds_a_zeroed_value() {
    let mut arena = arena();
    let table = arena.open_table(TABLE, TableShape::fixed(8, 40)).unwrap();
    let (slot, _) = arena.upsert(table, hash(b"aaaaaaaa"), b"aaaaaaaa").unwrap();
    arena.value_mut(table, slot).fill(0xff);
    arena.remove(table, hash(b"aaaaaaaa"), b"aaaaaaaa");
    let (slot, created) = arena.upsert(table, hash(b"bbbbbbbb"), b"bbbbbbbb").unwrap();
    assert!(created);
    assert!(arena.value(table, slot).iter().all(|byte| *byte == 0));
}

#[test]
fn a_scan_in_pieces_meets_every_staying_key_once_while_the_table_grows_and_shrinks() {
    let mut arena = arena();
    let table = arena.open_table(TABLE, TableShape::fixed(8, 8)).unwrap();
    let stay = 0..20_000u64;
    for number in stay.clone() {
        arena.upsert(table, hash(&number.to_be_bytes()), &number.to_be_bytes()).unwrap();
    }
    let mut seen = std::collections::BTreeMap::new();
    let (mut cursor, mut extra, mut last) = (Some(ScanCursor::default()), 1_000_000u64, 0);
    while let Some(at) = cursor {
        cursor = arena.scan(table, at, 97, |hash, key, _| {
            assert!(!at.has_passed(hash));
            assert!(hash.rotate_left(12) >= last);
            last = hash.rotate_left(12);
            *seen.entry(u64::from_be_bytes(key.try_into().unwrap())).or_insert(0) += 1;
        });
        for number in extra..extra + 300 {
            arena.upsert(table, hash(&number.to_be_bytes()), &number.to_be_bytes()).unwrap();
        }
        for number in extra.saturating_sub(300).max(1_000_000)..extra {
            arena.remove(table, hash(&number.to_be_bytes()), &number.to_be_bytes());
        }
        extra += 300;
    }
    for number in stay {
        assert_eq!(seen.get(&number), Some(&1), "key {number}");
    }
}

#[test]
fn a_dropped_table_gives_its_pages_to_the_next() {
    let mut arena = arena();
    let mut peak = 0;
    for part in 0..20 {
        let table = arena.open_table(TableKey { part, ..TABLE }, TableShape::variable(24)).unwrap();
        for number in 0..5_000u64 {
            arena.upsert(table, hash(&number.to_be_bytes()), &number.to_be_bytes().repeat(4)).unwrap();
        }
        let blob = arena.put_blob(table, &vec![part as u8; 50_000]).unwrap();
        assert!(arena.blob(blob).iter().all(|byte| *byte == part as u8));
        if part == 0 {
            peak = arena.bytes_used();
        }
        assert_eq!(arena.bytes_used(), peak);
        assert_eq!(arena.tables(OperatorId(7)), [(part, table)]);
        arena.drop_table(table).unwrap();
        assert!(matches!(arena.drop_table(table), Err(ArenaError::UnknownTable)));
    }
}

#[test]
fn blobs_of_every_size_keep_their_bytes() {
    let mut arena = arena();
    let table = arena.open_table(TABLE, TableShape::fixed(8, 8)).unwrap();
    let sizes = [0usize, 1, 31, 32, 33, 100, 2032, 2033, 4096, 4097, 70_000, 3 << 20, MAX_BLOB_BYTES];
    let blobs: Vec<_> = sizes.iter().map(|len| arena.put_blob(table, &vec![*len as u8; *len]).unwrap()).collect();
    for (blob, len) in blobs.iter().zip(sizes) {
        assert_eq!(arena.blob(*blob), vec![len as u8; len]);
    }
    let used = arena.bytes_used();
    blobs.iter().for_each(|blob| arena.free_blob(table, *blob));
    let again: Vec<_> = sizes.iter().map(|len| arena.put_blob(table, &vec![1; *len]).unwrap()).collect();
    assert_eq!(arena.bytes_used(), used);
    assert_eq!(again.len(), blobs.len());
    let error = arena.put_blob(table, &vec![0; MAX_BLOB_BYTES + 1]).unwrap_err();
    assert!(error.to_string().contains("16777217") && error.to_string().contains("16777216"), "{error}");
}

#[test]
fn the_memory_limit_is_an_error_that_names_limit_and_use_and_loses_no_key() {
    let mut arena = Arena::new(ArenaOptions { memory_limit: 1 << 20, ..ArenaOptions::new(ObjectId(9)) }).unwrap();
    let table = arena.open_table(TABLE, TableShape::fixed(8, 100)).unwrap();
    let mut count = 0u64;
    let error = loop {
        match arena.upsert(table, hash(&count.to_be_bytes()), &count.to_be_bytes()) {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), "LDB-2101");
    assert!(error.to_string().contains("1048576"), "{error}");
    assert!(arena.bytes_used() <= 1 << 20 && arena.bytes_used() > 1 << 19);
    for number in 0..count {
        assert!(arena.get(table, hash(&number.to_be_bytes()), &number.to_be_bytes()).is_some());
    }
}

#[test]
fn crafted_hashes_are_refused_and_not_looped_over() {
    let mut arena = arena();
    let table = arena.open_table(TABLE, TableShape::fixed(8, 0)).unwrap();
    let mut refused = None;
    for number in 0..2_000u64 {
        if let Err(error) = arena.upsert(table, 0x1234_5678_9abc_def0, &number.to_be_bytes()) {
            refused = Some((number, error));
            break;
        }
    }
    let (number, error) = refused.unwrap();
    assert_eq!((number, error.code()), (768, "LDB-2108"));
}

#[test]
fn another_shape_for_an_existing_table_is_refused() {
    let mut arena = arena();
    arena.open_table(TABLE, TableShape::fixed(8, 8)).unwrap();
    assert_eq!(arena.open_table(TABLE, TableShape::fixed(8, 16)).unwrap_err().code(), "LDB-2105");
    let huge = TableKey { part: 1, ..TABLE };
    assert_eq!(arena.open_table(huge, TableShape::fixed(8, 4096)).unwrap_err().code(), "LDB-2106");
}
