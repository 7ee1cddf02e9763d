//! Recovery: from whatever a crash left to a consistent start. One pure state machine over the disk.
//!
//! incarnation → manifest → checkpoint → outboxes → WAL → new manifest file → done. The lock of the
//! data directory is held by the caller.
//!
//! Invariant: each step reads only what the steps before have made durable, and the machine can
//! crash anywhere and start over: the same data comes out. Falling back to an older checkpoint is
//! never silent and never passes a sink's progress.

use std::path::Path;

use crate::disk::{Blocking, Disk, DiskErrorKind};
use crate::error::{Result, StorageError};
use crate::ids::{Incarnation, Lsn, ObjectId, OutboxPosition, ShardId};
use crate::incarnation::{self, Identity};
use crate::log::DirectoryId;
use crate::manifest::{Catalog, Checkpoint, ManifestFile, OutboxMark, Publisher, PublisherOptions, WalMark};
use crate::outbox::{self, OutboxStart};
use crate::wal::{self, Reader, WalLog, WalRecord};

/// What recovery needs to know.
#[derive(Clone, Copy, Debug)]
pub struct RecoveryOptions {
    /// Identity for a directory that is empty; drawn at random by the caller.
    pub fresh_directory: DirectoryId,
    /// Sizes of the manifest.
    pub publisher: PublisherOptions,
}

/// Checks that the state of a checkpoint can be used (page files: C2). An error makes recovery try
/// the older checkpoint.
pub type VerifyState<'v> = &'v mut dyn FnMut(&mut dyn Disk, DirectoryId, &Checkpoint) -> Result<()>;

/// One WAL log to replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalReplay {
    /// The log.
    pub log: WalLog,
    /// How far the checkpoint contains it; `None` when the log is younger than the checkpoint.
    pub mark: Option<WalMark>,
    /// Where it ends; goes into the next checkpoint's mark.
    pub end: Lsn,
}

impl WalReplay {
    /// Opens the log at the first record that some shard still needs.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(&self, disk: &mut dyn Disk, directory: DirectoryId) -> Result<Reader> {
        let from = self.mark.as_ref().map_or(Lsn(0), WalMark::lowest);
        Reader::open(disk, directory, (self.log.incarnation, self.log.reactor), from, self.end)
    }

    /// Bytes of the log that are read.
    pub fn bytes(&self) -> u64 {
        self.end.0.saturating_sub(self.mark.as_ref().map_or(0, |mark| mark.lowest().0))
    }

    /// Whether a record is not yet contained in its shard's state.
    pub fn wants(&self, record: &WalRecord) -> bool {
        let from = self.mark.as_ref().map_or(Lsn(0), |mark| mark.replay_from(record.shard));
        record.lsn > from
    }

    /// The mark for the next checkpoint: nothing of it is contained yet beyond the old mark.
    pub fn next_mark(&self) -> WalMark {
        let (floor, shards) = self.mark.as_ref().map_or((Lsn(0), Vec::new()), |mark| (mark.floor, mark.shards.clone()));
        WalMark { log: self.log, end: Some(self.end), floor, shards }
    }
}

/// Everything that the engine needs to go on.
pub struct Recovered {
    /// The data directory.
    pub directory: DirectoryId,
    /// This process life.
    pub incarnation: Incarnation,
    /// The checkpoint to start from; `None` before the first.
    pub checkpoint: Option<Checkpoint>,
    /// The catalog after the last acknowledged DDL; may be newer than the checkpoint.
    pub catalog: Catalog,
    /// Logs to replay, oldest incarnation first.
    pub wal: Vec<WalReplay>,
    /// The outboxes that hold something, cut to the checkpoint.
    pub outboxes: Vec<OutboxStart>,
    /// Things to tell the operator, most important first.
    pub notes: Vec<String>,
    /// The writer of the manifest.
    pub publisher: Publisher,
}

/// What recovery does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Count up the incarnation and make it durable.
    Incarnation,
    /// Make the manifest durable as it is, and read it.
    Manifest,
    /// Find the newest checkpoint whose state can be used.
    Checkpoint,
    /// Cut the outboxes to it.
    Outboxes,
    /// Find what has to be replayed.
    Wal,
    /// Begin a new manifest file.
    Publisher,
    /// Nothing.
    Done,
}

/// The state machine.
pub struct Recovery {
    options: RecoveryOptions,
    step: Step,
    identity: Identity,
    found: ManifestFile,
    checkpoint: Option<Checkpoint>,
    wal: Vec<WalReplay>,
    outboxes: Vec<OutboxStart>,
    notes: Vec<String>,
    publisher: Option<Publisher>,
}

/// Runs recovery to its end. Blocks; for start-up.
///
/// # Errors
/// What makes a start impossible; the message says what to do.
pub fn recover(disk: &mut dyn Disk, options: RecoveryOptions, verify: VerifyState<'_>) -> Result<Recovered> {
    let mut recovery = Recovery::new(options);
    while recovery.step() != Step::Done {
        recovery.advance(disk, verify)?;
    }
    recovery.finish()
}

/// Creates the directories of all logs, durably.
pub(crate) fn sync_directories(disk: &mut dyn Disk) -> Result<()> {
    let what = "create the data directory's parts";
    for dir in ["wal", "outbox", "pages"] {
        disk.create_dir(Path::new(dir)).map_err(StorageError::disk(what))?;
    }
    Blocking::new(disk).sync_dir(Path::new("")).map_err(StorageError::disk(what))
}

impl Recovery {
    /// A recovery that has not touched the disk yet.
    pub fn new(options: RecoveryOptions) -> Self {
        let identity = Identity { directory: options.fresh_directory, incarnation: Incarnation(0), repaired: false };
        Self {
            options,
            step: Step::Incarnation,
            identity,
            found: ManifestFile::default(),
            checkpoint: None,
            wal: Vec::new(),
            outboxes: Vec::new(),
            notes: Vec::new(),
            publisher: None,
        }
    }

    /// The step that [`Recovery::advance`] does next.
    pub fn step(&self) -> Step {
        self.step
    }

    /// Does one step.
    ///
    /// # Errors
    /// What makes a start impossible.
    pub fn advance(&mut self, disk: &mut dyn Disk, verify: VerifyState<'_>) -> Result<()> {
        self.step = match self.step {
            Step::Incarnation => self.count_up(disk)?,
            Step::Manifest => self.read_manifest(disk)?,
            Step::Checkpoint => self.choose_checkpoint(disk, verify)?,
            Step::Outboxes => self.cut_outboxes(disk)?,
            Step::Wal => self.find_wal(disk)?,
            Step::Publisher => self.start_publisher(disk)?,
            Step::Done => Step::Done,
        };
        Ok(())
    }

    /// The outcome, after the last step.
    ///
    /// # Errors
    /// [`StorageError::Order`] before the last step.
    pub fn finish(self) -> Result<Recovered> {
        let Some(publisher) = self.publisher else {
            return Err(StorageError::Order { detail: format!("recovery stands at {:?}", self.step) });
        };
        Ok(Recovered {
            directory: self.identity.directory,
            incarnation: self.identity.incarnation,
            checkpoint: self.checkpoint,
            catalog: self.found.catalog,
            wal: self.wal,
            outboxes: self.outboxes,
            notes: self.notes,
            publisher,
        })
    }

    fn count_up(&mut self, disk: &mut dyn Disk) -> Result<Step> {
        self.identity = incarnation::advance(disk, self.options.fresh_directory)?;
        if self.identity.repaired {
            self.notes.push("INCARNATION: one of two copies was damaged; it was written anew".to_owned());
        }
        sync_directories(disk)?;
        Ok(Step::Manifest)
    }

    fn read_manifest(&mut self, disk: &mut dyn Disk) -> Result<Step> {
        // After the death of the process alone the last record may be visible and not yet durable.
        match disk.open(Path::new("MANIFEST")) {
            Ok(file) => {
                let synced = Blocking::new(disk).sync(file);
                disk.close(file);
                synced.map_err(StorageError::disk("sync the manifest"))?;
            }
            Err(error) if error.kind == DiskErrorKind::NotFound => {}
            Err(error) => return Err(StorageError::disk("open the manifest")(error)),
        }
        if let Some(found) = crate::manifest::read(disk, self.identity.directory)? {
            if found.torn {
                self.notes.push("MANIFEST: an unfinished record at its end was cut".to_owned());
            }
            self.found = found;
        } else if wal::list(disk)?.iter().any(|log| log.incarnation < self.identity.incarnation) {
            return Err(StorageError::Missing {
                file: "MANIFEST".to_owned(),
                detail: "the directory holds WAL files but no manifest".to_owned(),
            });
        }
        Ok(Step::Checkpoint)
    }

    fn choose_checkpoint(&mut self, disk: &mut dyn Disk, verify: VerifyState<'_>) -> Result<Step> {
        let Some(newest) = self.found.checkpoints.last().cloned() else { return Ok(Step::Outboxes) };
        let mut refused = Vec::new();
        let kept = |checkpoint: &&Checkpoint| {
            checkpoint.number == newest.number || newest.retained.contains(&checkpoint.number)
        };
        for candidate in self.found.checkpoints.iter().filter(kept).rev() {
            let ahead = newest.draft.sinks.iter().find(|sink| sink.applied > candidate.number);
            if let Some(sink) = ahead.filter(|_| candidate.number != newest.number) {
                refused.push(format!(
                    "checkpoint {}: sink {} already holds checkpoint {}",
                    candidate.number, sink.sink, sink.applied
                ));
                break;
            }
            match verify(disk, self.identity.directory, candidate) {
                Ok(()) => {
                    if let Some(reason) = refused.first() {
                        let text = format!("FELL BACK to checkpoint {}; not usable: {reason}", candidate.number);
                        self.notes.insert(0, text);
                    }
                    self.checkpoint = Some(candidate.clone());
                    return Ok(Step::Outboxes);
                }
                Err(error) if error.is_power_loss() => return Err(error),
                Err(error) => refused.push(format!("checkpoint {}: {error}", candidate.number)),
            }
        }
        Err(StorageError::NoUsableCheckpoint { detail: refused.join("; ") })
    }

    fn cut_outboxes(&mut self, disk: &mut dyn Disk) -> Result<Step> {
        let marks: Vec<OutboxMark> = self.checkpoint.iter().flat_map(Checkpoint::outboxes).cloned().collect();
        let mut starts = Vec::new();
        for mark in &marks {
            let owner = (mark.sink, mark.shard);
            let kept = outbox::cut(disk, self.identity.directory, owner, mark.position)?;
            let &OutboxMark { sink, shard, position, acknowledged } = mark;
            starts.push(OutboxStart { sink, shard, position, acknowledged, kept });
        }
        let known = |owner: &(ObjectId, ShardId)| marks.iter().any(|mark| (mark.sink, mark.shard) == *owner);
        for owner in outbox::list(disk)?.into_keys().filter(|owner| !known(owner)) {
            let start = OutboxPosition(0);
            outbox::cut(disk, self.identity.directory, owner, start)?;
        }
        self.outboxes = starts;
        Ok(Step::Wal)
    }

    fn find_wal(&mut self, disk: &mut dyn Disk) -> Result<Step> {
        let logs = wal::list(disk)?;
        let marks = self.checkpoint.as_ref().map_or_else(Vec::new, |checkpoint| checkpoint.draft.wal.clone());
        if let Some(lost) = marks.iter().find(|mark| mark.known_durable() > Lsn(0) && !logs.contains(&mark.log)) {
            return Err(StorageError::Missing {
                file: format!("WAL of incarnation {}, reactor {}", lost.log.incarnation, lost.log.reactor),
                detail: format!("the checkpoint needs it from position {}", lost.lowest()),
            });
        }
        let contained_before = self.checkpoint.as_ref().map_or(Incarnation(0), |checkpoint| checkpoint.incarnation);
        for log in logs {
            let mark = marks.iter().find(|mark| mark.log == log).cloned();
            if mark.is_none() && log.incarnation < contained_before {
                continue;
            }
            wal::sync(disk, log)?;
            let end = self.verify_wal(disk, log, mark.as_ref())?;
            self.wal.push(WalReplay { log, mark, end });
        }
        Ok(Step::Publisher)
    }

    /// Reads a log once to its end, so that damage stops the start and not the running engine.
    fn verify_wal(&mut self, disk: &mut dyn Disk, log: WalLog, mark: Option<&WalMark>) -> Result<Lsn> {
        let from = mark.map_or(Lsn(0), WalMark::lowest);
        let known_durable = mark.map_or(Lsn(0), WalMark::known_durable);
        let place = (log.incarnation, log.reactor);
        let mut reader = Reader::open(disk, self.identity.directory, place, from, known_durable)?;
        while reader.next(disk)?.is_some() {}
        let Some(end) = reader.end() else {
            return Err(StorageError::Order { detail: "a WAL reader stopped without an end".to_owned() });
        };
        if end.torn {
            let text = format!("{}: unacknowledged bytes behind offset {} were cut", end.file, end.offset);
            self.notes.push(text);
        }
        Ok(Lsn(end.position))
    }

    fn start_publisher(&mut self, disk: &mut dyn Disk) -> Result<Step> {
        let kept = match (&self.checkpoint, self.found.checkpoints.last()) {
            (Some(chosen), Some(newest)) => {
                let usable = |checkpoint: &&Checkpoint| {
                    checkpoint.number == chosen.number
                        || (checkpoint.number < chosen.number && newest.retained.contains(&checkpoint.number))
                };
                self.found.checkpoints.iter().filter(usable).cloned().collect()
            }
            _ => Vec::new(),
        };
        let publisher = Publisher::start(
            disk,
            self.identity.directory,
            self.identity.incarnation,
            self.found.clone(),
            kept,
            self.options.publisher,
        )?;
        self.publisher = Some(publisher);
        Ok(Step::Done)
    }
}

#[cfg(test)]
mod tests;
