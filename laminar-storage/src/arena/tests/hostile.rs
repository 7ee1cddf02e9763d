//! Images with bytes that no arena wrote, behind correct checksums: refused, or harmless (S3).

use super::super::*;
use super::{Bytes, TABLE, hash};
use crate::error::StorageError;
use crate::ids::ObjectId;

const OPTIONS: ArenaOptions = ArenaOptions { memory_limit: 64 << 20, ..ArenaOptions::new(ObjectId(1)) };

fn key(number: u32) -> Vec<u8> {
    number.to_be_bytes().repeat(1 + number as usize % 90)
}

/// An arena with every kind of page.
fn image() -> (Vec<u8>, usize) {
    let mut arena = Arena::new(OPTIONS).unwrap();
    for part in 0..3 {
        let table = arena.open_table(TableKey { part, ..TABLE }, TableShape::variable(24)).unwrap();
        for number in 0..1_500 {
            arena.upsert(table, hash(&key(number)), &key(number)).unwrap();
        }
        for number in (0..1_500).step_by(3) {
            arena.remove(table, hash(&key(number)), &key(number));
        }
        for len in [100, 5_000, 40_000] {
            arena.put_blob(table, &vec![7; len]).unwrap();
        }
        if part == 1 {
            arena.drop_table(table).unwrap();
        }
    }
    arena.freeze();
    let segments = arena.pages.segments();
    (arena.pages.region.bytes(0, segments * SEGMENT_BYTES).to_vec(), segments)
}

fn load(bytes: &[u8], segments: usize) -> Result<Arena, StorageError> {
    let mut arena = Arena::restore(OPTIONS, &vec![true; segments], Box::new(Bytes(bytes.to_vec())))?;
    while arena.load_step()? {}
    Ok(arena)
}

/// Uses everything that a loaded arena offers; only errors may come of it.
fn exercise(arena: &mut Arena) {
    for (_, table) in arena.all_tables() {
        let mut rows = Vec::new();
        let mut cursor = Some(ScanCursor::default());
        while let Some(at) = cursor {
            cursor = arena.scan(table, at, 500, |hash, key, _| rows.push((hash, key.to_vec())));
        }
        for (hash, key) in rows.iter().step_by(2) {
            arena.remove(table, *hash, key);
        }
        for number in 0..3_000u32 {
            let stored = arena.upsert(table, hash(&key(number)), &key(number));
            if let Ok((slot, _)) = stored {
                arena.value_mut(table, slot)[0] = 1;
            }
        }
        let _ = arena.put_blob(table, &[1; 9_000]);
    }
    arena.freeze();
    arena.thaw();
    for (_, table) in arena.all_tables() {
        arena.drop_table(table).unwrap();
    }
}

#[test]
fn a_damaged_structure_is_refused_or_harmless_and_never_a_panic() {
    let (good, segments) = image();
    assert!(load(&good, segments).is_ok());
    let used: Vec<usize> =
        good.chunks(16).enumerate().filter(|(_, c)| c.iter().any(|b| *b != 0)).map(|c| c.0 * 16).collect();
    let mut rng = fastrand::Rng::with_seed(7);
    let (mut refused, mut harmless) = (0, 0);
    for _ in 0..400 {
        let mut bytes = good.clone();
        for _ in 0..rng.usize(1..4) {
            // Half of the hits go to the descriptors, the header and the table records: the rest follows from them.
            let near = if rng.bool() { rng.usize(..40.min(used.len())) } else { rng.usize(..used.len()) };
            let at = used[near] + rng.usize(..16);
            bytes[at] = match rng.u8(..3) {
                0 => rng.u8(..),
                1 => bytes[at] ^ 1 << rng.u8(..8),
                _ => bytes[(at + 16 * rng.usize(..8)) % bytes.len()],
            };
        }
        match load(&bytes, segments) {
            Err(error) => {
                assert!(matches!(error.code(), "LDB-2109" | "LDB-2106"), "{error}");
                refused += 1;
            }
            Ok(mut arena) => {
                exercise(&mut arena);
                harmless += 1;
            }
        }
    }
    assert!(refused > 100 && harmless > 20, "{refused} refused, {harmless} harmless");
}

#[test]
fn an_index_deeper_than_its_buckets_explain_is_refused_before_memory_is_taken() {
    let (mut bytes, segments) = image();
    // The second page of the data segment is the first table's first bucket.
    let descriptor = 513 * 16;
    assert_eq!(bytes[descriptor], 2);
    bytes[descriptor + 1] = 36;
    assert_eq!(load(&bytes, segments).err().map(|error| error.code()), Some("LDB-2109"));
}
