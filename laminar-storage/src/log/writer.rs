//! The writing side of a log: writes and syncs groups of records, rolls segments.
//!
//! One group is on its way to the disk, and everything appended meanwhile forms the next one.
//!
//! Invariant: `durable` never passes a byte that no completed sync or write through covers. After a failed
//! write or sync nothing is accepted, written or acknowledged any more.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use super::RECORD_HEADER_BYTES;
use super::frame::{FILE_BLOCK, FrameKind, FrameNumbers, Place, fill_header, frame_bytes};
use super::groups::{Buffer, Groups};
use super::identity::{DirectoryId, LogId, LogName};
use super::options::LogOptions;
use super::prepare::{OpenSegment, Preparation, Released};
use crate::crash_point::{CrashPoint, reach};
use crate::disk::{Completion, Disk, DiskError, DiskOp, FileId, IoBuffer, Ticket};
use crate::error::{Result, StorageError};
use crate::mutant::{self, Mutant};

/// When a log syncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncPolicy {
    /// With each group, which is written through: an append is acknowledged when durable.
    EveryGroup,
    /// When asked: durability belongs to the checkpoint.
    OnRequest,
}

/// A segment that holds records, with the positions it covers.
struct Segment {
    open: OpenSegment,
    end: u64,
    used: u64,
}

enum Phase {
    Idle,
    /// A group is on its way, through to the device.
    WritingThrough {
        ticket: Ticket,
        end: u64,
        buffer: Arc<IoBuffer>,
    },
    /// A group is on its way; it is synced when somebody asks.
    Writing {
        ticket: Ticket,
        end: u64,
    },
    Syncing {
        tickets: Vec<Ticket>,
        end: u64,
    },
}

/// The single writer of one log.
pub(crate) struct LogWriter {
    name: LogName,
    id: LogId,
    options: LogOptions,
    policy: SyncPolicy,
    groups: Groups,
    written: u64,
    durable: u64,
    sync_wanted: u64,
    phase: Phase,
    segments: VecDeque<Segment>,
    unsynced: Vec<FileId>,
    preparation: Preparation,
    released: Option<Released>,
    removals: Vec<Ticket>,
    failed: Option<String>,
}

impl LogWriter {
    /// A log that begins at `start`; no file is touched yet.
    pub(crate) fn new(
        directory: DirectoryId,
        name: LogName,
        start: u64,
        options: LogOptions,
        policy: SyncPolicy,
    ) -> Result<Self> {
        options.validate()?;
        Ok(Self {
            name,
            id: name.id(directory),
            options,
            policy,
            groups: Groups::new(options, policy, start),
            written: start,
            durable: start,
            sync_wanted: start,
            phase: Phase::Idle,
            segments: VecDeque::new(),
            unsynced: Vec::new(),
            preparation: Preparation::new(name, options.segment_bytes),
            released: None,
            removals: Vec::new(),
            failed: None,
        })
    }

    /// Position after everything appended.
    pub(crate) fn appended(&self) -> u64 {
        self.groups.end()
    }

    /// Position after everything that can be read back from the files.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Position after everything that survives a power cut.
    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }

    /// Bytes that wait to be written.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.groups.bytes()
    }

    /// True while the disk has no room for the next segment; see [`LogWriter::ask_for_space`].
    pub(crate) fn is_out_of_space(&self) -> bool {
        self.preparation.is_out_of_space()
    }

    /// True when a record of this size would wait for space: the present segment has no room for it
    /// behind what is queued, and the disk none for the next segment.
    pub(crate) fn lacks_space_for(&self, payload: usize) -> bool {
        let room = self.segments.back().map_or(0, |segment| self.options.segment_bytes - segment.used);
        let queued = self.groups.frame_bytes();
        self.is_out_of_space() && room < (queued + frame_bytes(RECORD_HEADER_BYTES + payload)) as u64
    }

    /// Lets the next pump ask for space again after it was refused.
    pub(crate) fn ask_for_space(&mut self) {
        self.preparation.ask_again();
    }

    /// True when space is missing and no attempt to get it is under way.
    pub(crate) fn is_stuck(&self) -> bool {
        self.preparation.is_out_of_space() && !self.preparation.is_working()
    }

    /// True when nothing is in flight or waiting.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle)
            && self.groups.is_empty()
            && !self.preparation.is_working()
            && self.removals.is_empty()
            && (self.policy == SyncPolicy::OnRequest || self.durable == self.appended())
            && self.sync_wanted <= self.durable
    }

    /// Adds one record made of parts; returns the position after it. Copies the parts, no I/O.
    #[inline]
    pub(crate) fn append(&mut self, tag: u32, parts: &[&[u8]]) -> Result<u64> {
        self.check()?;
        self.groups.append(tag, parts)
    }

    /// Asks that everything appended so far becomes durable; [`LogWriter::durable`] tells when.
    pub(crate) fn request_sync(&mut self) -> u64 {
        // It ends at a frame boundary: nothing joins the group before it.
        self.groups.close();
        self.sync_wanted = self.groups.end();
        self.sync_wanted
    }

    /// Adds an empty group, which carries the horizon only: after it damage of the last records can
    /// be told from a torn tail.
    pub(crate) fn stamp(&mut self) {
        self.groups.stamp();
    }

    /// Starts whatever can be started; never blocks. Call after appends and completions.
    pub(crate) fn pump(&mut self, disk: &mut dyn Disk) -> Result<()> {
        self.check()?;
        let outcome = self.advance(disk);
        self.keep_failure(outcome)
    }

    fn advance(&mut self, disk: &mut dyn Disk) -> Result<()> {
        if !matches!(self.phase, Phase::Idle) {
            return self.prepare_ahead(disk);
        }
        if self.policy == SyncPolicy::OnRequest && self.sync_wanted > self.durable && self.written >= self.sync_wanted {
            self.start_sync(disk);
            return Ok(());
        }
        let Some(group) = self.groups.front() else { return self.prepare_ahead(disk) };
        let bytes = frame_bytes(group.payload_bytes()) as u64;
        let room = self.segments.back().map_or(0, |segment| self.options.segment_bytes - segment.used);
        if room < bytes {
            match self.preparation.take() {
                Some(open) => self.segments.push_back(Segment { open, end: self.written, used: 0 }),
                None => return self.preparation.start(disk, &mut self.released),
            }
        }
        self.write_front(disk);
        self.prepare_ahead(disk)
    }

    fn write_front(&mut self, disk: &mut dyn Disk) {
        let (Some(mut group), Some(segment)) = (self.groups.take(), self.segments.back_mut()) else { return };
        let end = group.end();
        let place = Place { log: self.id, segment: segment.open.segment, offset: segment.used };
        let file_blocks = match self.name.kind() {
            FrameKind::Wal => u16::try_from(self.options.segment_bytes / FILE_BLOCK).unwrap_or(u16::MAX),
            // An outbox is cut at recovery; how far it reaches says the manifest.
            _ => 0,
        };
        let numbers = FrameNumbers { position: group.first, horizon: self.durable, count: group.count, file_blocks };
        let bytes = frame_bytes(group.payload_bytes());
        fill_header(group.buffer.bytes_mut(), self.name.kind(), place, numbers);
        group.buffer.pad(bytes);
        segment.used += bytes as u64;
        segment.end = end;
        let (file, offset) = (segment.open.file, place.offset);
        self.phase = match group.buffer {
            Buffer::Heap(data) => Phase::Writing { ticket: disk.submit(DiskOp::Write { file, offset, data }), end },
            Buffer::Through(buffer) if mutant::active(Mutant::SkipSync) => {
                let data = buffer.to_vec();
                Phase::Writing { ticket: disk.submit(DiskOp::Write { file, offset, data }), end }
            }
            Buffer::Through(buffer) => {
                let buffer = Arc::new(buffer);
                let data = Arc::clone(&buffer);
                Phase::WritingThrough { ticket: disk.submit(DiskOp::WriteThrough { file, offset, data }), end, buffer }
            }
        };
        match self.policy {
            SyncPolicy::EveryGroup => {
                reach(CrashPoint::WalSubmitted);
                if mutant::active(Mutant::AcknowledgeEarly) {
                    self.durable = end;
                }
            }
            SyncPolicy::OnRequest if self.unsynced.contains(&file) => {}
            SyncPolicy::OnRequest => self.unsynced.push(file),
        }
    }

    fn start_sync(&mut self, disk: &mut dyn Disk) {
        let end = self.written;
        let tickets = self.unsynced.drain(..).map(|file| disk.submit(DiskOp::Sync { file })).collect();
        self.phase = Phase::Syncing { tickets, end };
    }

    fn prepare_ahead(&mut self, disk: &mut dyn Disk) -> Result<()> {
        let wanted = match (self.segments.back(), self.policy) {
            (Some(segment), _) => segment.used > self.options.segment_bytes / 2,
            (None, SyncPolicy::EveryGroup) => true,
            (None, SyncPolicy::OnRequest) => false,
        };
        if wanted { self.preparation.start(disk, &mut self.released) } else { Ok(()) }
    }

    /// Takes a completion if it is of this log; false if it is someone else's.
    pub(crate) fn complete(&mut self, disk: &mut dyn Disk, completion: &Completion) -> Result<bool> {
        let outcome = self.accept(disk, completion);
        match outcome {
            Ok(mine) => Ok(mine),
            Err(error) => self.keep_failure(Err(error)).map(|()| true),
        }
    }

    fn accept(&mut self, disk: &mut dyn Disk, completion: &Completion) -> Result<bool> {
        if let Some(at) = self.removals.iter().position(|ticket| *ticket == completion.ticket) {
            self.removals.swap_remove(at);
            done("remove a log segment", &completion.result)?;
            return Ok(true);
        }
        match &mut self.phase {
            Phase::WritingThrough { ticket, .. } if *ticket == completion.ticket => {
                done("write to the log", &completion.result)?;
                if let Phase::WritingThrough { end, buffer, .. } = std::mem::replace(&mut self.phase, Phase::Idle) {
                    (self.written, self.durable) = (end, end);
                    if let Some(buffer) = Arc::into_inner(buffer) {
                        self.groups.give_back(buffer);
                    }
                }
                reach(CrashPoint::WalDurable);
            }
            Phase::Writing { ticket, end } if *ticket == completion.ticket => {
                let end = *end;
                self.phase = Phase::Idle;
                done("write to the log", &completion.result)?;
                self.written = end;
                match self.policy {
                    // The planted defect.
                    SyncPolicy::EveryGroup => self.durable = end,
                    SyncPolicy::OnRequest => reach(CrashPoint::OutboxWritten),
                }
            }
            Phase::Syncing { tickets, end } if tickets.contains(&completion.ticket) => {
                let end = *end;
                tickets.retain(|ticket| *ticket != completion.ticket);
                let finished = tickets.is_empty();
                done("sync the log", &completion.result)?;
                if finished {
                    self.phase = Phase::Idle;
                    self.durable = end;
                }
            }
            _ => return self.preparation.complete(disk, completion),
        }
        Ok(true)
    }

    /// Frees the segments whose records all lie before `position`. The one in use stays.
    pub(crate) fn release_before(&mut self, disk: &mut dyn Disk, position: u64) {
        let position = position.min(self.durable);
        while self.segments.len() > 1 && self.segments.front().is_some_and(|segment| segment.end <= position) {
            let Some(segment) = self.segments.pop_front() else { return };
            let OpenSegment { file, path, .. } = segment.open;
            self.unsynced.retain(|unsynced| *unsynced != file);
            if self.released.is_none() {
                self.released = Some(Released { file, path });
            } else {
                self.removals.push(disk.submit(DiskOp::Remove { path }));
                disk.close(file);
            }
        }
    }

    /// Gives up the segments whose records all lie before `position`, except the one in use; the caller
    /// removes their files.
    pub(crate) fn give_up_before(&mut self, disk: &mut dyn Disk, position: u64) -> Vec<PathBuf> {
        let position = position.min(self.durable);
        let mut paths = Vec::new();
        while self.segments.len() > 1
            && let Some(segment) = self.segments.pop_front_if(|segment| segment.end <= position)
        {
            let OpenSegment { file, path, .. } = segment.open;
            self.unsynced.retain(|unsynced| *unsynced != file);
            disk.close(file);
            paths.push(path);
        }
        paths
    }

    /// The directory of its segments.
    pub(crate) fn directory(&self) -> PathBuf {
        self.name.directory().to_owned()
    }

    /// The file in use, for messages.
    pub(crate) fn current_file(&self) -> String {
        let path = self.segments.back().map_or_else(|| self.name.segment_path(0), |segment| segment.open.path.clone());
        path.display().to_string()
    }

    #[inline]
    fn check(&self) -> Result<()> {
        self.failed.as_ref().map_or(Ok(()), |cause| Err(self.failure(cause)))
    }

    #[cold]
    fn failure(&self, cause: &str) -> StorageError {
        StorageError::LogFailed { file: self.current_file(), cause: cause.to_owned() }
    }

    fn keep_failure(&mut self, outcome: Result<()>) -> Result<()> {
        if let Err(error) = &outcome {
            self.failed.get_or_insert_with(|| error.to_string());
        }
        outcome
    }
}

fn done(what: &'static str, result: &std::result::Result<(), DiskError>) -> Result<()> {
    result.clone().map_err(StorageError::disk(what))
}
