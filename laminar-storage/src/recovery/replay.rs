//! Which logs a start from a checkpoint replays, and how far they go.
//!
//! Invariant: nothing here changes the disk, so that who only looks at a directory finds what a start would.

use crate::disk::Disk;
use crate::error::{Result, StorageError};
use crate::ids::{Incarnation, Lsn};
use crate::log::{DirectoryId, Known};
use crate::manifest::{Checkpoint, WalMark};
use crate::wal::{self, Reader, WalLog, WalRecord};

/// One WAL log to replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalReplay {
    /// The log.
    pub log: WalLog,
    /// How far the checkpoint contains it; `None` when the log is younger than the checkpoint.
    pub mark: Option<WalMark>,
    /// Where it ends; a later reading must come as far.
    pub end: Lsn,
}

impl WalReplay {
    /// Reads a log once to its end, so that damage stops the start and not the running engine; also returns
    /// what the operator should know.
    ///
    /// # Errors
    /// The log does not verify; the disk's.
    pub fn find(
        disk: &mut dyn Disk,
        directory: DirectoryId,
        log: WalLog,
        mark: Option<WalMark>,
    ) -> Result<(Self, Option<String>)> {
        let from = mark.as_ref().map_or(Lsn(0), WalMark::lowest);
        let known = Known::Durable(mark.as_ref().map_or(Lsn(0), WalMark::known_durable).0);
        let mut reader = Reader::open(disk, directory, (log.incarnation, log.reactor), from, known)?;
        while reader.next(disk)?.is_some() {}
        let Some(end) = reader.end() else {
            return Err(StorageError::Order { detail: "a WAL reader stopped without an end".to_owned() });
        };
        let cut = || format!("{}: unacknowledged bytes behind offset {} were cut", end.file, end.offset);
        let note = end.torn.then(cut);
        Ok((Self { log, mark, end: Lsn(end.position) }, note))
    }

    /// Opens the log at the first record that some shard still needs.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(&self, disk: &mut dyn Disk, directory: DirectoryId) -> Result<Reader> {
        let from = self.mark.as_ref().map_or(Lsn(0), WalMark::lowest);
        let log = (self.log.incarnation, self.log.reactor);
        Reader::open(disk, directory, log, from, Known::Judged(self.end.0))
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
}

/// The logs that a start from a checkpoint needs, oldest first, and how far the checkpoint contains each.
///
/// # Errors
/// [`StorageError::Missing`] when one is gone; the disk's.
pub fn logs_to_replay(disk: &mut dyn Disk, checkpoint: Option<&Checkpoint>) -> Result<Vec<(WalLog, Option<WalMark>)>> {
    let logs = wal::list(disk)?;
    let marks = checkpoint.map_or(&[][..], |checkpoint| &checkpoint.draft.wal);
    if let Some(lost) = marks.iter().find(|mark| mark.known_durable() > Lsn(0) && !logs.contains(&mark.log)) {
        return Err(StorageError::Missing {
            file: format!("WAL of incarnation {}, reactor {}", lost.log.incarnation, lost.log.reactor),
            detail: format!("the checkpoint needs it from position {}", lost.lowest()),
        });
    }
    let contained_before = checkpoint.map_or(Incarnation(0), |checkpoint| checkpoint.incarnation);
    let with_mark = |log: WalLog| (log, marks.iter().find(|mark| mark.log == log).cloned());
    let needed = |(log, mark): &(WalLog, Option<WalMark>)| mark.is_some() || log.incarnation >= contained_before;
    Ok(logs.into_iter().map(with_mark).filter(needed).collect())
}
