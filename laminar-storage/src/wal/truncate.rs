//! Which logs there are, and the removal of those that no retained checkpoint needs.
//!
//! Invariant: only logs of finished incarnations are removed here; a live log frees its own segments.

use std::collections::BTreeSet;

use crate::disk::{Blocking, Disk, DiskOp};
use crate::error::{Result, StorageError};
use crate::ids::{Incarnation, ReactorId};
use crate::log::{LogName, SegmentFile};

/// A WAL log found on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalLog {
    /// The process life that wrote it.
    pub incarnation: Incarnation,
    /// The reactor that wrote it.
    pub reactor: ReactorId,
}

/// All logs in the data directory, sorted.
///
/// # Errors
/// The disk's.
pub fn list(disk: &mut dyn Disk) -> Result<Vec<WalLog>> {
    let segments = wal_segments(disk)?;
    let logs: BTreeSet<WalLog> = segments.iter().filter_map(|segment| log_of(segment.log)).collect();
    Ok(logs.into_iter().collect())
}

/// Removes a finished log. Blocks; for the control thread. A crash in between leaves segments that
/// the next call removes.
///
/// # Errors
/// The disk's.
pub fn remove(disk: &mut dyn Disk, log: WalLog) -> Result<()> {
    let segments = wal_segments(disk)?;
    let mut blocking = Blocking::new(disk);
    for segment in segments.iter().filter(|segment| log_of(segment.log) == Some(log)) {
        blocking
            .run(DiskOp::Remove { path: segment.path() })
            .map_err(StorageError::disk("remove a finished WAL segment"))?;
    }
    Ok(())
}

/// Makes every byte of a log durable that can be read: after the death of the process alone its last
/// writes may still wait in the page cache, and what recovery has seen must not vanish later.
pub(crate) fn sync(disk: &mut dyn Disk, log: WalLog) -> Result<()> {
    for segment in wal_segments(disk)?.iter().filter(|segment| log_of(segment.log) == Some(log)) {
        let file = disk.open(&segment.path()).map_err(StorageError::disk("open a WAL segment"))?;
        let synced = Blocking::new(disk).sync(file).map_err(StorageError::disk("sync a WAL segment"));
        disk.close(file);
        synced?;
    }
    Ok(())
}

fn wal_segments(disk: &mut dyn Disk) -> Result<Vec<SegmentFile>> {
    let any = LogName::Wal { incarnation: Incarnation(0), reactor: ReactorId(0) };
    SegmentFile::list(disk, any.directory())
}

fn log_of(name: LogName) -> Option<WalLog> {
    match name {
        LogName::Wal { incarnation, reactor } => Some(WalLog { incarnation, reactor }),
        LogName::Outbox { .. } => None,
    }
}
