//! A small engine over the real WAL, outboxes, manifest and recovery, in the engine's order of things.
//!
//! Each row that is durable in the WAL goes into its shard's state (arena and page file) and its shard's
//! outbox. An applier brings published outbox frames to a target.

use std::collections::VecDeque;

use super::oracle::{Check, Oracle, Rows, SHARDS};
use super::state::ShardState;
use crate::disk::{Disk, SimDisk, SimMachine};
use crate::ids::{CheckpointNumber, Epoch, Incarnation, IslandId, Lsn, ObjectId, OutboxPosition, ReactorId, ShardId};
use crate::log::{DirectoryId, LogOptions};
use crate::manifest::PageFileMark as KeptMark;
use crate::manifest::{
    CatalogChange, CatalogEntry, Checkpoint, CheckpointDraft, IslandState, ObjectKind, OutboxMark, Publisher,
    PublisherOptions, WalMark,
};
use crate::outbox::{Outbox, OutboxReader, OutboxStart};
use crate::page_file::PageFileMark;
use crate::recovery::{Recovered, RecoveryOptions, recover};
use crate::wal::{self, Wal, WalLog};
use crate::{Result, StorageError};

const SINK: ObjectId = ObjectId(77);
const REACTOR: ReactorId = ReactorId(0);
const SMALL: LogOptions =
    LogOptions { segment_bytes: 4096, max_record_bytes: 1024, max_group_bytes: 1024, max_pending_bytes: 1 << 20 };
const OPTIONS: RecoveryOptions = RecoveryOptions {
    fresh_directory: DirectoryId(0xFEED),
    publisher: PublisherOptions { append_bytes: 4096, reserve_bytes: 4096 },
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
    shards: Vec<ShardState>,
    /// What the shards hold, to compare with.
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
        let mut reactor_disk = machine.disk();
        let mut shards = Vec::new();
        let mut state = Rows::default();
        for (shard, rows) in state.iter_mut().enumerate() {
            let marks = marks_of(publisher.retention().kept(), shard);
            let loaded = ShardState::load(&mut reactor_disk, &mut control_disk, shard, &marks)?;
            *rows = loaded.rows().map_err(Stop::Violation)?;
            shards.push(loaded);
        }
        check(oracle.recovered_checkpoint(number, &state))?;
        check(oracle.target_is_behind(number))?;
        let mut outboxes = Vec::new();
        for shard in 0..SHARDS {
            let shard = ShardId(shard as u16);
            let found = starts.iter().find(|start| start.shard == shard).cloned();
            let start = found.unwrap_or_else(|| OutboxStart::new(SINK, shard));
            outboxes.push(Outbox::create(directory, incarnation, start, SMALL)?);
        }
        let mut engine = Self {
            reactor_disk,
            control_disk,
            directory,
            incarnation,
            wal: Wal::create(directory, incarnation, REACTOR, SMALL)?,
            outboxes,
            publisher,
            shards,
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
        // A refused allocation is tried again, as an engine does after a pause.
        self.wal.ask_for_space();
        self.wal.pump(&mut self.reactor_disk)?;
        for outbox in &mut self.outboxes {
            outbox.ask_for_space();
            outbox.pump(&mut self.reactor_disk)?;
        }
        let mut arrived = Vec::new();
        self.reactor_disk.completions(&mut arrived);
        for completion in &arrived {
            let mut mine = self.wal.complete(&mut self.reactor_disk, completion)?;
            for outbox in &mut self.outboxes {
                mine |= outbox.complete(&mut self.reactor_disk, completion)?;
            }
            for shard in &mut self.shards {
                mine |= shard.complete(completion)?;
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
        self.shards[shard].add(row)?;
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
        self.shards.iter_mut().for_each(ShardState::freeze);
        let mut patience = 100_000;
        let pages = loop {
            self.turn(oracle)?;
            patience -= 1;
            assert!(patience > 0, "a checkpoint does not end");
            let mut marks = Vec::new();
            for shard in &mut self.shards {
                marks.extend(shard.write(&mut self.reactor_disk)?);
            }
            let synced = self.outboxes.iter().zip(&positions).all(|(outbox, position)| outbox.synced() >= *position);
            if synced && marks.len() == SHARDS {
                break marks;
            }
        };
        let draft = self.draft(&positions, contained, pages);
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

    fn draft(
        &self,
        positions: &[OutboxPosition],
        contained: [Lsn; SHARDS],
        pages: Vec<PageFileMark>,
    ) -> CheckpointDraft {
        let outboxes = positions
            .iter()
            .enumerate()
            .map(|(shard, position)| OutboxMark {
                sink: SINK,
                shard: ShardId(shard as u16),
                position: *position,
                acknowledged: self.outboxes[shard].released(),
            })
            .collect();
        let epoch = Epoch { incarnation: self.incarnation, number: self.epoch };
        let keep = |mark: PageFileMark| KeptMark { shard: mark.shard, bytes: mark.encode().to_vec() };
        let pages = pages.into_iter().map(keep).collect();
        let log = WalLog { incarnation: self.incarnation, reactor: REACTOR };
        let shards = contained.iter().enumerate().map(|(shard, lsn)| (ShardId(shard as u16), *lsn)).collect();
        CheckpointDraft {
            shard_count: SHARDS as u32,
            islands: vec![IslandState { island: IslandId(1), epoch, cursors: Vec::new(), pages, outboxes }],
            wal: vec![WalMark { log, end: None, floor: contained.into_iter().min().unwrap(), shards }],
        }
    }

    /// Ends a life in good order: nothing waits, and the log is closed.
    pub(super) fn close(mut self, oracle: &mut Oracle) -> std::result::Result<(), Stop> {
        let mut patience = 100_000;
        while !self.waiting.is_empty() || !self.wal.is_idle() {
            self.turn(oracle)?;
            patience -= 1;
            assert!(patience > 0, "a life does not end");
        }
        Ok(self.wal.close(&mut self.reactor_disk)?)
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
        check(oracle.target_holds(newest.number))
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
        for (number, shard) in self.shards.iter_mut().enumerate() {
            shard.retain_only(&marks_of(self.publisher.retention().kept(), number));
        }
        Ok(())
    }
}

/// The marks of one shard, oldest first.
fn marks_of(kept: &[Checkpoint], shard: usize) -> Vec<PageFileMark> {
    let pages = kept.iter().flat_map(|checkpoint| &checkpoint.draft.islands).flat_map(|island| &island.pages);
    pages
        .filter(|kept| usize::from(kept.shard.0) == shard)
        .filter_map(|kept| PageFileMark::decode(&kept.bytes))
        .collect()
}

fn verify_state(disk: &mut dyn Disk, _: DirectoryId, checkpoint: &Checkpoint) -> Result<()> {
    let mut pages = checkpoint.draft.islands.iter().flat_map(|island| &island.pages);
    pages.try_for_each(|kept| match PageFileMark::decode(&kept.bytes) {
        Some(mark) => ShardState::verify(disk, mark),
        None => Err(StorageError::Missing { file: "state".to_owned(), detail: "a mark does not verify".to_owned() }),
    })
}
