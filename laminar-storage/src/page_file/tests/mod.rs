//! Claims of the page file on the simulated disk.

mod cost;
mod differential;
mod restart;
mod vectors;

use super::*;
use crate::arena::{Arena, ArenaOptions, TableKey, TableShape};
use crate::disk::{Disk, SimDisk, SimMachine};
use crate::error::{Result, StorageError};
use crate::ids::{ObjectId, OperatorId, ShardId};
use std::path::{Path, PathBuf};

const PATH: &str = "shard-0.pages";
const TABLE: TableKey = TableKey { operator: OperatorId(3), part: 0 };

fn hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

/// Runs a checkpoint of already frozen arenas to its end.
fn write(file: &mut PageFile, disk: &mut dyn Disk, arenas: &mut [&mut Arena]) -> Result<PageFileMark> {
    for arena in arenas {
        while file.write_step(arena, disk, &mut (64 << 10))? != WriteStep::Done {
            pump(file, disk)?;
        }
    }
    loop {
        if let Finish::Done(mark) = file.finish(disk)? {
            return Ok(mark);
        }
        pump(file, disk)?;
    }
}

fn pump(file: &mut PageFile, disk: &mut dyn Disk) -> Result<()> {
    let mut arrived = Vec::new();
    disk.wait();
    disk.completions(&mut arrived);
    for completion in &arrived {
        assert!(file.complete(completion)?);
    }
    Ok(())
}

fn checkpoint(file: &mut PageFile, disk: &mut dyn Disk, arena: &mut Arena) -> Result<PageFileMark> {
    arena.freeze();
    write(file, disk, &mut [arena])
}

fn fill(arena: &mut Arena, range: std::ops::Range<u64>, value: u64) {
    let table = arena.open_table(TABLE, TableShape::fixed(8, 16)).unwrap();
    for number in range {
        let key = number.to_be_bytes();
        let (slot, _) = arena.upsert(table, hash(&key), &key).unwrap();
        arena.value_mut(table, slot)[..8].copy_from_slice(&value.to_le_bytes());
    }
}

fn value(arena: &mut Arena, number: u64) -> Option<u64> {
    let table = arena.open_table(TABLE, TableShape::fixed(8, 16)).unwrap();
    let key = number.to_be_bytes();
    let slot = arena.get(table, hash(&key), &key)?;
    Some(u64::from_le_bytes(arena.value(table, slot)[..8].try_into().unwrap()))
}

fn load(disk: &mut SimDisk, marks: &[PageFileMark]) -> Result<(PageFile, Vec<Arena>)> {
    PageFile::load(disk, Path::new(PATH), ShardId(0), marks, ArenaOptions::new)
}

fn fresh(machine: &SimMachine) -> (SimDisk, PageFile, Arena) {
    let mut disk = machine.disk();
    let file = PageFile::create(&mut disk, Path::new(PATH), ShardId(0)).unwrap();
    (disk, file, Arena::new(ArenaOptions::new(ObjectId(5))).unwrap())
}

#[test]
fn a_loaded_arena_is_the_frozen_one_and_not_what_was_stored_meanwhile() {
    let machine = SimMachine::new(1);
    let (mut disk, mut file, mut arena) = fresh(&machine);
    fill(&mut arena, 0..60_000, 1);
    checkpoint(&mut file, &mut disk, &mut arena).unwrap();
    fill(&mut arena, 0..500, 2);
    fill(&mut arena, 60_000..60_500, 2);
    arena.freeze();
    fill(&mut arena, 0..30_000, 3);
    fill(&mut arena, 70_000..90_000, 3);
    let mark = write(&mut file, &mut disk, &mut [&mut arena]).unwrap();
    let mut after = machine.crash(2).disk();
    let (_, mut arenas) = load(&mut after, &[mark]).unwrap();
    let loaded = &mut arenas[0];
    for (number, expected) in [(0, Some(2)), (499, Some(2)), (500, Some(1)), (59_999, Some(1))] {
        assert_eq!(value(loaded, number), expected, "key {number}");
    }
    assert_eq!((value(loaded, 60_400), value(loaded, 70_000)), (Some(2), None));
    let table = loaded.open_table(TABLE, TableShape::fixed(8, 16)).unwrap();
    assert_eq!(loaded.len(table), 60_500);
}

#[test]
fn an_unchanged_shard_costs_nothing_and_a_changed_one_costs_one_sync() {
    let machine = SimMachine::new(1);
    let (mut disk, mut file, mut arena) = fresh(&machine);
    let mut other = Arena::new(ArenaOptions::new(ObjectId(6))).unwrap();
    fill(&mut arena, 0..5_000, 1);
    fill(&mut other, 0..5_000, 1);
    arena.freeze();
    other.freeze();
    let first = write(&mut file, &mut disk, &mut [&mut arena, &mut other]).unwrap();
    let before = (machine.counters().read(), file.written_bytes());
    assert!(!arena.is_changed());
    assert_eq!(write(&mut file, &mut disk, &mut []).unwrap(), first);
    assert_eq!(machine.counters().read(), before.0);
    fill(&mut other, 7..8, 2);
    checkpoint(&mut file, &mut disk, &mut other).unwrap();
    assert_eq!(machine.counters().read().syncs, before.0.syncs + 1);
    assert!(file.written_bytes() - before.1 <= 3 * 4096, "delta, table and root");
}

#[test]
fn a_frozen_image_that_is_given_up_is_in_the_next_one() {
    let machine = SimMachine::new(1);
    let (mut disk, mut file, mut arena) = fresh(&machine);
    fill(&mut arena, 0..50_000, 1);
    checkpoint(&mut file, &mut disk, &mut arena).unwrap();
    for steps in 0..16 {
        fill(&mut arena, 0..40_000, 100 + steps);
        arena.freeze();
        for _ in 0..steps {
            file.write_step(&mut arena, &mut disk, &mut (32 << 10)).unwrap();
            pump(&mut file, &mut disk).unwrap();
        }
        fill(&mut arena, 40_000..40_010, 100 + steps);
        file.abandon(&mut arena);
        let mark = checkpoint(&mut file, &mut disk, &mut arena).unwrap();
        let (_, mut arenas) = load(&mut machine.crash(steps).disk(), &[mark]).unwrap();
        for number in [0, 39_999, 40_009] {
            assert_eq!(value(&mut arenas[0], number), Some(100 + steps), "key {number} after {steps} steps");
        }
        assert_eq!(value(&mut arenas[0], 40_010), Some(1));
    }
}

#[test]
fn a_mark_stays_loadable_until_it_is_released_and_space_comes_back_after() {
    let machine = SimMachine::new(1);
    let (mut disk, mut file, mut arena) = fresh(&machine);
    let mut marks: Vec<(PageFileMark, u64)> = Vec::new();
    let mut longest = 0;
    for round in 0..60u64 {
        let from = round * 7_919 % 40_000;
        fill(&mut arena, from..from + 3_000, round);
        fill(&mut arena, 0..1, round);
        let mark = checkpoint(&mut file, &mut disk, &mut arena).unwrap();
        marks.push((mark, round));
        if marks.len() > 3 {
            marks.remove(0);
        }
        let kept: Vec<_> = marks.iter().map(|(mark, _)| *mark).collect();
        file.retain_only(&kept);
        if round % 10 == 9 {
            for last in 1..=kept.len() {
                let mut disk = machine.crash(round).disk();
                let (_, mut arenas) = load(&mut disk, &kept[..last]).unwrap();
                assert_eq!(value(&mut arenas[0], 0), Some(marks[last - 1].1));
            }
        }
        if round == 30 {
            longest = file.file_bytes();
        }
    }
    assert!(file.file_bytes() <= longest * 3 / 2, "the file settles: {} then {}", longest, file.file_bytes());
}

#[test]
fn a_reopened_file_overwrites_nothing_that_a_mark_names() {
    let machine = SimMachine::new(1);
    let (mut disk, mut file, mut arena) = fresh(&machine);
    fill(&mut arena, 0..30_000, 1);
    let mut previous = checkpoint(&mut file, &mut disk, &mut arena).unwrap();
    let mut expected = 1;
    for round in 2..20 {
        let mut disk = machine.disk();
        let (mut file, mut arenas) = load(&mut disk, &[previous]).unwrap();
        assert_eq!(value(&mut arenas[0], 100), Some(expected));
        fill(&mut arenas[0], 0..round * 1_000, round);
        expected = round;
        let mark = checkpoint(&mut file, &mut disk, &mut arenas[0]).unwrap();
        let (_, mut old) = load(&mut machine.crash(round).disk(), &[previous]).unwrap();
        assert_eq!(value(&mut old[0], 100), Some(round - 1));
        previous = mark;
    }
}

#[test]
fn a_dropped_arena_gives_its_slots_back_when_no_mark_names_it() {
    let machine = SimMachine::new(1);
    let (mut disk, mut file, mut arena) = fresh(&machine);
    fill(&mut arena, 0..100_000, 1);
    let first = checkpoint(&mut file, &mut disk, &mut arena).unwrap();
    let used = file.file_bytes() - file.free_bytes();
    file.drop_arena(ObjectId(5));
    let second = write(&mut file, &mut disk, &mut []).unwrap();
    assert!(file.file_bytes() - file.free_bytes() >= used, "the first mark still names it");
    assert_eq!(load(&mut machine.disk(), &[first]).unwrap().1.len(), 1);
    file.retain_only(&[second]);
    assert!(file.file_bytes() - file.free_bytes() <= 3 * 4096, "header and root");
    assert!(load(&mut machine.disk(), &[second]).unwrap().1.is_empty());
}

#[test]
fn a_full_disk_is_an_error_that_can_be_waited_out() {
    let machine = SimMachine::new(1);
    let (mut disk, mut file, mut arena) = fresh(&machine);
    fill(&mut arena, 0..10, 1);
    checkpoint(&mut file, &mut disk, &mut arena).unwrap();
    machine.set_capacity(file.file_bytes() + (1 << 20));
    fill(&mut arena, 0..200_000, 2);
    arena.freeze();
    let error = write(&mut file, &mut disk, &mut [&mut arena]).unwrap_err();
    assert!(matches!(error, StorageError::NoSpace { .. }), "{error}");
    machine.set_capacity(u64::MAX);
    let mark = write(&mut file, &mut disk, &mut [&mut arena]).unwrap();
    let (_, mut arenas) = load(&mut machine.crash(1).disk(), &[mark]).unwrap();
    assert_eq!(value(&mut arenas[0], 199_999), Some(2));
}

#[test]
fn a_failed_write_or_sync_is_final() {
    for skip in 0..4 {
        let machine = SimMachine::new(1);
        let (mut disk, mut file, mut arena) = fresh(&machine);
        fill(&mut arena, 0..10_000, 1);
        checkpoint(&mut file, &mut disk, &mut arena).unwrap();
        fill(&mut arena, 0..10, 2);
        machine.fail_at(machine.operations() + skip, crate::disk::DiskErrorKind::Io);
        let first = checkpoint(&mut file, &mut disk, &mut arena);
        if skip < 2 {
            assert!(matches!(first, Err(StorageError::Disk { .. })));
            assert!(matches!(file.finish(&mut disk), Err(StorageError::LogFailed { .. })));
        } else {
            assert!(first.is_ok(), "two operations make this checkpoint: one joined write and one sync");
        }
    }
}

#[test]
fn an_arena_goes_back_to_its_last_mark_alone() {
    let machine = SimMachine::new(1);
    let (mut disk, mut file, mut arena) = fresh(&machine);
    let mut other = Arena::new(ArenaOptions::new(ObjectId(6))).unwrap();
    fill(&mut arena, 0..20_000, 1);
    fill(&mut other, 0..20_000, 1);
    arena.freeze();
    other.freeze();
    write(&mut file, &mut disk, &mut [&mut arena, &mut other]).unwrap();
    fill(&mut arena, 0..20_000, 2);
    fill(&mut other, 0..100, 2);
    arena.freeze();
    file.write_step(&mut arena, &mut disk, &mut (128 << 10)).unwrap();
    file.abandon(&mut arena);
    pump(&mut file, &mut disk).unwrap();
    let mut back = file.load_arena(&mut disk, ArenaOptions::new(ObjectId(5))).unwrap();
    assert_eq!((value(&mut back, 0), value(&mut other, 0)), (Some(1), Some(2)));
    fill(&mut back, 5..6, 9);
    other.freeze();
    back.freeze();
    let mark = write(&mut file, &mut disk, &mut [&mut other, &mut back]).unwrap();
    let (_, mut arenas) = load(&mut machine.crash(3).disk(), &[mark]).unwrap();
    assert_eq!((value(&mut arenas[0], 5), value(&mut arenas[0], 6)), (Some(9), Some(1)));
    assert_eq!((value(&mut arenas[1], 99), value(&mut arenas[1], 100)), (Some(2), Some(1)));
}

#[test]
fn a_mark_survives_its_encoding_and_a_flipped_bit_does_not() {
    let machine = SimMachine::new(1);
    let (mut disk, mut file, mut arena) = fresh(&machine);
    let mark = checkpoint(&mut file, &mut disk, &mut arena).unwrap();
    assert_eq!(PageFileMark::decode(&mark.encode()), Some(mark));
    for bit in 0..MARK_BYTES * 8 {
        let mut bytes = mark.encode();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(PageFileMark::decode(&bytes), None, "bit {bit}");
    }
}

#[test]
fn rot_in_any_page_that_the_mark_needs_is_named_and_never_loaded() {
    let machine = SimMachine::new(1);
    let (mut disk, mut file, mut arena) = fresh(&machine);
    fill(&mut arena, 0..12_000, 1);
    checkpoint(&mut file, &mut disk, &mut arena).unwrap();
    fill(&mut arena, 0..100, 2);
    let mark = checkpoint(&mut file, &mut disk, &mut arena).unwrap();
    file.retain_only(&[mark]);
    let content = machine.content(Path::new(PATH)).unwrap();
    let (mut refused, mut harmless) = (0, 0);
    for at in (0..content.len()).step_by(4096) {
        let rotten = SimMachine::new(1);
        let mut disk = rotten.disk();
        let _ = disk.create(Path::new(PATH)).unwrap();
        let mut bytes = content.clone();
        bytes[at + 17] ^= 0x40;
        assert!(rotten.overwrite(Path::new(PATH), bytes));
        match load(&mut disk, &[mark]) {
            Err(StorageError::Rot { file, offset, .. }) => {
                assert_eq!(file, PATH);
                assert!(offset as usize <= at && at < offset as usize + (2 << 20));
                refused += 1;
            }
            Err(error) => panic!("{error}"),
            Ok((_, mut arenas)) => {
                assert_eq!((value(&mut arenas[0], 99), value(&mut arenas[0], 11_999)), (Some(2), Some(1)));
                harmless += 1;
            }
        }
    }
    assert!(refused > 100 && harmless > 0, "{refused} pages matter, {harmless} do not");
}

#[test]
fn a_file_that_no_mark_names_is_begun_anew() {
    for cut in 0..12 {
        let machine = SimMachine::new(1);
        machine.cut_power_at(cut);
        let mut disk = machine.disk();
        let path = PathBuf::from("state/0004.pages");
        let attempt = |disk: &mut SimDisk, value| -> Result<PageFileMark> {
            let mut file = PageFile::create(disk, &path, ShardId(4))?;
            let mut arena = Arena::new(ArenaOptions::new(ObjectId(5)))?;
            fill(&mut arena, 0..5_000, value);
            checkpoint(&mut file, disk, &mut arena)
        };
        let first = attempt(&mut disk, 1);
        let machine = machine.crash(cut);
        if let Ok(mark) = first {
            PageFile::load(&mut machine.disk(), &path, ShardId(4), &[mark], ArenaOptions::new).unwrap();
        }
        let mark = attempt(&mut machine.disk(), 2).unwrap();
        let after = machine.crash(cut);
        let (_, mut arenas) = PageFile::load(&mut after.disk(), &path, ShardId(4), &[mark], ArenaOptions::new).unwrap();
        assert_eq!(value(&mut arenas[0], 4_999), Some(2), "cut at {cut}");
    }
}
