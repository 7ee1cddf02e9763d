//! Recovery: from whatever a crash left to a consistent start. One pure state machine over the disk.
//!
//! manifest → incarnation → checkpoint → outboxes → WAL → new manifest file → done. The lock of the
//! data directory is held by the caller.
//!
//! Invariant: each step reads only what the steps before have made durable, and the machine can
//! crash anywhere and start over: the same data comes out. Falling back to an older checkpoint is
//! never silent and never follows from a read that failed. A target that is ahead of it stops its sink by its own
//! marker (decisions 0058, 0061).

mod replay;

use std::path::Path;

pub use replay::{WalReplay, logs_to_replay};

use crate::disk::{Blocking, Disk, DiskErrorKind};
use crate::error::{Result, StorageError};
use crate::ids::{CheckpointNumber, Incarnation, ObjectId, OutboxPosition, ShardId};
use crate::incarnation::{self, Identity};
use crate::log::DirectoryId;
use crate::manifest::{Catalog, Checkpoint, ManifestFile, OutboxMark, Publisher, PublisherOptions};
use crate::outbox::{self, OutboxStart};
use crate::wal;

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
    /// Make the manifest durable as it is, and read it; what does not fit together is refused before anything is
    /// written.
    Manifest,
    /// Count up the incarnation and make it durable.
    Incarnation,
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

/// Creates the directories of logs and page files, durably.
pub(crate) fn sync_directories(disk: &mut dyn Disk) -> Result<()> {
    let what = "create the data directory's parts";
    for dir in ["wal", "outbox", "state"] {
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
            step: Step::Manifest,
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
            Step::Manifest => self.read_manifest(disk)?,
            Step::Incarnation => self.count_up(disk)?,
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

    fn read_manifest(&mut self, disk: &mut dyn Disk) -> Result<Step> {
        self.identity = incarnation::next(disk, self.options.fresh_directory)?;
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
        let logs = wal::list(disk)?;
        self.refuse_older(logs.iter().map(|log| log.incarnation).max(), "a WAL file")?;
        if let Some(found) = crate::manifest::read(disk, self.identity.directory)? {
            self.refuse_older(found.checkpoints.last().map(|newest| newest.incarnation), "the newest checkpoint")?;
            if found.torn {
                self.notes.push("MANIFEST: an unfinished record at its end was cut".to_owned());
            }
            self.found = found;
        } else if !logs.is_empty() {
            return Err(StorageError::Missing {
                file: "MANIFEST".to_owned(),
                detail: "the directory holds WAL files but no manifest".to_owned(),
            });
        }
        Ok(Step::Incarnation)
    }

    fn count_up(&mut self, disk: &mut dyn Disk) -> Result<Step> {
        incarnation::write(disk, &self.identity)?;
        if self.identity.repaired {
            self.notes.push("INCARNATION: one of two copies was damaged; it was written anew".to_owned());
        }
        sync_directories(disk)?;
        Ok(Step::Checkpoint)
    }

    /// A number that was used before is never used again (C4): an incarnation file that was put back is refused.
    fn refuse_older(&self, used: Option<Incarnation>, by: &str) -> Result<()> {
        let mine = self.identity.incarnation;
        match used.filter(|used| *used >= mine) {
            None => Ok(()),
            Some(used) => Err(StorageError::Foreign {
                file: "INCARNATION".to_owned(),
                detail: format!(
                    "it counts this as start {mine}, and start {used} has written {by}: it is an older copy"
                ),
            }),
        }
    }

    fn choose_checkpoint(&mut self, disk: &mut dyn Disk, verify: VerifyState<'_>) -> Result<Step> {
        if self.found.checkpoints.is_empty() {
            return Ok(Step::Outboxes);
        }
        let mut refused = Vec::new();
        for candidate in self.found.kept().into_iter().rev() {
            match verify(disk, self.identity.directory, candidate) {
                Ok(()) => {
                    if let Some(reason) = refused.first() {
                        let text = format!("FELL BACK to checkpoint {}; not usable: {reason}", candidate.number);
                        self.notes.insert(0, text);
                    }
                    self.checkpoint = Some(candidate.clone());
                    return Ok(Step::Outboxes);
                }
                // A read that failed says nothing about the bytes, and falling back cannot be taken back.
                Err(error @ StorageError::Disk { .. }) => return Err(error),
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
        for (log, mark) in logs_to_replay(disk, self.checkpoint.as_ref())? {
            wal::sync(disk, log)?;
            let (replay, note) = WalReplay::find(disk, self.identity.directory, log, mark)?;
            self.notes.extend(note);
            self.wal.push(replay);
        }
        Ok(Step::Publisher)
    }

    fn start_publisher(&mut self, disk: &mut dyn Disk) -> Result<Step> {
        // The newer ones cannot be used.
        let chosen = self.checkpoint.as_ref().map_or(CheckpointNumber(0), |chosen| chosen.number);
        let kept = self.found.kept().into_iter().filter(|checkpoint| checkpoint.number <= chosen).cloned().collect();
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
