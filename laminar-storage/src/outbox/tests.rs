use super::*;
use crate::disk::{Disk, SimDisk, SimMachine};
use crate::ids::{Epoch, Incarnation, ObjectId, OutboxPosition, ShardId};
use crate::log::{DirectoryId, LogOptions};
use crate::wal::Wal;

const DIRECTORY: DirectoryId = DirectoryId(0xD1);
const OWNER: (ObjectId, ShardId) = (ObjectId(9), ShardId(2));
const SMALL: LogOptions =
    LogOptions { segment_bytes: 8192, max_record_bytes: 2048, max_group_bytes: 2048, max_pending_bytes: 1 << 20 };

fn epoch(number: u32) -> Epoch {
    Epoch { incarnation: Incarnation(1), number }
}

fn open(machine: &SimMachine, incarnation: u32, start: OutboxStart) -> (SimDisk, Outbox) {
    let mut disk = machine.disk();
    Wal::prepare_directories(&mut disk).unwrap();
    let outbox = Outbox::create(DIRECTORY, Incarnation(incarnation), start, SMALL).unwrap();
    (disk, outbox)
}

fn payloads(disk: &mut SimDisk, from: OutboxPosition, to: OutboxPosition) -> crate::Result<Vec<Vec<u8>>> {
    let reader = OutboxReader::new(DIRECTORY, OWNER.0, OWNER.1);
    let mut at = from;
    let mut all = Vec::new();
    while at < to {
        let frames = reader.read(disk, at, to, 3000)?;
        at = frames.last().unwrap().position;
        all.extend(frames.into_iter().map(|frame| frame.payload));
    }
    assert_eq!(at, to);
    Ok(all)
}

fn fill(disk: &mut SimDisk, outbox: &mut Outbox, numbers: std::ops::Range<u32>) -> OutboxPosition {
    for n in numbers {
        outbox.append(epoch(n), &[&n.to_le_bytes(), &[3; 600]]).unwrap();
        outbox.pump(disk).unwrap();
    }
    outbox.settle(disk).unwrap()
}

fn numbers(payloads: &[Vec<u8>]) -> Vec<u32> {
    payloads.iter().map(|payload| u32::from_le_bytes(payload[..4].try_into().unwrap())).collect()
}

#[test]
fn frames_come_back_between_any_two_checkpoints() {
    let machine = SimMachine::new(1);
    let (mut disk, mut outbox) = open(&machine, 1, OutboxStart::new(OWNER.0, OWNER.1));
    let first = fill(&mut disk, &mut outbox, 0..30);
    let second = fill(&mut disk, &mut outbox, 30..50);
    assert_eq!(outbox.synced(), second);
    let mut applier = machine.disk();
    assert_eq!(numbers(&payloads(&mut applier, OutboxPosition(0), second).unwrap()), (0..50).collect::<Vec<_>>());
    assert_eq!(numbers(&payloads(&mut applier, first, second).unwrap()), (30..50).collect::<Vec<_>>());
    let frame = OutboxReader::new(DIRECTORY, OWNER.0, OWNER.1).read(&mut applier, first, second, 1).unwrap();
    assert_eq!(frame[0].epoch, epoch(30));
}

#[test]
fn a_checkpoint_position_is_synced_only_after_the_sync() {
    let machine = SimMachine::new(1);
    let (mut disk, mut outbox) = open(&machine, 1, OutboxStart::new(OWNER.0, OWNER.1));
    outbox.append(epoch(1), &[b"row"]).unwrap();
    let wanted = outbox.sync_for_checkpoint();
    outbox.append(epoch(2), &[b"after the barrier"]).unwrap();
    let before = machine.counters().read().syncs;
    let mut arrived = Vec::new();
    while outbox.synced() < wanted {
        outbox.pump(&mut disk).unwrap();
        disk.completions(&mut arrived);
        for completion in arrived.drain(..) {
            assert!(outbox.complete(&mut disk, &completion).unwrap());
        }
    }
    assert_eq!(outbox.synced(), wanted, "the frame after the barrier is not part of it");
    assert!(machine.counters().read().syncs > before);
}

#[test]
fn recovery_cuts_to_the_manifest_and_goes_on_there() {
    let machine = SimMachine::new(1);
    let (mut disk, mut outbox) = open(&machine, 1, OutboxStart::new(OWNER.0, OWNER.1));
    let published = fill(&mut disk, &mut outbox, 0..25);
    fill(&mut disk, &mut outbox, 100..140);
    let mut machine = machine.crash(1);
    let mut position = published;
    for life in 2..6_u32 {
        let mut disk = machine.disk();
        let kept = cut(&mut disk, DIRECTORY, OWNER, position).unwrap();
        let start = OutboxStart { sink: OWNER.0, shard: OWNER.1, position, acknowledged: OutboxPosition(0), kept };
        let (mut disk, mut outbox) = open(&machine, life, start);
        let next = fill(&mut disk, &mut outbox, life * 1000..life * 1000 + 7);
        fill(&mut disk, &mut outbox, 100..140);
        let got = numbers(&payloads(&mut disk, OutboxPosition(0), next).unwrap());
        let expected: Vec<u32> = (0..25).chain((2..=life).flat_map(|life| life * 1000..life * 1000 + 7)).collect();
        assert_eq!(got, expected);
        position = next;
        machine = machine.crash(u64::from(life));
    }
}

#[test]
fn a_missing_or_damaged_frame_below_the_manifest_is_refused() {
    let machine = SimMachine::new(1);
    let (mut disk, mut outbox) = open(&machine, 1, OutboxStart::new(OWNER.0, OWNER.1));
    let published = fill(&mut disk, &mut outbox, 0..40);
    let files: Vec<_> = machine.files().into_iter().filter(|path| path.starts_with("outbox")).collect();
    assert!(files.len() > 2);
    for path in &files[..files.len() - 1] {
        let content = machine.content(path).unwrap();
        for sector in 0..content.len() / 512 {
            let mut bad = content.clone();
            bad[sector * 512 + 20] ^= 1;
            machine.overwrite(path, bad);
            match payloads(&mut machine.disk(), OutboxPosition(0), published) {
                Ok(found) => assert_eq!(numbers(&found), (0..40).collect::<Vec<_>>(), "rot in padding does not matter"),
                Err(error) => assert_eq!(error.code(), "LDB-1004"),
            }
            machine.overwrite(path, content.clone());
        }
        machine.delete(path);
        let mut disk = machine.disk();
        assert_eq!(payloads(&mut disk, OutboxPosition(0), published).unwrap_err().code(), "LDB-1004");
        cut(&mut disk, DIRECTORY, OWNER, published).unwrap();
        assert_eq!(payloads(&mut disk, OutboxPosition(0), published).unwrap_err().code(), "LDB-1004");
        disk.create(path).unwrap();
        machine.overwrite(path, content);
        assert_eq!(payloads(&mut disk, OutboxPosition(0), published).unwrap().len(), 40);
    }
}

#[test]
fn the_largest_frame_comes_back_and_a_larger_one_is_refused() {
    let machine = SimMachine::new(1);
    let (mut disk, mut outbox) = open(&machine, 1, OutboxStart::new(OWNER.0, OWNER.1));
    let largest = vec![7; largest_frame(&SMALL)];
    outbox.append(epoch(1), &[&largest]).unwrap();
    let error = outbox.append(epoch(1), &[&largest, b"x"]).unwrap_err();
    assert!(matches!(error, crate::StorageError::RecordTooLarge { bytes: 2049, limit: 2048 }), "{error}");
    outbox.append(epoch(1), &[b"x"]).unwrap();
    let end = outbox.settle(&mut disk).unwrap();
    assert_eq!(payloads(&mut disk, OutboxPosition(0), end).unwrap(), [largest, b"x".to_vec()]);
}

#[test]
fn files_go_when_the_marker_has_moved() {
    let machine = SimMachine::new(1);
    let (mut disk, mut outbox) = open(&machine, 1, OutboxStart::new(OWNER.0, OWNER.1));
    for _ in 0..20 {
        outbox.append(epoch(1), &[&[1; 1000]]).unwrap();
        outbox.settle(&mut disk).unwrap();
    }
    let files = machine.files().len();
    let end = outbox.position();
    outbox.release_to(&mut disk, end);
    outbox.settle(&mut disk).unwrap();
    assert!(machine.files().len() < files);
    outbox.append(epoch(2), &[b"x"]).unwrap();
}

/// Power cuts while segments are removed: what is left can be read from its first frame to the end.
#[test]
fn a_power_cut_while_segments_are_removed_leaves_no_hole() {
    let mut shorter = 0;
    for seed in 0..60 {
        let machine = SimMachine::new(seed);
        let mut disk = machine.disk();
        Wal::prepare_directories(&mut disk).unwrap();
        let mut outbox = Outbox::create(DIRECTORY, Incarnation(1), OutboxStart::new(OWNER.0, OWNER.1), SMALL).unwrap();
        let mut middle = OutboxPosition(0);
        for number in 0..40 {
            outbox.append(epoch(1), &[&[number; 1000]]).unwrap();
            let position = outbox.settle(&mut disk).unwrap();
            middle = if number == 29 { position } else { middle };
        }
        let published = outbox.position();
        let files = machine.files().len();
        outbox.release_to(&mut disk, middle);
        let mut arrived = Vec::new();
        for _ in 0..seed / 4 {
            disk.wait();
            disk.completions(&mut arrived);
            for completion in arrived.drain(..) {
                outbox.complete(&mut disk, &completion).unwrap();
            }
        }
        let after = machine.crash(seed);
        shorter += usize::from(after.files().len() < files);
        let mut disk = after.disk();
        let kept = cut(&mut disk, DIRECTORY, OWNER, published).unwrap();
        let found = payloads(&mut disk, kept[0].first, published).unwrap();
        assert!(found.len() >= 10, "seed {seed}: the released part ends at frame 30, {} are there", found.len());
    }
    assert!(shorter > 10, "segments were removed: {shorter}");
}

/// The target may be faster than the disk here: what it has counts as released once it is synced.
#[test]
fn what_the_target_has_before_the_sync_is_released_with_the_sync() {
    let machine = SimMachine::new(1);
    let (mut disk, mut outbox) = open(&machine, 1, OutboxStart::new(OWNER.0, OWNER.1));
    let position = outbox.append(epoch(1), &[b"frame"]).unwrap();
    outbox.release_to(&mut disk, position);
    assert_eq!(outbox.released(), OutboxPosition(0));
    outbox.settle(&mut disk).unwrap();
    assert_eq!(outbox.released(), position);
}
