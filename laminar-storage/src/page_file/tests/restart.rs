//! Claims of restored state: what is read when, and what a restart takes.

use super::*;
use crate::disk::{IoMode, RealDisk};

/// A file and its one arena, restored and not yet read back.
fn restored(machine: &SimMachine, mark: PageFileMark) -> (PageFile, Arena) {
    let (mut disk, path) = (machine.disk(), Path::new(PATH));
    let (file, mut arenas) = PageFile::restore(&mut disk, path, ShardId(0), &[mark], ArenaOptions::new).unwrap();
    (file, arenas.pop().unwrap())
}

/// Segments that were not read back yet.
fn missing(arena: &Arena) -> usize {
    let absent = arena.pages.region.absent();
    (0..arena.pages.segments()).filter(|segment| absent.is_some_and(|absent| absent.is_missing(*segment))).count()
}

/// Where one segment's bytes begin in the file, told by what stands in them.
fn place_of(machine: &SimMachine, needle: &[u8]) -> usize {
    let content = machine.content(Path::new(PATH)).unwrap();
    content.windows(needle.len()).rposition(|window| window == needle).unwrap()
}

#[test]
fn restored_state_is_used_before_it_was_read_and_what_cannot_be_read_is_found_by_the_loader() {
    let machine = SimMachine::new(1);
    let (mut disk, mut file, mut arena) = fresh(&machine);
    fill(&mut arena, 0..200_000, 1);
    let table = arena.open_table(TableKey { part: 1, ..TABLE }, TableShape::fixed(8, 8)).unwrap();
    let needle = 0x6e65_6564_6c65_2121_u64.to_le_bytes();
    let (slot, _) = arena.upsert(table, hash(&needle), &needle).unwrap();
    arena.value_mut(table, slot).copy_from_slice(&needle);
    checkpoint(&mut file, &mut disk, &mut arena).unwrap();
    fill(&mut arena, 0..50, 2);
    let mark = checkpoint(&mut file, &mut disk, &mut arena).unwrap();
    let segments = arena.pages.segments();
    assert!(segments > 4);

    let mut back = restored(&machine, mark).1;
    assert!(missing(&back) >= segments - 2, "a restart reads the map and the records only");
    assert_eq!((value(&mut back, 7), missing(&back) > 1), (Some(2), true), "a key is found, its delta applied");
    fill(&mut back, 199_990..200_010, 3);
    while back.load_step().unwrap() {}
    assert!(back.is_whole() && missing(&back) == 0);
    assert_eq!(
        (value(&mut back, 199_995), value(&mut back, 100_000), value(&mut back, 200_009)),
        (Some(3), Some(1), Some(3))
    );

    let mut bytes = machine.content(Path::new(PATH)).unwrap();
    let at = place_of(&machine, &needle);
    bytes[at] ^= 1;
    assert!(machine.overwrite(Path::new(PATH), bytes));
    let mut rotten = restored(&machine, mark).1;
    assert_eq!(value(&mut rotten, 7), Some(2), "what is sound can be used until the loader comes");
    let error = loop {
        match rotten.load_step() {
            Ok(more) => assert!(more, "the loader has passed over damage"),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&error, StorageError::Rot { offset, .. } if *offset as usize <= at && at < *offset as usize + (2 << 20))
    );
    assert!(!rotten.is_whole());
}

#[test]
#[should_panic(expected = "checksum")]
fn a_row_of_a_damaged_segment_is_never_read() {
    let machine = SimMachine::new(1);
    let (mut disk, mut file, mut arena) = fresh(&machine);
    fill(&mut arena, 0..100, 0x6e65_6564_6c65_2121);
    let mark = checkpoint(&mut file, &mut disk, &mut arena).unwrap();
    let at = place_of(&machine, &0x6e65_6564_6c65_2121_u64.to_le_bytes());
    let mut bytes = machine.content(Path::new(PATH)).unwrap();
    bytes[at] ^= 1;
    assert!(machine.overwrite(Path::new(PATH), bytes));
    value(&mut restored(&machine, mark).1, 0);
}

/// How many descriptors of this process name a file.
fn descriptors_of(path: &Path) -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| entry.unwrap().path().read_link().ok());
    links.filter(|link| link == path).count()
}

#[test]
fn a_restart_opens_a_page_file_once_however_many_arenas_it_holds() {
    let directory = tempfile::tempdir().unwrap();
    let mut disk = RealDisk::open(directory.path(), IoMode::Thread(None)).unwrap();
    let (path, full) = (Path::new(PATH), directory.path().canonicalize().unwrap().join(PATH));
    let mut file = PageFile::create(&mut disk, path, ShardId(0)).unwrap();
    let mut arenas: Vec<Arena> = (1..=40).map(|id| Arena::new(ArenaOptions::new(ObjectId(id))).unwrap()).collect();
    for arena in &mut arenas {
        fill(arena, 0..100, 1);
        arena.freeze();
    }
    let mark = write(&mut file, &mut disk, &mut arenas.iter_mut().collect::<Vec<_>>()).unwrap();
    file.close(&mut disk);
    assert_eq!(descriptors_of(&full), 0);
    let (file, mut arenas) = PageFile::restore(&mut disk, path, ShardId(0), &[mark], ArenaOptions::new).unwrap();
    assert_eq!((arenas.len(), descriptors_of(&full)), (40, 1));
    assert!(arenas.iter_mut().all(|arena| value(arena, 99) == Some(1)));
    drop(arenas);
    file.close(&mut disk);
    let wrong = PageFileMark { root_crc: !mark.root_crc, ..mark };
    assert!(PageFile::open(&mut disk, path, ShardId(0), &[wrong]).is_err());
    assert_eq!(descriptors_of(&full), 0, "a file that cannot be used is closed");
}

#[test]
fn a_step_of_the_first_checkpoint_after_a_restart_reads_back_one_segment_at_most() {
    let machine = SimMachine::new(1);
    let (mut disk, mut file, mut arena) = fresh(&machine);
    fill(&mut arena, 0..500_000, 1);
    checkpoint(&mut file, &mut disk, &mut arena).unwrap();
    // So many small deltas with blocks all over the arena that they become fewer.
    let mut mark = None;
    while file.arenas[&ObjectId(5)].deltas.len() < 70 {
        let number = file.arenas[&ObjectId(5)].deltas.len() as u64;
        fill(&mut arena, number * 104_729 % 500_000..number * 104_729 % 500_000 + 1, 2);
        fill(&mut arena, 0..3_000, 2);
        mark = Some(checkpoint(&mut file, &mut disk, &mut arena).unwrap());
    }
    let mark = mark.unwrap();
    let (mut file, mut back) = restored(&machine, mark);
    let (mut disk, before) = (machine.disk(), missing(&back));
    back.freeze();
    loop {
        let absent = missing(&back);
        let step = file.write_step(&mut back, &mut disk, &mut (1 << 20)).unwrap();
        assert!(absent - missing(&back) <= 1, "{} segments were read in one step", absent - missing(&back));
        match step {
            WriteStep::Done => break,
            WriteStep::More => {}
            WriteStep::Blocked => pump(&mut file, &mut disk).unwrap(),
        }
    }
    assert!(before - missing(&back) > 4, "the fold needs what was not read: {} of {before}", before - missing(&back));
}

#[test]
fn a_read_that_fails_behind_a_restart_is_told_by_the_loader_and_can_be_tried_again() {
    let machine = SimMachine::new(1);
    let (mut disk, mut file, mut arena) = fresh(&machine);
    fill(&mut arena, 0..200_000, 1);
    checkpoint(&mut file, &mut disk, &mut arena).unwrap();
    fill(&mut arena, 0..50, 2);
    let mark = checkpoint(&mut file, &mut disk, &mut arena).unwrap();
    let reads = |machine: &SimMachine| {
        let (_, mut back) = restored(machine, mark);
        let first = machine.looks();
        while back.load_step().unwrap() {}
        first..machine.looks()
    };
    let reads = reads(&machine.kill(0));
    assert!(reads.end > reads.start + 3, "{reads:?}");
    for read in reads {
        let blind = machine.kill(0);
        let (_, mut back) = restored(&blind, mark);
        blind.fail_look_at(read);
        let failed = loop {
            match back.load_step() {
                Ok(more) => assert!(more, "read {read} failed and nobody noticed"),
                Err(error) => break error,
            }
        };
        assert!(matches!(failed, StorageError::Disk { .. }), "{failed}");
        while back.load_step().unwrap() {}
        assert_eq!((value(&mut back, 49), value(&mut back, 199_999)), (Some(2), Some(1)));
    }
}

#[test]
#[should_panic(expected = "injected failure")]
fn a_row_whose_segment_cannot_be_read_is_never_answered() {
    let machine = SimMachine::new(1);
    let (mut disk, mut file, mut arena) = fresh(&machine);
    fill(&mut arena, 0..200_000, 1);
    let mark = checkpoint(&mut file, &mut disk, &mut arena).unwrap();
    let (_, mut back) = restored(&machine, mark);
    machine.fail_look_at(machine.looks());
    value(&mut back, 199_999);
}

#[test]
fn an_older_mark_that_does_not_verify_takes_no_space() {
    let machine = SimMachine::new(1);
    let (mut disk, mut file, mut arena) = fresh(&machine);
    let mut other = Arena::new(ArenaOptions::new(ObjectId(6))).unwrap();
    let mut marks = Vec::new();
    for round in 1..3 {
        fill(&mut arena, 0..round * 20_000, round);
        fill(&mut other, 0..100, round);
        arena.freeze();
        other.freeze();
        marks.push(write(&mut file, &mut disk, &mut [&mut arena, &mut other]).unwrap());
    }
    let table = file.retained[0].images[&ObjectId(6)].table_offset as usize;
    let mut bytes = machine.content(Path::new(PATH)).unwrap();
    bytes[table] ^= 1;
    assert!(machine.overwrite(Path::new(PATH), bytes));
    let free = |marks: &[PageFileMark]| {
        let file = PageFile::open(&mut machine.disk(), Path::new(PATH), ShardId(0), marks).unwrap();
        (file.retains(&marks[0]), file.free_bytes())
    };
    assert_eq!(free(&marks), (false, free(&marks[1..]).1));
}
