use std::path::Path;

use super::*;
use crate::disk::SimMachine;
use crate::ids::{CheckpointNumber, Lsn, ReactorId};
use crate::log::{Known, LogOptions};
use crate::manifest::{CheckpointDraft, IslandState, WalMark};
use crate::wal::{Wal, WalLog};

const OPTIONS: RecoveryOptions = RecoveryOptions {
    fresh_directory: DirectoryId(0xFEED),
    publisher: PublisherOptions { append_bytes: 4096, reserve_bytes: 4096 },
};
const SMALL: LogOptions =
    LogOptions { segment_bytes: 4096, max_record_bytes: 1024, max_group_bytes: 1024, max_pending_bytes: 1 << 20 };

fn start(machine: &SimMachine) -> Result<Recovered> {
    recover(&mut machine.disk(), OPTIONS, &mut |_, _, _| Ok(()))
}

fn draft(machine: &SimMachine, recovered: &Recovered, shard_count: u32) -> CheckpointDraft {
    // One row in the WAL, contained in the state.
    let mut disk = machine.disk();
    let log = WalLog { incarnation: recovered.incarnation, reactor: ReactorId(0) };
    let mut wal = Wal::create(recovered.directory, log.incarnation, log.reactor, SMALL).unwrap();
    let floor = wal.append(ShardId(0), &[b"row"]).unwrap();
    wal.settle(&mut disk).unwrap();
    let islands = vec![IslandState::default()];
    CheckpointDraft { shard_count, islands, wal: vec![WalMark { log, end: None, floor, shards: Vec::new() }] }
}

/// A directory with two checkpoints: shard counts 1 and 2 tell them apart.
fn two_checkpoints() -> (SimMachine, [CheckpointNumber; 2]) {
    let machine = SimMachine::new(1);
    let mut disk = machine.disk();
    let mut recovered = recover(&mut disk, OPTIONS, &mut |_, _, _| Ok(())).unwrap();
    let mut draft = draft(&machine, &recovered, 1);
    let first = recovered.publisher.publish_checkpoint(&mut disk, draft.clone()).unwrap();
    draft.shard_count = 2;
    let second = recovered.publisher.publish_checkpoint(&mut disk, draft).unwrap();
    (machine.crash(1), [first, second])
}

#[test]
fn an_empty_directory_starts_and_each_start_counts_up() {
    let machine = SimMachine::new(1);
    for life in 1..5 {
        let recovered = start(&machine).unwrap();
        assert_eq!((recovered.incarnation, recovered.directory), (Incarnation(life), OPTIONS.fresh_directory));
        assert!(recovered.checkpoint.is_none() && recovered.notes.is_empty(), "{:?}", recovered.notes);
    }
    let trace = machine.trace();
    let made = trace.iter().filter(|op| op.what == "create directory").map(|op| op.path.as_path());
    assert_eq!(made.collect::<Vec<_>>(), ["wal", "outbox", "state"].map(Path::new), "those of docs/format.md");
}

#[test]
fn an_unusable_checkpoint_makes_recovery_fall_back_loudly() {
    let (machine, [first, second]) = two_checkpoints();
    let mut verify = |_: &mut dyn Disk, _: DirectoryId, checkpoint: &Checkpoint| match checkpoint.number == second {
        true => Err(StorageError::Rot { file: "state/x".to_owned(), offset: 7, detail: "checksum".to_owned() }),
        false => Ok(()),
    };
    let recovered = recover(&mut machine.disk(), OPTIONS, &mut verify).unwrap();
    let checkpoint = recovered.checkpoint.unwrap();
    assert_eq!((checkpoint.number, checkpoint.draft.shard_count), (first, 1));
    assert!(
        recovered.notes[0].contains("FELL BACK") && recovered.notes[0].contains("state/x"),
        "{:?}",
        recovered.notes
    );
    // The given-up checkpoint does not come back with the next start.
    assert_eq!(start(&machine).unwrap().checkpoint.unwrap().number, first);
}

#[test]
fn no_usable_checkpoint_stops_with_every_reason() {
    let (machine, numbers) = two_checkpoints();
    let rot = |_: &mut dyn Disk, _: DirectoryId, checkpoint: &Checkpoint| {
        Err(StorageError::Rot { file: format!("state-{}", checkpoint.number), offset: 0, detail: String::new() })
    };
    let error = recover(&mut machine.disk(), OPTIONS, &mut { rot }).err().unwrap();
    assert_eq!(error.code(), "LDB-1012");
    for number in numbers {
        assert!(error.to_string().contains(&format!("state-{number}")), "{error}");
    }
}

#[test]
fn an_incarnation_file_that_was_put_back_is_refused_however_often_the_start_is_tried() {
    let machine = SimMachine::new(1);
    start(&machine).unwrap();
    let path = Path::new("INCARNATION");
    let old = machine.content(path).unwrap();
    for _ in 0..3 {
        let mut disk = machine.disk();
        let mut recovered = recover(&mut disk, OPTIONS, &mut |_, _, _| Ok(())).unwrap();
        let draft = draft(&machine, &recovered, 1);
        recovered.publisher.publish_checkpoint(&mut disk, draft).unwrap();
    }
    machine.overwrite(path, old.clone());
    for _ in 0..6 {
        let error = start(&machine).err().unwrap();
        assert!(error.to_string().starts_with("LDB-1009: INCARNATION"), "{error}");
        assert_eq!(machine.content(path).unwrap(), old, "a start that is refused counts nothing up");
    }
}

#[test]
fn missing_parts_are_refused_and_named() {
    for (path, code) in
        [("INCARNATION", "LDB-1010"), ("MANIFEST", "LDB-1010"), ("wal/i0000000001-r00000-0000000000.wal", "LDB-1010")]
    {
        let (machine, _) = two_checkpoints();
        assert!(machine.delete(Path::new(path)), "{path}");
        let error = start(&machine).err().unwrap();
        assert_eq!(error.code(), code);
        let named = if path.starts_with("wal") { "incarnation 1, reactor 0" } else { path };
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[test]
fn files_of_another_directory_are_refused() {
    let (machine, _) = two_checkpoints();
    let other = SimMachine::new(2);
    let options = RecoveryOptions { fresh_directory: DirectoryId(1), ..OPTIONS };
    recover(&mut other.disk(), options, &mut |_, _, _| Ok(())).unwrap();
    machine.overwrite(Path::new("MANIFEST"), other.content(Path::new("MANIFEST")).unwrap());
    assert_eq!(start(&machine).err().unwrap().code(), "LDB-1009");
}

#[test]
fn one_bad_copy_of_the_incarnation_is_repaired_and_two_are_refused() {
    let (machine, _) = two_checkpoints();
    let path = Path::new("INCARNATION");
    for copy in [0, 4096] {
        let mut content = machine.content(path).unwrap();
        content[copy + 45] ^= 1;
        machine.overwrite(path, content);
        let recovered = start(&machine).unwrap();
        assert!(recovered.notes.iter().any(|note| note.contains("INCARNATION")), "{:?}", recovered.notes);
    }
    assert!(start(&machine).unwrap().notes.is_empty());
    let content = machine.content(path).unwrap();
    machine.overwrite(path, content.iter().map(|byte| byte ^ 1).collect());
    assert_eq!(start(&machine).err().unwrap().code(), "LDB-1009");
}

/// A directory with three rows in a WAL and no checkpoint.
fn three_rows() -> SimMachine {
    let machine = SimMachine::new(1);
    let recovered = start(&machine).unwrap();
    let mut disk = machine.disk();
    let mut wal = Wal::create(recovered.directory, recovered.incarnation, ReactorId(0), SMALL).unwrap();
    for row in 0..3_u8 {
        wal.append(ShardId(0), &[&[row]]).unwrap();
        wal.settle(&mut disk).unwrap();
    }
    machine
}

#[test]
fn damage_of_a_wal_record_that_is_needed_stops_the_start() {
    let machine = three_rows();
    let path = Path::new("wal/i0000000001-r00000-0000000000.wal");
    let mut content = machine.content(path).unwrap();
    content[45] ^= 1;
    machine.overwrite(path, content);
    let error = start(&machine).err().unwrap();
    assert_eq!(error.code(), "LDB-1004");
    assert!(error.to_string().contains("r00000-0000000000.wal is damaged at offset 0"), "{error}");
}

#[test]
fn the_second_reading_of_a_log_judges_its_end_only_where_it_differs_from_the_first() {
    let machine = three_rows();
    let mut recovered = start(&machine).unwrap();
    let replay = recovered.wal.remove(0);
    let read = |machine: &SimMachine, again: bool| {
        let mut disk = machine.disk();
        let from = (replay.log.incarnation, replay.log.reactor);
        let mut reader = match again {
            true => replay.open(&mut disk, recovered.directory)?,
            false => wal::Reader::open(&mut disk, recovered.directory, from, Lsn(0), Known::Durable(replay.end.0))?,
        };
        let before = machine.looks();
        while reader.next(&mut disk)?.is_some() {}
        Ok::<_, StorageError>((machine.looks() - before, reader.end().cloned()))
    };
    let ((first, end), (second, same)) = (read(&machine, false).unwrap(), read(&machine, true).unwrap());
    assert!(second < first && end == same, "{second} of {first} reads, {same:?} of {end:?}");
    // What was read before and is gone is as much damage as in the first reading.
    let path = Path::new("wal/i0000000001-r00000-0000000000.wal");
    assert!(machine.patch(path, 48, b"!"));
    let error = read(&machine, true).unwrap_err();
    assert!(matches!(error, StorageError::Rot { .. }), "{error}");
}
