//! The writing side of the WAL.
//!
//! Invariant: rows may enter a chain only when [`Wal::durable`] has reached their position; after a
//! failed write or sync every call fails (W4) and the process must end.

use crate::disk::{Completion, Disk};
use crate::error::{Result, StorageError};
use crate::ids::{Incarnation, Lsn, ReactorId, ShardId};
use crate::log::{DirectoryId, LogName, LogOptions, LogWriter, SyncPolicy};
use crate::recovery::sync_directories;

/// The write-ahead log of one reactor in this incarnation. One owner, one thread.
pub struct Wal {
    log: LogWriter,
}

impl Wal {
    /// Creates the log; no file is touched before the first [`Wal::pump`].
    ///
    /// # Errors
    /// [`StorageError::Order`] when the sizes do not fit each other.
    pub fn create(
        directory: DirectoryId,
        incarnation: Incarnation,
        reactor: ReactorId,
        options: LogOptions,
    ) -> Result<Self> {
        let name = LogName::Wal { incarnation, reactor };
        Ok(Self { log: LogWriter::new(directory, name, 0, options, SyncPolicy::EveryGroup)? })
    }

    /// Appends one record made of parts; returns the position after it. The record is acknowledged
    /// when [`Wal::durable`] has reached that position, and replay from that position starts after it.
    /// Copies the parts; no I/O.
    ///
    /// # Errors
    /// [`StorageError::RecordTooLarge`]; [`StorageError::LogBusy`]: pump, wait for completions, try
    /// again; [`StorageError::LogFailed`].
    #[inline]
    pub fn append(&mut self, shard: ShardId, parts: &[&[u8]]) -> Result<Lsn> {
        self.log.append(u32::from(shard.0), parts).map(Lsn)
    }

    /// Starts the next group if none is in flight. Never blocks. Call once per turn.
    ///
    /// # Errors
    /// Fatal; see the module.
    pub fn pump(&mut self, disk: &mut dyn Disk) -> Result<()> {
        self.log.pump(disk)
    }

    /// Takes a completion if it is of this log; `false` when it is someone else's.
    ///
    /// # Errors
    /// Fatal; see the module.
    pub fn complete(&mut self, disk: &mut dyn Disk, completion: &Completion) -> Result<bool> {
        self.log.complete(disk, completion)
    }

    /// Everything up to here survives a power cut.
    pub fn durable(&self) -> Lsn {
        Lsn(self.log.durable())
    }

    /// Position after the last append.
    pub fn appended(&self) -> Lsn {
        Lsn(self.log.appended())
    }

    /// True when nothing waits and nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.log.is_idle()
    }

    /// True while the volume has no room for the next segment: hold back pushes, and ask again later.
    pub fn is_out_of_space(&self) -> bool {
        self.log.is_out_of_space()
    }

    /// Lets the next pump ask the volume for space again after it was refused.
    pub fn ask_for_space(&mut self) {
        self.log.ask_for_space();
    }

    /// True when a record of this size would have to wait for space on the volume.
    pub fn lacks_space_for(&self, payload: usize) -> bool {
        self.log.lacks_space_for(payload)
    }

    /// Bytes that wait to be written.
    pub fn pending_bytes(&self) -> usize {
        self.log.pending_bytes()
    }

    /// Frees the segments whose records all lie before `position` (the oldest retained checkpoint's).
    /// A freed file is used again for a later segment.
    pub fn release_before(&mut self, disk: &mut dyn Disk, position: Lsn) {
        self.log.release_before(disk, position.0);
    }

    /// Writes what waits, then a group that carries nothing but the horizon, so that later damage of
    /// the last records is found. Blocks; for shutdown.
    ///
    /// # Errors
    /// Fatal; see the module. [`StorageError::NoSpace`] when the rest finds no room.
    pub fn close(mut self, disk: &mut dyn Disk) -> Result<()> {
        self.settle(disk)?;
        self.log.stamp();
        self.settle(disk)
    }

    /// Blocks until everything appended is durable. For start, shutdown, tools and tests.
    ///
    /// # Errors
    /// Fatal; see the module. [`StorageError::NoSpace`] when the rest finds no room.
    pub fn settle(&mut self, disk: &mut dyn Disk) -> Result<()> {
        let mut arrived = Vec::new();
        self.ask_for_space();
        loop {
            self.pump(disk)?;
            if self.is_idle() {
                return Ok(());
            }
            disk.wait();
            disk.completions(&mut arrived);
            for completion in arrived.drain(..) {
                self.complete(disk, &completion)?;
            }
            if self.log.is_stuck() {
                return Err(StorageError::NoSpace { what: "allocate the next WAL segment" });
            }
        }
    }

    /// Creates the directories of all logs durably; blocks, for tools and tests that have no recovery.
    ///
    /// # Errors
    /// The disk's.
    pub fn prepare_directories(disk: &mut dyn Disk) -> Result<()> {
        sync_directories(disk)
    }
}
