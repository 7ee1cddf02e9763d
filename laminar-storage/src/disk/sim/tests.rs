use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::disk::{Blocking, Disk, DiskErrorKind, DiskOp, FileId, IoBuffer};

fn write_and_sync(machine: &SimMachine, path: &str, content: &[u8]) {
    let mut disk = machine.disk();
    let file = disk.create(Path::new(path)).unwrap();
    let mut blocking = Blocking::new(&mut disk);
    blocking.write(file, 0, content.to_vec()).unwrap();
    blocking.sync(file).unwrap();
    blocking.sync_dir(Path::new("")).unwrap();
}

#[test]
fn synced_bytes_survive_every_crash() {
    let machine = SimMachine::new(1);
    write_and_sync(&machine, "a", &[7; 3000]);
    for seed in 0..200 {
        assert_eq!(machine.crash(seed).content(Path::new("a")), Some(vec![7; 3000]));
    }
}

fn write_through(file: FileId, offset: u64, bytes: &[u8]) -> DiskOp {
    DiskOp::WriteThrough { file, offset, data: Arc::new(IoBuffer::from(bytes)) }
}

#[test]
fn what_was_written_through_survives_every_crash_and_what_lies_beside_it_need_not() {
    let machine = SimMachine::new(1);
    write_and_sync(&machine, "a", &[1; 8192]);
    let mut disk = machine.disk();
    let file = disk.open(Path::new("a")).unwrap();
    let mut blocking = Blocking::new(&mut disk);
    blocking.write(file, 512, vec![2; 512]).unwrap();
    blocking.write(file, 2048, vec![2; 512]).unwrap();
    blocking.run(write_through(file, 1024, &[3; 1536])).unwrap();
    let mut beside = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let left = machine.crash(seed).content(Path::new("a")).unwrap();
        assert_eq!(left[1024..2560], [3; 1536], "also where something else was on its way");
        beside.insert(left[512]);
    }
    assert_eq!(beside.into_iter().collect::<Vec<_>>(), [1, 2]);
    let next = machine.operations();
    machine.cut_power_at(next);
    blocking.run(write_through(file, 4096, &[4; 4096])).unwrap_err();
    let torn: std::collections::BTreeSet<_> =
        (0..100).map(|seed| machine.crash(seed).content(Path::new("a")).unwrap()[4096..].to_vec()).collect();
    assert!(torn.len() > 10, "one that does not complete may be torn anyhow: {}", torn.len());
}

#[test]
fn a_write_through_that_failed_makes_nothing_durable_any_more() {
    let machine = SimMachine::new(1);
    write_and_sync(&machine, "a", &[1; 2048]);
    let mut disk = machine.disk();
    let file = disk.open(Path::new("a")).unwrap();
    let mut blocking = Blocking::new(&mut disk);
    machine.fail_at(machine.operations(), DiskErrorKind::Io);
    blocking.run(write_through(file, 0, &[2; 2048])).unwrap_err();
    blocking.run(write_through(file, 0, &[3; 2048])).unwrap();
    assert_eq!(machine.crash_keeping(Kept::Nothing, 1).content(Path::new("a")), Some(vec![1; 2048]));
}

#[test]
fn unsynced_sectors_are_kept_lost_and_torn() {
    let machine = SimMachine::new(1);
    write_and_sync(&machine, "a", &[1; 2048]);
    let mut disk = machine.disk();
    let file = disk.open(Path::new("a")).unwrap();
    Blocking::new(&mut disk).write(file, 0, vec![2; 2048]).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..400 {
        let content = machine.crash(seed).content(Path::new("a")).unwrap();
        for sector in content.chunks(512) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is atomic");
        }
        seen.insert(content.chunks(512).map(|sector| sector[0]).collect::<Vec<_>>());
    }
    assert_eq!(seen.len(), 16, "every subset of four sectors is possible");
}

#[test]
fn unsynced_names_may_be_lost_and_synced_names_may_not() {
    let machine = SimMachine::new(1);
    write_and_sync(&machine, "old", b"x");
    let mut disk = machine.disk();
    let mut blocking = Blocking::new(&mut disk);
    blocking.run(DiskOp::Rename { from: "old".into(), to: "new".into() }).unwrap();
    let outcomes: std::collections::BTreeSet<_> = (0..50).map(|seed| machine.crash(seed).files()).collect();
    assert_eq!(outcomes.len(), 2);
    blocking.sync_dir(Path::new("")).unwrap();
    for seed in 0..50 {
        assert_eq!(machine.crash(seed).files(), vec![Path::new("new").to_owned()]);
    }
}

#[test]
fn process_death_keeps_the_page_cache_but_not_its_safety() {
    let machine = SimMachine::new(1);
    write_and_sync(&machine, "a", &[1; 512]);
    let mut disk = machine.disk();
    let file = disk.open(Path::new("a")).unwrap();
    Blocking::new(&mut disk).write(file, 0, vec![2; 512]).unwrap();
    let killed = machine.kill(3);
    assert_eq!(killed.content(Path::new("a")), Some(vec![2; 512]));
    let lost = (0..50).any(|seed| killed.crash(seed).content(Path::new("a")) == Some(vec![1; 512]));
    assert!(lost, "a later power cut can still lose it");
}

#[test]
fn a_sync_after_a_failed_sync_protects_nothing() {
    let machine = SimMachine::new(1);
    write_and_sync(&machine, "a", &[1; 512]);
    let mut disk = machine.disk();
    let file = disk.open(Path::new("a")).unwrap();
    let mut blocking = Blocking::new(&mut disk);
    blocking.write(file, 0, vec![2; 512]).unwrap();
    machine.fail_at(machine.operations(), DiskErrorKind::Io);
    assert_eq!(blocking.sync(file).unwrap_err().kind, DiskErrorKind::Io);
    blocking.sync(file).unwrap();
    assert!((0..50).any(|seed| machine.crash(seed).content(Path::new("a")) == Some(vec![1; 512])));
}

#[test]
fn after_the_power_cut_everything_fails_and_the_cut_operation_is_undecided() {
    let machine = SimMachine::new(1);
    write_and_sync(&machine, "a", &[1; 512]);
    let mut disk = machine.disk();
    let file = disk.open(Path::new("a")).unwrap();
    machine.cut_power_at(machine.operations());
    let mut blocking = Blocking::new(&mut disk);
    assert_eq!(blocking.write(file, 0, vec![2; 512]).unwrap_err().kind, DiskErrorKind::Dead);
    assert_eq!(blocking.sync(file).unwrap_err().kind, DiskErrorKind::Dead);
    let outcomes: std::collections::BTreeSet<_> =
        (0..100).map(|seed| machine.crash(seed).content(Path::new("a")).unwrap()[0]).collect();
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), vec![1, 2]);
}

#[test]
fn a_full_disk_refuses_growth_but_not_overwriting() {
    let machine = SimMachine::new(1);
    write_and_sync(&machine, "a", &[1; 1024]);
    machine.set_capacity(1024);
    let mut disk = machine.disk();
    let file = disk.open(Path::new("a")).unwrap();
    let mut blocking = Blocking::new(&mut disk);
    assert_eq!(blocking.write(file, 1024, vec![2; 1]).unwrap_err().kind, DiskErrorKind::NoSpace);
    blocking.write(file, 0, vec![2; 1024]).unwrap();
    let allocate = DiskOp::Allocate { file, offset: 0, len: 4096 };
    assert_eq!(blocking.run(allocate).unwrap_err().kind, DiskErrorKind::NoSpace);
}

#[test]
fn the_same_seed_gives_the_same_order_of_completions() {
    let order = |seed| {
        let machine = SimMachine::new(seed);
        machine.set_schedule(Schedule::Shuffled);
        let mut disk = machine.disk();
        let file = disk.create(Path::new("a")).unwrap();
        for n in 0..20 {
            disk.submit(DiskOp::Write { file, offset: n * 512, data: vec![n as u8; 512] });
        }
        let mut arrived = Vec::new();
        while arrived.len() < 20 {
            disk.wait();
            disk.completions(&mut arrived);
        }
        arrived.iter().map(|completion| completion.ticket.0).collect::<Vec<_>>()
    };
    assert_eq!(order(5), order(5));
    assert_ne!(order(5), order(6));
}

#[test]
fn a_power_cut_keeps_nothing_everything_or_everything_but_a_part_of_the_last_write() {
    let machine = SimMachine::new(1);
    write_and_sync(&machine, "a", &[1; 4096]);
    let mut disk = machine.disk();
    let file = disk.open(Path::new("a")).unwrap();
    Blocking::new(&mut disk).write(file, 0, vec![2; 1024]).unwrap();
    let left = |kept, seed| {
        let content = machine.crash_keeping(kept, seed).content(Path::new("a")).unwrap();
        content.chunks(512).map(|sector| sector[0]).collect::<Vec<_>>()
    };
    assert_eq!(left(Kept::Nothing, 1), [1; 8]);
    assert_eq!(left(Kept::All, 1), [2, 2, 1, 1, 1, 1, 1, 1]);
    let torn: std::collections::BTreeSet<_> = (0..100).map(|seed| left(Kept::Torn, seed)[..2].to_vec()).collect();
    assert_eq!(torn.len(), 4, "a write that was done is torn in each way");
    disk.submit(DiskOp::Write { file, offset: 2048, data: vec![3; 1024] });
    assert_eq!(left(Kept::Nothing, 1), [1; 8]);
    assert_eq!(left(Kept::All, 1), [2, 2, 1, 1, 3, 3, 1, 1], "what was on its way is done");
    let torn: std::collections::BTreeSet<_> = (0..100).map(|seed| left(Kept::Torn, seed)).collect();
    assert_eq!(torn.len(), 4, "the write on its way is torn in each way");
    assert!(torn.iter().all(|left| left[..4] == [2, 2, 1, 1]), "and no other: {torn:?}");
}

#[test]
fn a_short_write_leaves_a_beginning_and_a_failed_look_is_one() {
    let machine = SimMachine::new(3);
    write_and_sync(&machine, "a", &[1; 2048]);
    let mut disk = machine.disk();
    let file = disk.open(Path::new("a")).unwrap();
    machine.write_short_at(machine.operations());
    let failed = Blocking::new(&mut disk).write(file, 0, vec![2; 2048]).unwrap_err();
    assert_eq!(failed.kind, DiskErrorKind::NoSpace);
    let content = machine.content(Path::new("a")).unwrap();
    let written = content.iter().position(|byte| *byte == 1).unwrap();
    assert!(written > 0 && content[written..].iter().all(|byte| *byte == 1), "{written} bytes were written");
    machine.fail_look_at(machine.looks() + 1);
    assert_eq!(disk.len(file).unwrap(), 2048);
    assert_eq!(disk.read_at(file, 0, &mut [0; 8]).unwrap_err().kind, DiskErrorKind::Io);
    assert_eq!(disk.read_at(file, 0, &mut [0; 8]).unwrap(), 8);
}

#[test]
fn rot_changes_bytes_durably_and_a_cut_file_stays_cut() {
    let machine = SimMachine::new(1);
    write_and_sync(&machine, "a", &[1; 600]);
    assert!(machine.patch(Path::new("a"), 599, &[9, 9]) && !machine.patch(Path::new("b"), 0, &[9]));
    assert!(machine.cut(Path::new("a"), 900));
    let left = machine.crash(1).content(Path::new("a")).unwrap();
    assert_eq!((left.len(), left[598], left[599]), (600, 1, 9), "nothing grows");
    assert!(machine.cut(Path::new("a"), 10));
    assert_eq!(machine.crash(2).content(Path::new("a")), Some(vec![1; 10]));
}

#[test]
fn a_sync_makes_durable_whatever_was_written_cut_and_grown_before() {
    let mut synced = 0;
    let mut through = 0;
    for seed in 0..50 {
        let mut random = fastrand::Rng::with_seed(seed);
        let machine = SimMachine::new(seed);
        write_and_sync(&machine, "a", &[9; 20_000]);
        let mut disk = machine.disk();
        let file = disk.open(Path::new("a")).unwrap();
        let mut blocking = Blocking::new(&mut disk);
        for byte in 1..60 {
            match random.u32(..8) {
                0 => blocking.run(DiskOp::Truncate { file, len: random.u64(..40_000) }).unwrap(),
                1 => blocking.run(DiskOp::Allocate { file, offset: 0, len: random.u64(..40_000) }).unwrap(),
                2 => blocking.sync(file).unwrap(),
                3 => {
                    let (offset, bytes) = (random.u64(..30_000), vec![byte; random.usize(1..9_000)]);
                    blocking.run(write_through(file, offset, &bytes)).unwrap();
                    let left = machine.crash_keeping(Kept::Nothing, 1).content(Path::new("a")).unwrap();
                    assert_eq!(left[offset as usize..][..bytes.len()], bytes, "seed {seed}, step {byte}");
                    through += 1;
                }
                _ => blocking.write(file, random.u64(..30_000), vec![byte; random.usize(1..9_000)]).unwrap(),
            }
            if random.u32(..5) == 0 {
                blocking.sync(file).unwrap();
                let left = machine.crash_keeping(Kept::Nothing, 1).content(Path::new("a"));
                assert!(left == machine.content(Path::new("a")), "seed {seed}, step {byte}");
                synced += 1;
            }
        }
    }
    assert!(synced > 100 && through > 100, "{synced} {through}");
}
