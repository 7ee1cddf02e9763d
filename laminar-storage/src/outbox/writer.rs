//! The writing side of an outbox, inside the shard.
//!
//! Invariant: a position returned by [`Outbox::sync_for_checkpoint`] may stand in a manifest only when
//! [`Outbox::synced`] has reached it (C1).

use std::collections::VecDeque;
use std::path::PathBuf;

use super::EPOCH_BYTES;
use super::cut::KeptSegment;
use crate::disk::{Completion, Disk, DiskOp, Ticket};
use crate::error::{Result, StorageError};
use crate::ids::{Epoch, Incarnation, ObjectId, OutboxPosition, ShardId};
use crate::log::{DirectoryId, LogName, LogOptions, LogWriter, SyncPolicy};
use crate::mutant::{self, Mutant};

/// Sizes of an outbox's log. How much may wait for the target is its owner's to say.
pub const OUTBOX_LOG: LogOptions = LogOptions {
    segment_bytes: 8 << 20,
    max_record_bytes: 4 << 20,
    max_group_bytes: 1 << 20,
    max_pending_bytes: 16 << 20,
};

/// Bytes of the largest frame that an outbox with a log of these sizes takes.
pub const fn largest_frame(options: &LogOptions) -> usize {
    options.max_record_bytes - EPOCH_BYTES
}

/// Where an outbox begins in this incarnation; from recovery, or [`OutboxStart::new`] for a new sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxStart {
    /// The sink.
    pub sink: ObjectId,
    /// The shard.
    pub shard: ShardId,
    /// Position of the next frame.
    pub position: OutboxPosition,
    /// The target has acknowledged the frames before this position.
    pub acknowledged: OutboxPosition,
    /// Segments of former incarnations, oldest first.
    pub kept: Vec<KeptSegment>,
}

impl OutboxStart {
    /// The empty outbox of a new sink.
    pub const fn new(sink: ObjectId, shard: ShardId) -> Self {
        Self { sink, shard, position: OutboxPosition(0), acknowledged: OutboxPosition(0), kept: Vec::new() }
    }
}

/// The outbox of one sink in one shard. One owner, one thread.
pub struct Outbox {
    log: LogWriter,
    kept: Vec<KeptSegment>,
    released: u64,
    /// What the target has, which may be more than is durable here.
    acknowledged: u64,
    /// Files that are not needed any more, oldest first.
    gone: VecDeque<PathBuf>,
    removing: Option<Removing>,
}

/// The removal of one file: durable before the next begins, so that after a power cut no file is missing
/// that is younger than one that is there.
enum Removing {
    File(Ticket),
    Directory(Ticket),
}

impl Outbox {
    /// Opens the outbox for this incarnation; no file is touched before the first pump.
    ///
    /// # Errors
    /// [`StorageError::Order`] when the sizes do not fit each other.
    pub fn create(
        directory: DirectoryId,
        incarnation: Incarnation,
        start: OutboxStart,
        options: LogOptions,
    ) -> Result<Self> {
        let OutboxStart { sink, shard, position, acknowledged, kept } = start;
        let name = LogName::Outbox { sink, shard, incarnation };
        let log = LogWriter::new(directory, name, position.0, options, SyncPolicy::OnRequest)?;
        let first = kept.first().map_or(position.0, |segment| segment.first.0);
        let released = first.max(acknowledged.0);
        Ok(Self { log, kept, released, acknowledged: released, gone: VecDeque::new(), removing: None })
    }

    /// Adds one frame made of parts; returns the position after it. Copies, no I/O.
    ///
    /// # Errors
    /// [`StorageError::LogBusy`]: pump and try again; [`StorageError::RecordTooLarge`]: see
    /// [`largest_frame`]; [`StorageError::LogFailed`].
    pub fn append(&mut self, epoch: Epoch, parts: &[&[u8]]) -> Result<OutboxPosition> {
        let epoch = epoch.as_u64().to_le_bytes();
        let mut all: Vec<&[u8]> = Vec::with_capacity(parts.len() + 1);
        all.push(&epoch);
        all.extend_from_slice(parts);
        self.log.append(0, &all).map(OutboxPosition)
    }

    /// Starts the next write or the requested sync. Never blocks. Call once per turn.
    ///
    /// # Errors
    /// Fatal: the process must end (W4).
    pub fn pump(&mut self, disk: &mut dyn Disk) -> Result<()> {
        self.log.pump(disk)
    }

    /// Takes a completion if it is of this outbox; `false` when it is someone else's.
    ///
    /// # Errors
    /// Fatal: the process must end (W4).
    pub fn complete(&mut self, disk: &mut dyn Disk, completion: &Completion) -> Result<bool> {
        match self.removing {
            Some(Removing::File(ticket)) if ticket == completion.ticket => {
                completion.result.clone().map_err(StorageError::disk("remove an outbox segment"))?;
                let path = self.log.directory();
                self.removing = Some(Removing::Directory(disk.submit(DiskOp::SyncDir { path })));
                Ok(true)
            }
            Some(Removing::Directory(ticket)) if ticket == completion.ticket => {
                completion.result.clone().map_err(StorageError::disk("sync the outbox directory"))?;
                self.removing = None;
                self.remove_next(disk);
                Ok(true)
            }
            _ => {
                let mine = self.log.complete(disk, completion)?;
                self.release(disk);
                Ok(mine)
            }
        }
    }

    fn remove_next(&mut self, disk: &mut dyn Disk) {
        if self.removing.is_none()
            && let Some(path) = self.gone.pop_front()
        {
            self.removing = Some(Removing::File(disk.submit(DiskOp::Remove { path })));
        }
    }

    /// Asks that everything appended so far becomes durable, for a checkpoint; returns the position
    /// for the manifest. It may be published when [`Outbox::synced`] has reached it.
    pub fn sync_for_checkpoint(&mut self) -> OutboxPosition {
        OutboxPosition(self.log.request_sync())
    }

    /// Everything up to here survives a power cut.
    pub fn synced(&self) -> OutboxPosition {
        if mutant::active(Mutant::PublishBeforeOutboxSync) {
            return OutboxPosition(self.log.written());
        }
        OutboxPosition(self.log.durable())
    }

    /// Everything up to here can be read, but may be lost with the power (for at-least-once appliers).
    pub fn written(&self) -> OutboxPosition {
        OutboxPosition(self.log.written())
    }

    /// Position after the last append.
    pub fn position(&self) -> OutboxPosition {
        OutboxPosition(self.log.appended())
    }

    /// Everything before here has reached the target.
    pub fn released(&self) -> OutboxPosition {
        OutboxPosition(self.released)
    }

    /// True when nothing waits and nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.log.is_idle() && self.removing.is_none()
    }

    /// True while the volume has no room for the next segment.
    pub fn is_out_of_space(&self) -> bool {
        self.log.is_out_of_space()
    }

    /// Lets the next pump ask the volume for space again after it was refused.
    pub fn ask_for_space(&mut self) {
        self.log.ask_for_space();
    }

    /// Frees what lies before `position`: the target's marker covers it, so it is never read again.
    pub fn release_to(&mut self, disk: &mut dyn Disk, position: OutboxPosition) {
        self.acknowledged = self.acknowledged.max(position.0);
        self.release(disk);
    }

    fn release(&mut self, disk: &mut dyn Disk) {
        let released = self.acknowledged.min(self.log.durable());
        if released <= self.released {
            return;
        }
        self.released = released;
        while self.kept.first().is_some_and(|segment| segment.end.0 <= self.released) {
            let segment = self.kept.remove(0);
            self.gone.push_back(segment.path());
        }
        self.gone.extend(self.log.give_up_before(disk, self.released));
        self.remove_next(disk);
    }

    /// Blocks until everything appended is durable. For start, shutdown, tools and tests.
    ///
    /// # Errors
    /// Fatal; [`StorageError::NoSpace`] when it finds no room.
    pub fn settle(&mut self, disk: &mut dyn Disk) -> Result<OutboxPosition> {
        let position = self.sync_for_checkpoint();
        let mut arrived = Vec::new();
        self.ask_for_space();
        loop {
            self.pump(disk)?;
            if self.is_idle() {
                return Ok(position);
            }
            disk.wait();
            disk.completions(&mut arrived);
            for completion in arrived.drain(..) {
                self.complete(disk, &completion)?;
            }
            if self.log.is_stuck() {
                return Err(StorageError::NoSpace { what: "allocate the next outbox segment" });
            }
        }
    }
}

const _: () = assert!(EPOCH_BYTES == size_of::<u64>());
