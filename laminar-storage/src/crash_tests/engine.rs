//! A small engine over the real WAL, outboxes, manifest and recovery, in the engine's order of things.
//!
//! Each row that is durable in the WAL goes into its shard's state and its shard's outbox. State is a
//! file per checkpoint. An applier brings published outbox frames to a target.

use std::collections::VecDeque;
use std::path::PathBuf;

use super::oracle::{Check, Oracle, Rows, SHARDS};
use crate::disk::{Blocking, Disk, DiskErrorKind, DiskOp, SimDisk, SimMachine};
use crate::ids::{CheckpointNumber, Epoch, Incarnation, IslandId, Lsn, ObjectId, OutboxPosition, ReactorId, ShardId};
use crate::log::{DirectoryId, LogOptions};
use crate::manifest::{
    CatalogChange, CatalogEntry, Checkpoint, CheckpointDraft, IslandState, ObjectKind, OutboxMark, PageFileMark,
    Publisher, PublisherOptions, WalMark,
};
use crate::outbox::{Outbox, OutboxOptions, OutboxReader, OutboxStart};
use crate::recovery::{Recovered, RecoveryOptions, recover};
use crate::wal::{self, Wal, WalLog};
use crate::{Result, StorageError};

const SINK: ObjectId = ObjectId(77);
const REACTOR: ReactorId = ReactorId(0);
const SMALL: LogOptions =
    LogOptions { segment_bytes: 4096, max_record_bytes: 1024, max_group_bytes: 1024, max_pending_bytes: 1 << 20 };
const OPTIONS: RecoveryOptions = RecoveryOptions {
    fresh_directory: DirectoryId(0xFEED),
    publisher: PublisherOptions { append_bytes: 8192, reserve_bytes: 4096 },
};

/// Why a run ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The power was cut, or an injected failure ended the process: what a crash is.
    Crash,
    /// A promise was broken.
    Violation(String),
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        match &error {
            StorageError::Disk { .. } | StorageError::LogFailed { .. } => Self::Crash,
            _ => Self::Violation(error.to_string()),
        }
    }
}

pub(super) struct Engine {
    reactor_disk: SimDisk,
    control_disk: SimDisk,
    directory: DirectoryId,
    incarnation: Incarnation,
    wal: Wal,
    outboxes: Vec<Outbox>,
    publisher: Publisher,
    state: Rows,
    waiting: VecDeque<(Lsn, usize, u64)>,
    contained: [Lsn; SHARDS],
    epoch: u32,
}

fn check(outcome: Check) -> std::result::Result<(), Stop> {
    outcome.map_err(Stop::Violation)
}

impl Engine {
    /// Recovers, checks every promise about what was recovered, replays.
    pub(super) fn start(machine: &SimMachine, oracle: &mut Oracle) -> std::result::Result<Self, Stop> {
        let mut control_disk = machine.disk();
        let recovered = recover(&mut control_disk, OPTIONS, &mut verify_state)?;
        check(oracle.starts(recovered.incarnation))?;
        check(oracle.catalog(recovered.catalog.version))?;
        let Recovered { directory, incarnation, checkpoint, wal: logs, outboxes: starts, publisher, .. } = recovered;
        let number = checkpoint.as_ref().map_or(CheckpointNumber(0), |checkpoint| checkpoint.number);
        let state = match &checkpoint {
            Some(checkpoint) => read_state(&mut control_disk, checkpoint)?,
            None => Rows::default(),
        };
        check(oracle.recovered_checkpoint(number, &state))?;
        check(oracle.target_is_behind(number))?;
        let mut outboxes = Vec::new();
        for shard in 0..SHARDS {
            let shard = ShardId(shard as u16);
            let found = starts.iter().find(|start| start.shard == shard).cloned();
            let start = found.unwrap_or_else(|| OutboxStart::new(SINK, shard));
            let options = OutboxOptions { log: SMALL, limit_bytes: 1 << 20 };
            outboxes.push(Outbox::create(directory, incarnation, start, options)?);
        }
        let mut engine = Self {
            reactor_disk: machine.disk(),
            control_disk,
            directory,
            incarnation,
            wal: Wal::create(directory, incarnation, REACTOR, SMALL)?,
            outboxes,
            publisher,
            state,
            waiting: VecDeque::new(),
            contained: [Lsn(0); SHARDS],
            epoch: 0,
        };
        engine.apply_to_target(oracle)?;
        for log in logs {
            let mut reader = log.open(&mut engine.control_disk, directory)?;
            while let Some(record) = reader.next(&mut engine.control_disk)? {
                if log.wants(&record) {
                    let row = u64::from_le_bytes(record.payload[..8].try_into().unwrap());
                    engine.take_row(usize::from(record.shard.0), row)?;
                }
            }
        }
        check(oracle.replayed(&engine.state))?;
        Ok(engine)
    }

    /// A client sends a row.
    pub(super) fn insert(&mut self, oracle: &mut Oracle, padding: usize) -> std::result::Result<(), Stop> {
        let row = oracle.next_row;
        oracle.next_row += 1;
        let shard = (row % SHARDS as u64) as usize;
        let lsn = self.wal.append(ShardId(shard as u16), &[&row.to_le_bytes(), &vec![0xAB; padding]])?;
        self.waiting.push_back((lsn, shard, row));
        Ok(())
    }

    /// One turn of the reactor.
    pub(super) fn turn(&mut self, oracle: &mut Oracle) -> std::result::Result<(), Stop> {
        self.wal.pump(&mut self.reactor_disk)?;
        for outbox in &mut self.outboxes {
            outbox.pump(&mut self.reactor_disk)?;
        }
        let mut arrived = Vec::new();
        self.reactor_disk.completions(&mut arrived);
        for completion in &arrived {
            let mut mine = self.wal.complete(&mut self.reactor_disk, completion)?;
            for outbox in &mut self.outboxes {
                mine |= outbox.complete(&mut self.reactor_disk, completion)?;
            }
            assert!(mine, "every completion has an owner");
        }
        while let Some((lsn, shard, row)) = self.waiting.front().copied() {
            if lsn > self.wal.durable() {
                break;
            }
            self.waiting.pop_front();
            oracle.acknowledged[shard].push(row);
            self.contained[shard] = lsn;
            self.take_row(shard, row)?;
        }
        Ok(())
    }

    fn take_row(&mut self, shard: usize, row: u64) -> Result<()> {
        self.state[shard].push(row);
        let epoch = Epoch { incarnation: self.incarnation, number: self.epoch };
        self.outboxes[shard].append(epoch, &[&row.to_le_bytes(), &[0xCD; 100]])?;
        Ok(())
    }

    /// DDL.
    pub(super) fn ddl(&mut self, oracle: &mut Oracle) -> std::result::Result<(), Stop> {
        oracle.ddl_attempted = oracle.ddl_acknowledged + 1;
        let id = self.publisher.catalog().next_object_id();
        let entry = CatalogEntry {
            id,
            name: format!("v{id}"),
            kind: ObjectKind::View,
            sql: "SELECT 1".to_owned(),
            plan: "{}".to_owned(),
            plan_version: 1,
            settings: String::new(),
        };
        let change = CatalogChange { upserts: vec![entry], drops: Vec::new() };
        oracle.ddl_attempted = oracle.ddl_attempted.max(self.publisher.catalog().version + 1);
        oracle.ddl_acknowledged = self.publisher.publish_catalog(&mut self.control_disk, change)?;
        Ok(())
    }

    /// A checkpoint: barrier, sync, publish, apply, free.
    pub(super) fn checkpoint(&mut self, oracle: &mut Oracle) -> std::result::Result<(), Stop> {
        self.epoch += 1;
        let barrier = self.state.clone();
        let contained = self.contained;
        let positions: Vec<OutboxPosition> = self.outboxes.iter_mut().map(Outbox::sync_for_checkpoint).collect();
        while self.outboxes.iter().zip(&positions).any(|(outbox, position)| outbox.synced() < *position) {
            self.turn(oracle)?;
        }
        let name = self.write_state(&barrier)?;
        let draft = self.draft(&positions, contained, name);
        let newest = self.publisher.retention().newest().map_or(CheckpointNumber(0), |newest| newest.number);
        let first = Epoch { incarnation: self.incarnation, number: 1 }.as_u64();
        let number = CheckpointNumber((newest.0 + 1).max(first));
        oracle.attempted.insert(number, barrier);
        let published = self.publisher.publish_checkpoint(&mut self.control_disk, draft)?;
        assert_eq!(published, number);
        oracle.confirmed = number;
        self.apply_to_target(oracle)?;
        self.free()?;
        Ok(())
    }

    fn draft(&self, positions: &[OutboxPosition], contained: [Lsn; SHARDS], state: Vec<u8>) -> CheckpointDraft {
        let outboxes = positions
            .iter()
            .enumerate()
            .map(|(shard, position)| OutboxMark { sink: SINK, shard: ShardId(shard as u16), position: *position })
            .collect();
        let epoch = Epoch { incarnation: self.incarnation, number: self.epoch };
        let pages = vec![PageFileMark { shard: ShardId(0), bytes: state }];
        let log = WalLog { incarnation: self.incarnation, reactor: REACTOR };
        let shards = contained.iter().enumerate().map(|(shard, lsn)| (ShardId(shard as u16), *lsn)).collect();
        CheckpointDraft {
            shard_count: SHARDS as u32,
            islands: vec![IslandState { island: IslandId(1), epoch, cursors: Vec::new(), pages, outboxes }],
            wal: vec![WalMark { log, end: None, floor: contained.into_iter().min().unwrap(), shards }],
            sinks: self.publisher.retention().sinks(),
        }
    }

    fn write_state(&mut self, state: &Rows) -> Result<Vec<u8>> {
        let path = PathBuf::from(format!("state-{:05}-{:05}", self.incarnation.0, self.epoch));
        let content = encode_state(state);
        let file = self.control_disk.create(&path).map_err(StorageError::disk("create state"))?;
        let mut blocking = Blocking::new(&mut self.control_disk);
        blocking.write(file, 0, content.clone()).map_err(StorageError::disk("write state"))?;
        blocking.sync(file).map_err(StorageError::disk("sync state"))?;
        blocking.sync_dir("".as_ref()).map_err(StorageError::disk("sync directory"))?;
        self.control_disk.close(file);
        let mut mark = crc32c::crc32c(&content).to_le_bytes().to_vec();
        mark.extend_from_slice(path.to_str().unwrap().as_bytes());
        Ok(mark)
    }

    /// The applier: sends what is published and not yet marked, with the marker, in one step.
    fn apply_to_target(&mut self, oracle: &mut Oracle) -> std::result::Result<(), Stop> {
        let Some(newest) = self.publisher.retention().newest().cloned() else { return Ok(()) };
        let mut target = oracle.target.clone();
        for mark in newest.outboxes() {
            let shard = usize::from(mark.shard.0);
            let reader = OutboxReader::new(self.directory, mark.sink, mark.shard);
            while target.positions[shard] < mark.position {
                let from = target.positions[shard];
                for frame in reader.read(&mut self.control_disk, from, mark.position, 500)? {
                    target.rows[shard].push(u64::from_le_bytes(frame.payload[..8].try_into().unwrap()));
                    target.positions[shard] = frame.position;
                }
            }
        }
        target.marker = newest.number;
        oracle.target = target;
        check(oracle.target_holds(newest.number))?;
        self.publisher.sink_applied(SINK, newest.number);
        Ok(())
    }

    /// Frees what no kept checkpoint and no target needs.
    fn free(&mut self) -> Result<()> {
        let applied = self.publisher.retention().newest().cloned();
        for mark in applied.iter().flat_map(Checkpoint::outboxes) {
            self.outboxes[usize::from(mark.shard.0)].release_to(&mut self.reactor_disk, mark.position);
        }
        for log in wal::list(&mut self.control_disk)? {
            let floor = self.publisher.retention().wal_floor(log);
            if log.incarnation == self.incarnation {
                self.wal.release_before(&mut self.reactor_disk, floor);
            } else if floor == Lsn(u64::MAX) {
                wal::remove(&mut self.control_disk, log)?;
            }
        }
        let kept: Vec<String> = self.publisher.retention().kept().iter().map(state_name).collect();
        let names = self.control_disk.list("".as_ref()).map_err(StorageError::disk("list"))?;
        for name in names.iter().filter(|name| name.starts_with("state-") && !kept.contains(name)) {
            let removed = Blocking::new(&mut self.control_disk).run(DiskOp::Remove { path: PathBuf::from(name) });
            removed.map_err(StorageError::disk("remove state"))?;
        }
        Ok(())
    }
}

fn encode_state(state: &Rows) -> Vec<u8> {
    let mut content = Vec::new();
    for rows in state {
        content.extend_from_slice(&(rows.len() as u64).to_le_bytes());
        rows.iter().for_each(|row| content.extend_from_slice(&row.to_le_bytes()));
    }
    content
}

fn state_name(checkpoint: &Checkpoint) -> String {
    String::from_utf8(checkpoint.draft.islands[0].pages[0].bytes[4..].to_vec()).unwrap()
}

fn state_content(disk: &mut dyn Disk, checkpoint: &Checkpoint) -> Result<Vec<u8>> {
    let name = state_name(checkpoint);
    let content = Blocking::new(disk).read_file(name.as_ref(), 1 << 20).map_err(|error| match error.kind {
        DiskErrorKind::NotFound => StorageError::Missing { file: name.clone(), detail: "state".to_owned() },
        _ => StorageError::disk("read state")(error),
    })?;
    if crc32c::crc32c(&content).to_le_bytes() == checkpoint.draft.islands[0].pages[0].bytes[..4] {
        return Ok(content);
    }
    Err(StorageError::Rot { file: name, offset: 0, detail: "checksum".to_owned() })
}

fn verify_state(disk: &mut dyn Disk, _: DirectoryId, checkpoint: &Checkpoint) -> Result<()> {
    state_content(disk, checkpoint).map(|_| ())
}

fn read_state(disk: &mut dyn Disk, checkpoint: &Checkpoint) -> Result<Rows> {
    let content = state_content(disk, checkpoint)?;
    let mut numbers = content.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
    let mut rows = Rows::default();
    for shard in &mut rows {
        let count = numbers.next().unwrap() as usize;
        *shard = numbers.by_ref().take(count).collect();
    }
    Ok(rows)
}
