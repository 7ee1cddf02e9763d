use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::StorageError;
use crate::disk::{Disk, DiskErrorKind, Schedule, SimDisk, SimMachine};
use crate::ids::{Incarnation, Lsn, ReactorId, ShardId};
use crate::log::{DirectoryId, Known, LogOptions};

const DIRECTORY: DirectoryId = DirectoryId(0xD1);
const PLACE: (Incarnation, ReactorId) = (Incarnation(1), ReactorId(0));
const SMALL: LogOptions =
    LogOptions { segment_bytes: 8192, max_record_bytes: 2048, max_group_bytes: 2048, max_pending_bytes: 1 << 20 };

fn start(machine: &SimMachine) -> (SimDisk, Wal) {
    let mut disk = machine.disk();
    Wal::prepare_directories(&mut disk).unwrap();
    (disk, Wal::create(DIRECTORY, PLACE.0, PLACE.1, SMALL).unwrap())
}

fn turn(disk: &mut SimDisk, wal: &mut Wal) -> crate::Result<()> {
    wal.pump(disk)?;
    let mut arrived = Vec::new();
    disk.completions(&mut arrived);
    for completion in arrived {
        assert!(wal.complete(disk, &completion)?);
    }
    Ok(())
}

fn read_all(machine: &SimMachine, from: Lsn, known: Lsn) -> crate::Result<Vec<WalRecord>> {
    let mut disk = machine.disk();
    let mut reader = Reader::open(&mut disk, DIRECTORY, PLACE, from, Known::Durable(known.0))?;
    let mut records = Vec::new();
    while let Some(record) = reader.next(&mut disk)? {
        records.push(record);
    }
    assert!(reader.end().is_some());
    Ok(records)
}

fn segment(number: u64) -> PathBuf {
    PathBuf::from(format!("wal/i0000000001-r00000-{number:010}.wal"))
}

#[test]
fn acknowledged_records_come_back_in_order_over_many_segments() {
    let machine = SimMachine::new(1);
    let (mut disk, mut wal) = start(&machine);
    let mut expected = Vec::new();
    for n in 0..200_u32 {
        let payload = vec![n as u8; (n % 700) as usize];
        let lsn = wal.append(ShardId(n as u16 % 4), &[&n.to_le_bytes(), &payload]).unwrap();
        expected.push(WalRecord {
            lsn,
            shard: ShardId(n as u16 % 4),
            payload: [&n.to_le_bytes()[..], &payload].concat(),
        });
        turn(&mut disk, &mut wal).unwrap();
    }
    wal.settle(&mut disk).unwrap();
    assert_eq!(wal.durable(), wal.appended());
    assert!(machine.files().len() > 5, "the test spans segments");
    for seed in 0..10 {
        assert_eq!(read_all(&machine.crash(seed), Lsn(0), wal.durable()).unwrap(), expected);
    }
    let half = expected[100].lsn;
    assert_eq!(read_all(&machine, half, half).unwrap(), expected[101..]);
}

#[test]
fn records_appended_during_a_sync_share_the_next_group() {
    let machine = SimMachine::new(1);
    let (mut disk, mut wal) = start(&machine);
    wal.append(ShardId(0), &[b"first"]).unwrap();
    wal.settle(&mut disk).unwrap();
    let before = machine.counters().read();
    for n in 0..100_u8 {
        wal.append(ShardId(0), &[&[n]]).unwrap();
    }
    wal.settle(&mut disk).unwrap();
    let after = machine.counters().read();
    assert_eq!((after.writes - before.writes, after.syncs - before.syncs), (1, 1));
}

#[test]
fn durable_never_passes_what_a_power_cut_keeps() {
    let machine = SimMachine::new(9);
    machine.set_schedule(Schedule::Shuffled);
    let (mut disk, mut wal) = start(&machine);
    for n in 0..300_u32 {
        wal.append(ShardId(0), &[&[n as u8; 100]]).unwrap();
        turn(&mut disk, &mut wal).unwrap();
        if n % 10 == 0 {
            let found = read_all(&machine.crash(u64::from(n)), Lsn(0), wal.durable()).unwrap();
            assert!(found.last().map_or(Lsn(0), |record| record.lsn) >= wal.durable());
        }
    }
}

#[test]
fn a_failed_write_is_final() {
    for kind in [DiskErrorKind::Io, DiskErrorKind::NoSpace] {
        let machine = SimMachine::new(1);
        let (mut disk, mut wal) = start(&machine);
        wal.append(ShardId(0), &[b"a"]).unwrap();
        wal.settle(&mut disk).unwrap();
        for life in 2..4 {
            machine.fail_at(machine.operations(), kind);
            wal.append(ShardId(0), &[b"b"]).unwrap();
            let error = wal.settle(&mut disk).unwrap_err();
            assert_eq!(error.code(), "LDB-1001");
            let durable = wal.durable();
            for refused in [wal.append(ShardId(0), &[b"c"]).map(|_| ()), wal.pump(&mut disk)] {
                assert_eq!(refused.unwrap_err().code(), "LDB-1008");
            }
            assert_eq!(wal.durable(), durable);
            let (new_disk, new_wal) = (machine.disk(), Wal::create(DIRECTORY, Incarnation(life), PLACE.1, SMALL));
            (disk, wal) = (new_disk, new_wal.unwrap());
            wal.append(ShardId(0), &[b"a"]).unwrap();
            wal.settle(&mut disk).unwrap();
        }
    }
}

#[test]
fn a_full_disk_holds_records_back_until_there_is_room() {
    let machine = SimMachine::new(1);
    let (mut disk, mut wal) = start(&machine);
    machine.set_capacity(4 * 8192);
    while !wal.is_out_of_space() {
        wal.append(ShardId(0), &[&[1; 1000]]).unwrap();
        turn(&mut disk, &mut wal).unwrap();
    }
    // More than is left in the segment.
    let appended = (0..5).map(|_| wal.append(ShardId(0), &[&[1; 2040]]).unwrap()).max().unwrap();
    for _ in 0..20 {
        turn(&mut disk, &mut wal).unwrap();
    }
    assert!(wal.durable() < appended);
    machine.set_capacity(u64::MAX);
    wal.settle(&mut disk).unwrap();
    assert_eq!(wal.durable(), appended);
}

#[test]
fn released_segments_are_used_again_and_their_old_records_never_come_back() {
    let machine = SimMachine::new(1);
    let (mut disk, mut wal) = start(&machine);
    let mut last = Vec::new();
    for n in 0..400_u32 {
        let lsn = wal.append(ShardId(0), &[&n.to_le_bytes(), &[7; 500]]).unwrap();
        last.push((lsn, n));
        wal.settle(&mut disk).unwrap();
        if n > 10 {
            wal.release_before(&mut disk, last[last.len() - 10].0);
        }
    }
    wal.settle(&mut disk).unwrap();
    assert!(machine.files().len() <= 5, "{:?}", machine.files());
    assert!(machine.trace().iter().filter(|op| op.what == "rename").count() > 5);
    let from = last[last.len() - 10].0;
    for seed in 0..20 {
        let found = read_all(&machine.crash(seed), from, wal.durable()).unwrap();
        let numbers: Vec<u32> =
            found.iter().map(|record| u32::from_le_bytes(record.payload[..4].try_into().unwrap())).collect();
        assert_eq!(numbers, (391..400).collect::<Vec<_>>());
    }
}

#[test]
fn a_record_above_the_limit_and_a_backlog_above_the_limit_are_refused() {
    let machine = SimMachine::new(1);
    let (_disk, mut wal) = start(&machine);
    assert_eq!(wal.append(ShardId(0), &[&[0; 2049]]).unwrap_err().code(), "LDB-1005");
    let error = (0..10_000).find_map(|_| wal.append(ShardId(0), &[&[0; 2048]]).err()).unwrap();
    assert_eq!(error.code(), "LDB-1006");
    assert!(wal.pending_bytes() <= SMALL.max_pending_bytes);
}

/// A log of ten groups in two segments, each acknowledged, closed with a horizon.
fn ten_groups() -> (SimMachine, Vec<Lsn>) {
    let machine = SimMachine::new(1);
    let (mut disk, mut wal) = start(&machine);
    let ends = (0..10_u8)
        .map(|n| {
            let lsn = wal.append(ShardId(0), &[&[n; 1200]]).unwrap();
            wal.settle(&mut disk).unwrap();
            lsn
        })
        .collect();
    wal.close(&mut disk).unwrap();
    (machine.crash(0), ends)
}

#[test]
fn damage_of_a_durable_record_is_refused_with_file_and_offset() {
    let (machine, ends) = ten_groups();
    let content = machine.content(&segment(0)).unwrap();
    for group in 0..5_usize {
        let mut bad = content.clone();
        bad[group * 1536 + 600] ^= 0x10;
        machine.overwrite(&segment(0), bad);
        match read_all(&machine, Lsn(0), Lsn(0)).unwrap_err() {
            StorageError::Rot { file, offset, .. } => {
                assert_eq!((file.as_str(), offset), (segment(0).to_str().unwrap(), group as u64 * 1536));
            }
            other => panic!("{other}"),
        }
        // A reader that starts behind the damage does not meet it.
        assert_eq!(read_all(&machine, ends[group], Lsn(0)).unwrap().len(), 9 - group);
    }
    machine.overwrite(&segment(0), content);
    assert_eq!(read_all(&machine, Lsn(0), Lsn(0)).unwrap().len(), 10);
    machine.delete(&segment(0));
    assert_eq!(read_all(&machine, Lsn(0), Lsn(0)).unwrap_err().code(), "LDB-1004");
}

#[test]
fn an_unsynced_tail_is_cut_but_not_below_what_the_manifest_knows() {
    let machine = SimMachine::new(1);
    let (mut disk, mut wal) = start(&machine);
    let first = wal.append(ShardId(0), &[&[1; 700]]).unwrap();
    wal.settle(&mut disk).unwrap();
    let second = wal.append(ShardId(0), &[&[2; 700]]).unwrap();
    machine.cut_power_at(machine.operations());
    let lost = wal.settle(&mut disk).unwrap_err();
    assert!(matches!(&lost, StorageError::Disk { source, .. } if source.kind == DiskErrorKind::Dead), "{lost}");
    let mut cut = 0;
    for seed in 0..50 {
        let after = machine.crash(seed);
        let found = read_all(&after, Lsn(0), first).unwrap();
        assert!((1..=2).contains(&found.len()));
        if found.len() == 1 {
            cut += 1;
            assert_eq!(read_all(&after, Lsn(0), second).unwrap_err().code(), "LDB-1004");
        }
    }
    assert!(cut > 5);
}

#[test]
fn hostile_bytes_end_in_an_error_and_in_no_large_allocation() {
    let machine = SimMachine::new(1);
    let (mut disk, _) = start(&machine);
    disk.create(&segment(0)).unwrap();
    let mut seed = 1_u64;
    for len in [0, 1, 39, 40, 41, 511, 512, 4096] {
        for _ in 0..50 {
            let mut content: Vec<u8> = (0..len)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (seed >> 56) as u8
                })
                .collect();
            if len >= 4 {
                content[..4].copy_from_slice(b"LDBw");
            }
            machine.overwrite(&segment(0), content);
            match read_all(&machine, Lsn(0), Lsn(0)) {
                Ok(found) => assert_eq!(found, Vec::new()),
                Err(error) => assert!(error.code() == "LDB-1004" && len % 512 != 0, "{error}"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Against a plain vector: whatever is appended, pumped, released and cut, recovery returns a
    /// prefix that holds all that was acknowledged.
    #[test]
    fn recovery_returns_a_prefix_that_holds_all_that_was_acknowledged(
        seed in any::<u64>(),
        sizes in prop::collection::vec(0_usize..2048, 1..60),
        pumps in prop::collection::vec(0_usize..4, 60),
        cut in 0_u64..120,
    ) {
        let machine = SimMachine::new(seed);
        machine.set_schedule(Schedule::Shuffled);
        let (mut disk, mut wal) = start(&machine);
        machine.cut_power_at(machine.operations() + cut);
        let mut oracle = Vec::new();
        'run: for (n, size) in sizes.iter().enumerate() {
            let payload = vec![n as u8; *size];
            let lsn = wal.append(ShardId(n as u16), &[&payload]).unwrap();
            oracle.push(WalRecord { lsn, shard: ShardId(n as u16), payload });
            for _ in 0..pumps[n] {
                if turn(&mut disk, &mut wal).is_err() {
                    break 'run;
                }
            }
        }
        let durable = wal.durable();
        let found = read_all(&machine.crash(seed ^ 1), Lsn(0), durable).unwrap();
        prop_assert!(found.len() <= oracle.len());
        prop_assert_eq!(&found[..], &oracle[..found.len()]);
        prop_assert!(found.last().map_or(Lsn(0), |record| record.lsn) >= durable);
    }
}
