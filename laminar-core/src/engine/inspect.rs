//! Looks at the checkpoints of a data directory that no server uses.
//!
//! Invariants: nothing is created, cut or removed, and the incarnation is not counted up; verifying reads
//! what a start would read, by the same ways.

use std::path::Path;

use super::restore::{epoch_of, page_marks, read_log, read_outbox, states_of};
use super::store::page_path;
use super::{EngineError, kept_plan};
use crate::connector::Position;
use crate::ids::{CheckpointNumber, Epoch, ObjectId};
use laminar_storage::arena::{Arena, ArenaOptions};
use laminar_storage::disk::{Disk, IoMode, RealDisk};
use laminar_storage::lock::DirectoryLock;
use laminar_storage::log::DirectoryId;
use laminar_storage::manifest::{self, Catalog, Checkpoint, OutboxMark};
use laminar_storage::outbox::{self, OutboxStart};
use laminar_storage::page_file::PageFile;
use laminar_storage::recovery::{WalReplay, logs_to_replay};
use laminar_storage::{Result, incarnation};

/// One checkpoint that is kept.
#[derive(Clone, Debug)]
pub struct KeptCheckpoint {
    /// Its number.
    pub number: CheckpointNumber,
    /// Its epoch.
    pub epoch: Option<Epoch>,
    /// The streams, views, tables and sinks of which it holds something, by name.
    pub objects: Vec<String>,
    /// Where reading goes on: relation, split, and offset where the position is a number.
    pub positions: Vec<(String, String, Option<u64>)>,
    /// Bytes of staged rows that were on the way to targets.
    pub staged_bytes: u64,
    /// What reading all of it has found; none = it was not asked for.
    pub verified: Option<Verified>,
}

/// What reading a checkpoint found.
#[derive(Clone, Debug)]
pub enum Verified {
    /// All of it can be used.
    Usable {
        /// Bytes of state.
        state_bytes: u64,
        /// Records of pushed rows that a start replays.
        replayed: u64,
    },
    /// A start would refuse it.
    Refused(String),
}

/// The checkpoints of a data directory, oldest first; reads all of their state, outboxes and logs if `verify`.
/// Blocks.
///
/// # Errors
/// A server uses the directory, there is nothing in it, or its manifest does not verify.
pub fn inspect(directory: &Path, verify: bool) -> std::result::Result<Vec<KeptCheckpoint>, EngineError> {
    if !directory.join("MANIFEST").exists() {
        return Err(EngineError::Start(format!("{} holds no data of LaminarDB", directory.display())));
    }
    let _lock = DirectoryLock::acquire(directory)?;
    let mut disk = RealDisk::open(directory, IoMode::Inline)?;
    look(&mut disk, verify).map_err(EngineError::from)
}

/// As [`inspect`], of a disk.
///
/// # Errors
/// The manifest does not verify; the disk's.
pub fn look(disk: &mut dyn Disk, verify: bool) -> Result<Vec<KeptCheckpoint>> {
    let identity = incarnation::read(disk)?;
    let Some(file) = manifest::read(disk, identity.directory)? else { return Ok(Vec::new()) };
    let plans = verify.then(|| kept_plan::read_all(file.catalog.entries.values()).map(drop));
    let looked_at = |found: &Checkpoint| {
        let verified =
            plans.clone().map(|plans| match plans.and_then(|()| read_all(disk, identity.directory, found)) {
                Ok((state_bytes, replayed)) => Verified::Usable { state_bytes, replayed },
                Err(error) => Verified::Refused(error.to_string()),
            });
        KeptCheckpoint { verified, ..describe(found, &file.catalog) }
    };
    Ok(file.kept().into_iter().map(looked_at).collect())
}

fn describe(found: &Checkpoint, catalog: &Catalog) -> KeptCheckpoint {
    let name = |id: ObjectId| catalog.entries.get(&id).map(|entry| entry.name.clone());
    let position = |reader: &str, cursor: &manifest::Cursor| {
        let split = cursor.split.split_once('/').map_or(cursor.split.as_str(), |(_, split)| split);
        (reader.to_owned(), split.to_owned(), Position(cursor.position.clone()).offset())
    };
    let reader = |id: ObjectId| name(id).unwrap_or_else(|| format!("dropped object {id}"));
    KeptCheckpoint {
        number: found.number,
        epoch: epoch_of(found),
        objects: states_of(found).map(|(object, _)| reader(object)).collect(),
        positions: states_of(found)
            .flat_map(|(object, state)| {
                let reader = reader(object);
                state.cursors.iter().map(move |cursor| position(&reader, cursor)).collect::<Vec<_>>()
            })
            .collect(),
        staged_bytes: found.staged_bytes(),
        verified: None,
    }
}

/// Reads what a start from a checkpoint reads: the state, the outboxes, and the logs that it replays. Returns
/// bytes of state and replayed records.
fn read_all(
    disk: &mut dyn Disk,
    directory: DirectoryId,
    found: &Checkpoint,
) -> std::result::Result<(u64, u64), EngineError> {
    let mut state_bytes = 0;
    for mark in page_marks(std::slice::from_ref(found)) {
        let (page, arenas) = PageFile::load(disk, &page_path(mark.shard), mark.shard, &[mark], ArenaOptions::new)?;
        state_bytes += arenas.iter().map(Arena::bytes_used).sum::<u64>();
        page.close(disk);
    }
    for &OutboxMark { sink, shard, position, acknowledged } in found.outboxes() {
        let kept = outbox::kept(disk, directory, (sink, shard), position)?;
        read_outbox(disk, directory, OutboxStart { sink, shard, position, acknowledged, kept })?;
    }
    let mut replayed = 0;
    for (log, mark) in logs_to_replay(disk, Some(found))? {
        let (replay, _) = WalReplay::find(disk, directory, log, mark)?;
        read_log(disk, directory, &replay, &mut |_, _| replayed += 1)?;
    }
    Ok((state_bytes, replayed))
}
