use std::path::Path;

use proptest::prelude::*;

use super::codec::Record;
use super::*;
use crate::disk::{Disk, DiskErrorKind, SimDisk, SimMachine};
use crate::ids::{CheckpointNumber, Epoch, Incarnation, IslandId, Lsn, ObjectId, OutboxPosition, ReactorId, ShardId};
use crate::log::DirectoryId;
use crate::wal::WalLog;

const DIRECTORY: DirectoryId = DirectoryId(0xD1);
const SMALL: PublisherOptions = PublisherOptions { append_bytes: 4096, reserve_bytes: 65536 };

fn entry(id: u64) -> CatalogEntry {
    CatalogEntry {
        id: ObjectId(id),
        name: format!("object_{id}"),
        kind: ObjectKind::View,
        sql: "CREATE MATERIALIZED VIEW v AS SELECT 1".to_owned(),
        plan: "{}".to_owned(),
        plan_version: 1,
        settings: String::new(),
    }
}

fn draft(n: u64) -> CheckpointDraft {
    let log = WalLog { incarnation: Incarnation(1), reactor: ReactorId(0) };
    CheckpointDraft {
        shard_count: 4,
        islands: vec![IslandState {
            island: IslandId(1),
            epoch: Epoch { incarnation: Incarnation(1), number: n as u32 },
            cursors: vec![Cursor { split: "trades/0".to_owned(), position: n.to_le_bytes().to_vec() }],
            pages: vec![PageFileMark { shard: ShardId(0), bytes: vec![n as u8; 20] }],
            outboxes: vec![OutboxMark {
                sink: ObjectId(7),
                shard: ShardId(0),
                position: OutboxPosition(n * 10),
                acknowledged: OutboxPosition(n * 9),
            }],
        }],
        wal: vec![WalMark { log, end: None, floor: Lsn(n * 100), shards: vec![(ShardId(1), Lsn(n * 100 + 5))] }],
    }
}

fn publisher(machine: &SimMachine) -> (SimDisk, Publisher) {
    let mut disk = machine.disk();
    let publisher =
        Publisher::start(&mut disk, DIRECTORY, Incarnation(1), ManifestFile::default(), Vec::new(), SMALL).unwrap();
    (disk, publisher)
}

fn add(id: u64) -> CatalogChange {
    CatalogChange { upserts: vec![entry(id)], drops: Vec::new() }
}

fn read_back(machine: &SimMachine) -> ManifestFile {
    read(&mut machine.disk(), DIRECTORY).unwrap().unwrap()
}

#[test]
fn what_was_published_is_read_back_over_many_files() {
    let machine = SimMachine::new(1);
    let (mut disk, mut publisher) = publisher(&machine);
    for n in 1..60 {
        let number = publisher.publish_checkpoint(&mut disk, draft(n)).unwrap();
        assert_eq!(publisher.publish_catalog(&mut disk, add(n)).unwrap(), n);
        let found = read_back(&machine.crash(n));
        let newest = found.checkpoints.last().unwrap();
        assert_eq!((newest.number, &newest.draft), (number, &draft(n)));
        assert_eq!(&found.catalog, publisher.catalog());
        assert_eq!(found.catalog.entries.len() as u64, n);
        assert!(!found.torn);
        for retained in &newest.retained {
            assert!(found.checkpoints.iter().any(|checkpoint| checkpoint.number == *retained));
        }
    }
    assert!(machine.trace().iter().filter(|op| op.what == "rename").count() > 3, "the test spans files");
}

#[test]
fn one_publish_costs_one_write_and_one_sync() {
    let machine = SimMachine::new(1);
    let (mut disk, mut publisher) = publisher(&machine);
    let before = machine.operations();
    publisher.publish_checkpoint(&mut disk, draft(1)).unwrap();
    publisher.publish_catalog(&mut disk, add(1)).unwrap();
    let done: Vec<_> = machine.trace()[before as usize..].iter().map(|op| op.what).collect();
    assert_eq!(done, ["write", "sync", "write", "sync"]);
}

#[test]
fn checkpoint_numbers_and_object_ids_are_never_given_twice() {
    let machine = SimMachine::new(1);
    let (mut disk, mut first) = publisher(&machine);
    let one = first.publish_checkpoint(&mut disk, draft(1)).unwrap();
    let two = first.publish_checkpoint(&mut disk, draft(2)).unwrap();
    first.publish_catalog(&mut disk, add(5)).unwrap();
    first.publish_catalog(&mut disk, CatalogChange { upserts: Vec::new(), drops: vec![ObjectId(5)] }).unwrap();
    assert!(one < two);
    let found = read_back(&machine);
    assert_eq!(found.catalog.next_object_id(), ObjectId(6));
    let kept = found.checkpoints.clone();
    let mut second = Publisher::start(&mut disk, DIRECTORY, Incarnation(2), found, kept, SMALL).unwrap();
    let three = second.publish_checkpoint(&mut disk, draft(3)).unwrap();
    assert_eq!(Epoch::from_u64(three.0), Epoch { incarnation: Incarnation(2), number: 1 });
    assert!(two < three);
}

#[test]
fn a_checkpoint_that_is_published_again_takes_its_own_place_and_the_older_one_stays() {
    let machine = SimMachine::new(1);
    let (mut disk, mut publisher) = publisher(&machine);
    let one = publisher.publish_checkpoint(&mut disk, draft(1)).unwrap();
    let two = publisher.publish_checkpoint(&mut disk, draft(2)).unwrap();
    let operations = machine.operations();
    publisher.publish_again(&mut disk, |_| {}).unwrap();
    assert_eq!(machine.operations(), operations, "nothing has changed, nothing is written");
    publisher.publish_again(&mut disk, |draft| draft.islands[0].outboxes[0].acknowledged = OutboxPosition(20)).unwrap();
    let found = read_back(&machine.crash(1));
    let newest = found.checkpoints.last().unwrap();
    assert!(newest.number > two, "a number is not given twice");
    assert_eq!(newest.retained, [one], "where the newest cannot be used, an older state still can");
    assert_eq!(newest.draft.islands[0].outboxes[0].acknowledged, OutboxPosition(20));
    assert_eq!(newest.draft.wal, draft(2).wal);
}

#[test]
fn a_number_given_before_may_leave_a_gap_and_never_comes_late() {
    let machine = SimMachine::new(1);
    let (mut disk, mut publisher) = publisher(&machine);
    let one = publisher.publish_checkpoint(&mut disk, draft(1)).unwrap();
    let three = CheckpointNumber(one.0 + 2);
    publisher.publish_numbered(&mut disk, three, draft(2)).unwrap();
    for late in [one, CheckpointNumber(one.0 + 1), three] {
        assert!(publisher.publish_numbered(&mut disk, late, draft(3)).is_err(), "{late} after {three}");
    }
    assert_eq!(publisher.next_number(), CheckpointNumber(three.0 + 1));
    assert_eq!(read_back(&machine).checkpoints.last().unwrap().number, three);
}

#[test]
fn two_checkpoints_are_kept() {
    let machine = SimMachine::new(1);
    let (mut disk, mut publisher) = publisher(&machine);
    let mut numbers = Vec::new();
    for n in 1..=3 {
        numbers.push(publisher.publish_checkpoint(&mut disk, draft(n)).unwrap());
    }
    let kept = |publisher: &Publisher| publisher.retention().kept().iter().map(|c| c.number).collect::<Vec<_>>();
    assert_eq!(kept(&publisher), numbers[1..]);
    assert_eq!(publisher.retention().wal_floor(draft(1).wal[0].log), Lsn(200));
}

#[test]
fn a_full_disk_is_survived_with_the_reserve_and_then_reported() {
    let machine = SimMachine::new(1);
    let (mut disk, mut publisher) = publisher(&machine);
    let used: usize = machine.files().iter().map(|path| machine.content(path).unwrap().len()).sum();
    machine.set_capacity(used as u64);
    assert!(publisher.has_reserve());
    let mut published = 0;
    let error = loop {
        match publisher.publish_catalog(&mut disk, add(published + 1)) {
            Ok(_) => published += 1,
            Err(error) => break error,
        }
    };
    assert!(published > 20 && !publisher.has_reserve());
    assert_eq!(error.code(), "LDB-1002");
    assert_eq!(read_back(&machine.crash(1)).catalog.version, published);
    machine.set_capacity(u64::MAX);
    publisher.publish_catalog(&mut disk, add(published + 1)).unwrap();
    publisher.refill_reserve(&mut disk).unwrap();
    assert!(publisher.has_reserve());
}

#[test]
fn a_failed_write_or_sync_is_final() {
    for after in 0..2 {
        let machine = SimMachine::new(1);
        let (mut disk, mut publisher) = publisher(&machine);
        publisher.publish_checkpoint(&mut disk, draft(1)).unwrap();
        machine.fail_at(machine.operations() + after, DiskErrorKind::Io);
        assert_eq!(publisher.publish_checkpoint(&mut disk, draft(2)).unwrap_err().code(), "LDB-1001");
        assert_eq!(publisher.publish_checkpoint(&mut disk, draft(2)).unwrap_err().code(), "LDB-1008");
        assert_eq!(publisher.publish_catalog(&mut disk, add(1)).unwrap_err().code(), "LDB-1008");
    }
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(any::<char>(), 0..12).prop_map(|chars| chars.into_iter().collect())
}

fn any_checkpoint() -> impl Strategy<Value = Checkpoint> {
    let mark = (
        any::<u32>(),
        any::<u16>(),
        any::<Option<u64>>(),
        any::<u64>(),
        prop::collection::vec(any::<(u16, u64)>(), 0..4),
    );
    let marks = prop::collection::vec(mark, 0..4);
    let pages = prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 0..40)), 0..4);
    let cursors = prop::collection::vec((text(), prop::collection::vec(any::<u8>(), 0..20)), 0..4);
    let outboxes = prop::collection::vec(any::<(u64, u16, u64)>(), 0..4);
    let islands = prop::collection::vec((any::<u64>(), any::<u64>(), cursors, pages, outboxes), 0..4);
    (any::<u64>(), any::<u32>(), any::<u64>(), prop::collection::vec(any::<u64>(), 0..3), islands, marks).prop_map(
        |(number, incarnation, catalog_version, retained, islands, marks)| Checkpoint {
            number: CheckpointNumber(number),
            incarnation: Incarnation(incarnation),
            catalog_version,
            retained: retained.into_iter().map(CheckpointNumber).collect(),
            draft: CheckpointDraft {
                shard_count: incarnation,
                islands: islands
                    .into_iter()
                    .map(|(island, epoch, cursors, pages, outboxes)| IslandState {
                        island: IslandId(island),
                        epoch: Epoch::from_u64(epoch),
                        cursors: cursors.into_iter().map(|(split, position)| Cursor { split, position }).collect(),
                        pages: pages
                            .into_iter()
                            .map(|(shard, bytes)| PageFileMark { shard: ShardId(shard), bytes })
                            .collect(),
                        outboxes: outboxes
                            .into_iter()
                            .map(|(sink, shard, position)| OutboxMark {
                                sink: ObjectId(sink),
                                shard: ShardId(shard),
                                position: OutboxPosition(position),
                                acknowledged: OutboxPosition(position / 2),
                            })
                            .collect(),
                    })
                    .collect(),
                wal: marks
                    .into_iter()
                    .map(|(incarnation, reactor, end, floor, shards)| WalMark {
                        log: WalLog { incarnation: Incarnation(incarnation), reactor: ReactorId(reactor) },
                        end: end.map(Lsn),
                        floor: Lsn(floor),
                        shards: shards.into_iter().map(|(shard, lsn)| (ShardId(shard), Lsn(lsn))).collect(),
                    })
                    .collect(),
            },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_record_reads_back_and_no_prefix_of_it_does(checkpoint in any_checkpoint()) {
        let record = Record::Checkpoint(checkpoint);
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        prop_assert_eq!(Record::decode(&bytes), Ok(record));
        for cut in 0..bytes.len() {
            prop_assert!(Record::decode(&bytes[..cut]).is_err());
        }
        bytes.push(0);
        prop_assert!(Record::decode(&bytes).is_err());
    }

    #[test]
    fn any_bytes_decode_to_a_record_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), code in 1_u8..5) {
        let mut input = vec![code];
        input.extend(bytes);
        let _ = Record::decode(&input);
        let machine = SimMachine::new(1);
        machine.disk().create(Path::new("MANIFEST")).unwrap();
        machine.overwrite(Path::new("MANIFEST"), input);
        prop_assert!(read(&mut machine.disk(), DIRECTORY).is_err());
    }
}

#[test]
fn record_bytes_are_frozen() {
    let mut checkpoint =
        Checkpoint { number: CheckpointNumber(3), incarnation: Incarnation(1), ..Checkpoint::default() };
    checkpoint.retained = vec![CheckpointNumber(2)];
    checkpoint.draft = draft(1);
    let mut bytes = Vec::new();
    Record::Checkpoint(checkpoint).encode(&mut bytes);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&bytes), FROZEN_CHECKPOINT);
    bytes.clear();
    Record::CatalogChange(CatalogChange { upserts: vec![entry(5)], drops: vec![ObjectId(4)] }).encode(&mut bytes);
    assert_eq!(hex(&bytes), FROZEN_CATALOG_CHANGE);
}
const FROZEN_CHECKPOINT: &str = "\
    0403000000000000000100000000000000000000000100000002000000000000000400000001000000010000000000000001\
    0000000100000001000000080000007472616465732f30080000000100000000000000010000000000140000000101010101\
    01010101010101010101010101010101000000070000000000000000000a00000000000000090000000000000001000000010000000000006400\
    000000000000010000000100690000000000000000000000";
const FROZEN_CATALOG_CHANGE: &str = "\
    03010000000500000000000000080000006f626a6563745f350426000000435245415445204d4154455249414c495a454420\
    5649455720762041532053454c4543542031020000007b7d0100000000000000010000000400000000000000";
