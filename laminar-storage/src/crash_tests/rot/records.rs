//! Rot of the manifest, the incarnation file and the lock file.

use std::path::{Path, PathBuf};

use super::damage::Plan;
use super::subject::{Subject, Tally, witnesses};
use crate::disk::{Blocking, SimMachine};
use crate::ids::{Epoch, Incarnation, IslandId, Lsn, ObjectId, OutboxPosition, ReactorId, ShardId};
use crate::incarnation::{self, Identity};
use crate::lock::DirectoryLock;
use crate::log::DirectoryId;
use crate::manifest::{
    self, CatalogChange, CatalogEntry, CheckpointDraft, Cursor, IslandState, ManifestFile, ObjectKind, OutboxMark,
    PageFileMark, Publisher, PublisherOptions, WalMark,
};
use crate::wal::WalLog;
use crate::{Result, StorageError};

const DIRECTORY: DirectoryId = DirectoryId(0xD1);
const LIFE: Incarnation = Incarnation(3);
const SMALL: PublisherOptions = PublisherOptions { append_bytes: 4096, reserve_bytes: 4096 };

fn entry(id: u64) -> CatalogEntry {
    CatalogEntry {
        id: ObjectId(id),
        name: format!("object_{id}"),
        kind: if id.is_multiple_of(2) { ObjectKind::View } else { ObjectKind::Sink },
        sql: format!("CREATE MATERIALIZED VIEW object_{id} AS SELECT {id}"),
        plan: "{\"nodes\":[]}".to_owned(),
        plan_version: 1,
        settings: String::new(),
    }
}

fn draft(n: u64) -> CheckpointDraft {
    let log = WalLog { incarnation: LIFE, reactor: ReactorId(0) };
    let outbox = |shard: u16| OutboxMark {
        sink: ObjectId(7),
        shard: ShardId(shard),
        position: OutboxPosition(n * 10),
        acknowledged: OutboxPosition(n * 9),
    };
    let islands = vec![IslandState {
        island: IslandId(1),
        epoch: Epoch { incarnation: LIFE, number: n as u32 },
        cursors: vec![Cursor { split: "trades/0".to_owned(), position: n.to_le_bytes().to_vec() }],
        pages: (0..4).map(|shard| PageFileMark { shard: ShardId(shard), bytes: vec![n as u8; 32] }).collect(),
        outboxes: (0..4).map(outbox).collect(),
    }];
    let shards = vec![(ShardId(1), Lsn(n * 100 + 5))];
    CheckpointDraft { shard_count: 4, islands, wal: vec![WalMark { log, end: None, floor: Lsn(n * 100), shards }] }
}

fn read(machine: &SimMachine) -> Result<ManifestFile> {
    let found = manifest::read(&mut machine.disk(), DIRECTORY)?;
    // Whether a torn end was seen is a note for the operator.
    Ok(ManifestFile { torn: false, ..found.unwrap_or_default() })
}

/// A manifest that was replaced by a longer one, and its content after each later record.
fn published(directory: DirectoryId) -> (SimMachine, Vec<ManifestFile>) {
    let machine = SimMachine::new(1);
    let mut disk = machine.disk();
    let options = PublisherOptions { append_bytes: 1024, ..SMALL };
    let found = ManifestFile::default();
    let mut first = Publisher::start(&mut disk, directory, LIFE, found, Vec::new(), options).unwrap();
    for n in 1..4 {
        first.publish_catalog(&mut disk, CatalogChange { upserts: vec![entry(n)], drops: Vec::new() }).unwrap();
        first.publish_checkpoint(&mut disk, draft(n)).unwrap();
    }
    let kept = first.retention().kept().to_vec();
    let found = manifest::read(&mut disk, directory).unwrap().unwrap();
    let life = Incarnation(LIFE.0 + 1);
    let mut publisher = Publisher::start(&mut disk, directory, life, found, kept, SMALL).unwrap();
    let mut states = vec![read(&machine)];
    for n in 4..7 {
        let change = CatalogChange { upserts: vec![entry(n)], drops: vec![ObjectId(n - 3)] };
        publisher.publish_catalog(&mut disk, change).unwrap();
        states.push(read(&machine));
        if n < 6 {
            publisher.publish_checkpoint(&mut disk, draft(n)).unwrap();
            states.push(read(&machine));
        }
    }
    (machine.crash(0), states.into_iter().filter_map(Result::ok).collect())
}

/// The manifest: what was made in one piece is known to be whole, each later record by the next.
pub(super) fn suffer_manifest() -> Tally {
    let (machine, states) = published(DIRECTORY);
    assert_eq!(states.len(), 6);
    let path = PathBuf::from("MANIFEST");
    let content = machine.content(&path).unwrap();
    let (stranger, _) = published(DirectoryId(7));
    let mut plan = Plan::whole(&content, 3000);
    plan.strangers = vec![stranger.content(&path).unwrap(), machine.content(Path::new("RESERVE")).unwrap()];
    plan.others = plan.strangers.iter().flat_map(|file| file.chunks(512).map(<[u8]>::to_vec)).collect();
    let first = states[0].next_sequence;
    let covers = |horizon: u64| horizon.saturating_sub(first) as usize;
    let subject = Subject {
        machine: &machine,
        path: path.clone(),
        witnesses: witnesses(&machine, &path, covers),
        states,
        floor: 0,
        memory: content.len() * 2,
        read: &read,
    };
    subject.suffer(&plan)
}

fn count_up(machine: &SimMachine, fresh: DirectoryId) -> Result<Identity> {
    let next = incarnation::next(&mut machine.disk(), fresh)?;
    incarnation::write(&mut machine.disk(), &next)?;
    Ok(next)
}

/// The incarnation file after some starts; a start counts up from it.
pub(super) fn suffer_incarnation() -> Tally {
    let machine = SimMachine::new(1);
    let path = PathBuf::from("INCARNATION");
    let mut older = Vec::new();
    for _ in 0..3 {
        count_up(&machine, DIRECTORY).unwrap();
        older.extend(machine.content(&path).unwrap().chunks(512).step_by(8).map(<[u8]>::to_vec));
    }
    // Something that shows that the directory is in use.
    let mut disk = machine.disk();
    let manifest = crate::disk::Disk::create(&mut disk, Path::new("MANIFEST")).unwrap();
    Blocking::new(&mut disk).write(manifest, 0, vec![1; 8192]).unwrap();
    let content = machine.content(&path).unwrap();
    let mut plan = Plan::whole(&content, 2000);
    plan.others = older;
    plan.strangers = vec![machine.content(Path::new("MANIFEST")).unwrap()];
    let start = |machine: &SimMachine| {
        let found = count_up(machine, DirectoryId(1))?;
        Ok((found.directory, found.incarnation))
    };
    let subject = Subject {
        machine: &machine,
        path,
        states: vec![(DIRECTORY, Incarnation(4))],
        witnesses: Vec::new(),
        floor: 0,
        memory: 32 << 10,
        read: &start,
    };
    // One copy is enough, so a cut behind it is harmless; both are needed to lose the number.
    subject.suffer(&plan)
}

/// The lock file says who has the directory; the lock itself holds whatever stands there.
pub(super) fn suffer_lock() -> u64 {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("LOCK");
    let mut random = fastrand::Rng::with_seed(1);
    let held = DirectoryLock::acquire(directory.path()).unwrap();
    let mut cases = 0;
    for len in 0..600_usize {
        std::fs::write(&path, (0..len).map(|_| random.u8(..)).collect::<Vec<_>>()).unwrap();
        match DirectoryLock::acquire(directory.path()) {
            Err(StorageError::DirectoryInUse { pid, .. }) => {
                assert!(pid == "unknown" || pid.parse::<u32>().is_ok(), "{pid}");
            }
            other => panic!("{other:?}"),
        }
        cases += 1;
    }
    drop(held);
    DirectoryLock::acquire(directory.path()).unwrap();
    cases
}
