//! Rot of the write-ahead log and of an outbox.

use std::path::PathBuf;

use super::damage::Plan;
use super::subject::{Subject, Tally, witnesses};
use crate::Result;
use crate::disk::SimMachine;
use crate::ids::{Epoch, Incarnation, Lsn, ObjectId, OutboxPosition, ReactorId, ShardId};
use crate::log::{DirectoryId, Known, LogOptions};
use crate::outbox::{self, Outbox, OutboxFrame, OutboxReader, OutboxStart};
use crate::wal::{Reader, Wal, WalRecord};

const DIRECTORY: DirectoryId = DirectoryId(0xD1);
const LIFE: Incarnation = Incarnation(3);
const REACTOR: ReactorId = ReactorId(1);
const OWNER: (ObjectId, ShardId) = (ObjectId(9), ShardId(2));
const SMALL: LogOptions =
    LogOptions { segment_bytes: 4096, max_record_bytes: 1024, max_group_bytes: 1024, max_pending_bytes: 1 << 20 };
/// Files of 4 KiB are read.
const MEMORY: usize = 16 << 10;

/// Whether the writer has ended its log.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Ending {
    /// By a stamp: everything is covered.
    Closed,
    /// By a kill: the last group is covered by nothing.
    Killed,
}

fn log(directory: DirectoryId, ending: Ending) -> SimMachine {
    let machine = SimMachine::new(1);
    let mut disk = machine.disk();
    Wal::prepare_directories(&mut disk).unwrap();
    let mut wal = Wal::create(directory, LIFE, REACTOR, SMALL).unwrap();
    for n in 0..11_usize {
        for part in 0..1 + n % 2 {
            wal.append(ShardId(part as u16), &[&vec![n as u8 + 1; n * 97 % 450]]).unwrap();
        }
        wal.settle(&mut disk).unwrap();
    }
    if ending == Ending::Closed {
        wal.close(&mut disk).unwrap();
    }
    machine.crash(0)
}

fn records(machine: &SimMachine, known: Lsn) -> Result<Vec<WalRecord>> {
    let disk = &mut machine.disk();
    let mut reader = Reader::open(disk, DIRECTORY, (LIFE, REACTOR), Lsn(0), Known::Durable(known.0))?;
    let mut found = Vec::new();
    while let Some(record) = reader.next(disk)? {
        found.push(record);
    }
    Ok(found)
}

/// The segments in which something stands.
fn used(machine: &SimMachine, directory: &str) -> Vec<PathBuf> {
    let mut files = machine.files();
    let holds = |path: &PathBuf| machine.content(path).unwrap().iter().any(|byte| *byte != 0);
    files.retain(|path| path.starts_with(directory) && holds(path));
    files
}

fn contents(machine: &SimMachine, paths: &[PathBuf]) -> Vec<Vec<u8>> {
    paths.iter().map(|path| machine.content(path).unwrap()).collect()
}

fn sectors(files: &[Vec<u8>]) -> Vec<Vec<u8>> {
    files.iter().flat_map(|content| content.chunks(512).map(<[u8]>::to_vec)).collect()
}

/// The log of one life, damaged in each of its segments.
pub(super) fn suffer_wal(ending: Ending) -> Tally {
    let machine = log(DIRECTORY, ending);
    let all = records(&machine, Lsn(0)).unwrap();
    assert_eq!(all.len(), 16);
    let paths = used(&machine, "wal");
    assert!(paths.len() > 1, "{paths:?}");
    // What the manifest would know.
    let floor = 5;
    let known = all[floor - 1].lsn;
    let covers = |horizon: u64| all.iter().filter(|record| record.lsn.0 <= horizon).count();
    let stranger = log(DirectoryId(7), ending);
    let strangers = contents(&stranger, &used(&stranger, "wal"));
    let mut tally = Tally::default();
    for path in &paths {
        let content = machine.content(path).unwrap();
        let other_segments: Vec<PathBuf> = paths.iter().filter(|other| *other != path).cloned().collect();
        let mut plan = Plan::whole(&content, 3000);
        plan.strangers = [strangers.clone(), contents(&machine, &other_segments)].concat();
        plan.others = sectors(&plan.strangers);
        let subject = Subject {
            machine: &machine,
            path: path.clone(),
            states: (0..=all.len()).map(|count| all[..count].to_vec()).collect(),
            witnesses: paths.iter().flat_map(|path| witnesses(&machine, path, covers)).collect(),
            floor,
            memory: MEMORY,
            read: &|machine| records(machine, known),
        };
        tally.add(&subject.suffer(&plan));
    }
    tally
}

/// Two lives of one outbox, each with frames behind the manifest's position.
fn staged(directory: DirectoryId) -> (SimMachine, OutboxPosition) {
    let machine = SimMachine::new(1);
    let mut disk = machine.disk();
    Wal::prepare_directories(&mut disk).unwrap();
    let mut start = OutboxStart::new(OWNER.0, OWNER.1);
    let mut position = OutboxPosition(0);
    for life in 1..3 {
        let mut outbox = Outbox::create(directory, Incarnation(life), start.clone(), SMALL).unwrap();
        for n in 0..9_u32 {
            let epoch = Epoch { incarnation: Incarnation(life), number: n };
            outbox.append(epoch, &[&[(n + life * 10) as u8; 300], &vec![3; n as usize * 40]]).unwrap();
            let synced = outbox.settle(&mut disk).unwrap();
            if n == 6 {
                position = synced;
            }
        }
        if life == 1 {
            start.kept = outbox::cut(&mut disk, directory, OWNER, position).unwrap();
            start.position = position;
        }
    }
    (machine.crash(0), position)
}

/// What a start does: cuts to the manifest's position, then reads up to it.
fn frames(machine: &SimMachine, to: OutboxPosition) -> Result<Vec<OutboxFrame>> {
    let disk = &mut machine.disk();
    outbox::cut(disk, DIRECTORY, OWNER, to)?;
    let mut at = OutboxPosition(0);
    let mut found = Vec::new();
    while at < to {
        let more = OutboxReader::new(DIRECTORY, OWNER.0, OWNER.1).read(disk, at, to, 1 << 20)?;
        at = more.last().map_or(to, |frame| frame.position);
        found.extend(more);
    }
    Ok(found)
}

/// An outbox, damaged in each of its segments.
pub(super) fn suffer_outbox() -> Tally {
    let (machine, to) = staged(DIRECTORY);
    let all = frames(&machine.kill(0), to).unwrap();
    assert_eq!(all.len(), 14);
    let paths = used(&machine, "outbox");
    assert!(paths.len() > 2, "{paths:?}");
    let (stranger, _) = staged(DirectoryId(7));
    let strangers = contents(&stranger, &used(&stranger, "outbox"));
    let mut tally = Tally::default();
    for path in &paths {
        let content = machine.content(path).unwrap();
        let other_segments: Vec<PathBuf> = paths.iter().filter(|other| *other != path).cloned().collect();
        let mut plan = Plan { bits: 1, ..Plan::whole(&content, 1000) };
        plan.strangers = [strangers.clone(), contents(&machine, &other_segments)].concat();
        plan.others = sectors(&plan.strangers);
        let subject = Subject {
            machine: &machine,
            path: path.clone(),
            states: vec![all.clone()],
            witnesses: Vec::new(),
            floor: 0,
            memory: MEMORY,
            read: &|machine| frames(machine, to),
        };
        tally.add(&subject.suffer(&plan));
    }
    tally
}
