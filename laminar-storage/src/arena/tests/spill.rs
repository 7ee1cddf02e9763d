//! Claims of segments that lie in a scratch file.

use super::*;
use crate::disk::{Disk, DiskErrorKind, IoMode, RealDisk, SimMachine};

const KEYS: u64 = 120_000;

/// Keys with a value of their number, in three segments and more.
fn filled() -> (Arena, TableId) {
    let mut arena = arena();
    let table = arena.open_table(TABLE, TableShape::fixed(8, 40)).unwrap();
    for number in 0..KEYS {
        let (slot, _) = arena.upsert(table, hash(&number.to_be_bytes()), &number.to_be_bytes()).unwrap();
        arena.value_mut(table, slot)[..8].copy_from_slice(&number.to_le_bytes());
    }
    (arena, table)
}

fn spill_all(arena: &mut Arena, disk: &mut dyn Disk) -> usize {
    let mut segments = 0;
    while arena.spill(disk).unwrap() > 0 {
        segments += 1;
    }
    segments
}

fn check(arena: &mut Arena, table: TableId, add: u64) {
    for number in 0..KEYS {
        let slot = arena.get(table, hash(&number.to_be_bytes()), &number.to_be_bytes()).unwrap();
        let value = arena.value_mut(table, slot);
        assert_eq!(value[..8], (number + add).to_le_bytes());
        value[..8].copy_from_slice(&(number + add + 1).to_le_bytes());
    }
}

#[test]
fn what_is_spilled_is_read_and_stored_at_its_old_place_on_every_disk() {
    let root = tempfile::tempdir().unwrap();
    let real = RealDisk::open(root.path(), IoMode::Inline).unwrap();
    let disks: [Box<dyn Disk>; 2] = [Box::new(real), Box::new(SimMachine::new(1).disk())];
    for mut disk in disks {
        let (mut arena, table) = filled();
        let used = arena.bytes_used();
        assert_eq!((arena.bytes_spilled(), arena.spillable()), (0, SEGMENT_BYTES as u64));
        assert!(spill_all(&mut arena, disk.as_mut()) >= 3);
        assert_eq!((arena.bytes_used(), arena.bytes_spilled(), arena.spillable()), (used, used, 0));
        check(&mut arena, table, 0);
        check(&mut arena, table, 1);
        assert_eq!(disk.list(std::path::Path::new(".")).unwrap(), Vec::<String>::new(), "it has no name");
    }
}

#[test]
fn pages_that_are_taken_in_a_spilled_segment_count_as_spilled_and_the_next_segment_does_not() {
    let machine = SimMachine::new(2);
    let mut arena = arena();
    let table = arena.open_table(TABLE, TableShape::fixed(8, 2000)).unwrap();
    arena.upsert(table, 1, &1u64.to_be_bytes()).unwrap();
    assert_eq!(spill_all(&mut arena, &mut machine.disk()), 1);
    let mut number = 1u64;
    while arena.spillable() == 0 {
        number += 1;
        arena.upsert(table, hash(&number.to_be_bytes()), &number.to_be_bytes()).unwrap();
        assert!(number < 10_000);
    }
    assert_eq!(arena.bytes_spilled(), SEGMENT_BYTES as u64, "it is full, and only then the next one is opened");
    assert_eq!(arena.spillable(), arena.bytes_used() - arena.bytes_spilled());
}

#[test]
fn on_a_full_disk_a_segment_stays_in_memory_and_is_spilled_when_there_is_space() {
    let machine = SimMachine::new(3);
    let mut disk = machine.disk();
    machine.set_capacity(SEGMENT_BYTES as u64 * 3 / 2);
    let (mut arena, table) = filled();
    assert!(arena.spill(&mut disk).unwrap() > 0);
    let (spilled, left) = (arena.bytes_spilled(), arena.spillable());
    for _ in 0..2 {
        assert_eq!(arena.spill(&mut disk).unwrap_err().kind, DiskErrorKind::NoSpace);
        assert_eq!((arena.bytes_spilled(), arena.spillable()), (spilled, left));
    }
    check(&mut arena, table, 0);
    machine.set_capacity(u64::MAX);
    assert!(spill_all(&mut arena, &mut disk) >= 2);
    check(&mut arena, table, 1);
    drop(arena);
    assert_eq!(machine.bytes(), 0, "its space goes with the arena");
}

#[test]
fn a_spilled_segment_that_is_empty_becomes_memory_again_but_not_under_a_frozen_image() {
    let machine = SimMachine::new(4);
    let mut disk = machine.disk();
    let (mut arena, table) = filled();
    let segments = spill_all(&mut arena, &mut disk) as u64;
    assert_eq!(machine.bytes(), segments * SEGMENT_BYTES as u64);
    arena.freeze();
    arena.drop_table(table).unwrap();
    arena.reclaim();
    assert_eq!(machine.bytes(), segments * SEGMENT_BYTES as u64, "the image is read from them");
    arena.thaw();
    arena.reclaim();
    assert_eq!(machine.bytes(), SEGMENT_BYTES as u64, "the page of table records keeps one");
    assert_eq!(arena.bytes_used(), arena.bytes_spilled());
    let table = arena.open_table(TABLE, TableShape::fixed(8, 40)).unwrap();
    for number in 0..KEYS {
        let (slot, _) = arena.upsert(table, hash(&number.to_be_bytes()), &number.to_be_bytes()).unwrap();
        let value = arena.value_mut(table, slot);
        assert!(value.iter().all(|byte| *byte == 0), "a page that is handed out is zero");
        value[..8].copy_from_slice(&number.to_le_bytes());
    }
    assert_eq!(arena.bytes_spilled(), SEGMENT_BYTES as u64);
    check(&mut arena, table, 0);
}
