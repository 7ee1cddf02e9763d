//! The writing side of a log: gathers records into groups, writes and syncs them, rolls segments.
//!
//! One group is in flight: write → await → sync → await. Everything appended meanwhile forms the
//! next group.
//!
//! Invariant: `durable` never passes a byte that a completed sync does not cover. After a failed
//! write or sync nothing is accepted, written or acknowledged any more.

use std::collections::VecDeque;
use std::path::PathBuf;

use super::RECORD_HEADER_BYTES;
use super::frame::{FILE_BLOCK, FrameKind, FrameNumbers, HEADER_BYTES, Place, close_frame, frame_bytes, open_frame};
use super::identity::{DirectoryId, LogId, LogName};
use super::options::LogOptions;
use super::prepare::{OpenSegment, Preparation, Released};
use crate::crash_point::{CrashPoint, reach};
use crate::disk::{Completion, Disk, DiskError, DiskOp, FileId, Ticket};
use crate::error::{Result, StorageError};
use crate::mutant::{self, Mutant};

/// When a log syncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncPolicy {
    /// After each group: an append is acknowledged when durable.
    EveryGroup,
    /// When asked: durability belongs to the checkpoint.
    OnRequest,
}

struct Group {
    buffer: Vec<u8>,
    first: u64,
    count: u32,
}

impl Group {
    fn payload_bytes(&self) -> usize {
        self.buffer.len() - HEADER_BYTES
    }
}

/// A segment that holds records, with the positions it covers.
struct Segment {
    open: OpenSegment,
    end: u64,
    used: u64,
}

enum Phase {
    Idle,
    Writing { ticket: Ticket, end: u64 },
    Syncing { tickets: Vec<Ticket>, end: u64 },
}

/// The single writer of one log.
pub(crate) struct LogWriter {
    name: LogName,
    id: LogId,
    options: LogOptions,
    policy: SyncPolicy,
    queue: VecDeque<Group>,
    pending_bytes: usize,
    /// Payload of the group that was written last.
    last_group_bytes: usize,
    appended: u64,
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
            queue: VecDeque::new(),
            pending_bytes: 0,
            last_group_bytes: 0,
            appended: start,
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
        self.appended
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
        self.pending_bytes
    }

    /// True while the disk has no room for the next segment; see [`LogWriter::ask_for_space`].
    pub(crate) fn is_out_of_space(&self) -> bool {
        self.preparation.is_out_of_space()
    }

    /// True when a record of this size would wait for space: the present segment has no room for it
    /// behind what is queued, and the disk none for the next segment.
    pub(crate) fn lacks_space_for(&self, payload: usize) -> bool {
        let room = self.segments.back().map_or(0, |segment| self.options.segment_bytes - segment.used);
        let queued: usize = self.queue.iter().map(|group| frame_bytes(group.payload_bytes())).sum();
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
            && self.queue.is_empty()
            && !self.preparation.is_working()
            && self.removals.is_empty()
            && (self.policy == SyncPolicy::OnRequest || self.durable == self.appended)
            && self.sync_wanted <= self.durable
    }

    /// Adds one record made of parts; returns the position after it. Copies the parts, no I/O.
    pub(crate) fn append(&mut self, tag: u32, parts: &[&[u8]]) -> Result<u64> {
        self.check()?;
        let payload: usize = parts.iter().map(|part| part.len()).sum();
        if payload > self.options.max_record_bytes {
            return Err(StorageError::RecordTooLarge { bytes: payload, limit: self.options.max_record_bytes });
        }
        let bytes = RECORD_HEADER_BYTES + payload;
        let limit = self.options.max_pending_bytes;
        if self.pending_bytes > 0 && self.pending_bytes + bytes > limit {
            return Err(StorageError::LogBusy { pending: self.pending_bytes, limit });
        }
        let max_group_bytes = self.options.max_group_bytes;
        let first = self.appended;
        // A requested sync ends at a frame boundary: nothing joins the group before it.
        let boundary = self.policy == SyncPolicy::OnRequest && self.appended == self.sync_wanted;
        let fits = |group: &Group| !boundary && group.payload_bytes() + bytes <= max_group_bytes;
        if !self.queue.back().is_some_and(fits) {
            // Groups are much alike from one to the next: room for as much spares growing in steps.
            self.queue.push_back(Group { buffer: open_frame(bytes.max(self.last_group_bytes)), first, count: 0 });
        }
        if let Some(group) = self.queue.back_mut() {
            let header = u64::from(tag) << 32 | payload as u64;
            group.buffer.reserve(bytes);
            group.buffer.extend_from_slice(&header.to_le_bytes());
            for part in parts {
                group.buffer.extend_from_slice(part);
            }
            group.count += 1;
        }
        self.pending_bytes += bytes;
        self.appended += bytes as u64;
        Ok(self.appended)
    }

    /// Asks that everything appended so far becomes durable; [`LogWriter::durable`] tells when.
    pub(crate) fn request_sync(&mut self) -> u64 {
        self.sync_wanted = self.appended;
        self.appended
    }

    /// Adds an empty group, which carries the horizon only: after it damage of the last records can
    /// be told from a torn tail.
    pub(crate) fn stamp(&mut self) {
        self.queue.push_back(Group { buffer: open_frame(0), first: self.appended, count: 0 });
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
        let Some(group) = self.queue.front() else { return self.prepare_ahead(disk) };
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
        let (Some(mut group), Some(segment)) = (self.queue.pop_front(), self.segments.back_mut()) else { return };
        let payload_bytes = group.payload_bytes();
        let end = group.first + payload_bytes as u64;
        let place = Place { log: self.id, segment: segment.open.segment, offset: segment.used };
        let file_blocks = match self.name.kind() {
            FrameKind::Wal => u16::try_from(self.options.segment_bytes / FILE_BLOCK).unwrap_or(u16::MAX),
            // An outbox is cut at recovery; how far it reaches says the manifest.
            _ => 0,
        };
        let numbers = FrameNumbers { position: group.first, horizon: self.durable, count: group.count, file_blocks };
        close_frame(&mut group.buffer, self.name.kind(), place, numbers);
        segment.used += group.buffer.len() as u64;
        segment.end = end;
        let file = segment.open.file;
        let ticket = disk.submit(DiskOp::Write { file, offset: place.offset, data: group.buffer });
        self.pending_bytes -= payload_bytes;
        self.last_group_bytes = payload_bytes;
        if !self.unsynced.contains(&file) {
            self.unsynced.push(file);
        }
        if self.policy == SyncPolicy::EveryGroup && mutant::active(Mutant::AcknowledgeEarly) {
            self.durable = end;
        }
        self.phase = Phase::Writing { ticket, end };
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
            Phase::Writing { ticket, end } if *ticket == completion.ticket => {
                let end = *end;
                self.phase = Phase::Idle;
                done("write to the log", &completion.result)?;
                self.written = end;
                match self.policy {
                    SyncPolicy::EveryGroup => reach(CrashPoint::WalWritten),
                    SyncPolicy::OnRequest => reach(CrashPoint::OutboxWritten),
                }
                match self.policy {
                    SyncPolicy::EveryGroup if mutant::active(Mutant::SkipSync) => self.durable = end,
                    SyncPolicy::EveryGroup => self.start_sync(disk),
                    SyncPolicy::OnRequest => {}
                }
                Ok(true)
            }
            Phase::Syncing { tickets, end } if tickets.contains(&completion.ticket) => {
                let end = *end;
                tickets.retain(|ticket| *ticket != completion.ticket);
                let finished = tickets.is_empty();
                done("sync the log", &completion.result)?;
                if finished {
                    self.phase = Phase::Idle;
                    self.durable = end;
                    if self.policy == SyncPolicy::EveryGroup {
                        reach(CrashPoint::WalDurable);
                    }
                }
                Ok(true)
            }
            _ => self.preparation.complete(disk, completion),
        }
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
