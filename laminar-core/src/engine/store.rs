//! The durable side of one reactor: its log of pushed rows and the page files of its shards.
//!
//! Invariants: a checkpoint writes exactly the images that were frozen when its barrier passed, a
//! budgeted piece a turn, and is reported only when every page file has been synced; a failed write
//! or sync is final (W4) and reported as such.

use std::path::PathBuf;

use super::EngineError;
use super::fragment::Fragment;
use super::message::StoredPart;
use super::outboxes::Outboxes;
use super::push::Push;
use super::stage::Stage;
use super::status::ImageBytes;
use crate::ids::{Lsn, ObjectId, ReactorId, ShardId};
use crate::operator::Barrier;
use laminar_storage::StorageError;
use laminar_storage::arena::Arena;
use laminar_storage::crash_point::{CrashPoint, reach};
use laminar_storage::disk::{Completion, Disk, DiskResult};
use laminar_storage::page_file::{Finish, PageFile, PageFileMark, WriteStep};
use laminar_storage::wal::Wal;

/// Bytes of images written at a time, over all arenas; a turn writes twice. Small, since rows wait meanwhile.
const WRITE_BUDGET: i64 = 256 << 10;

/// Pause after a full disk, in microseconds.
const NO_SPACE_PAUSE_US: u64 = 200_000;

/// A reactor's disk; lives on the reactor's thread.
pub type ReactorDisk = Box<dyn Disk>;

/// Path of a shard's page file.
pub fn page_path(shard: ShardId) -> PathBuf {
    PathBuf::from(format!("state/{:04}.pages", shard.0))
}

/// A checkpoint being written.
struct Job {
    barrier: Barrier,
    entered: u64,
    filled: bool,
    written: bool,
    marks: Vec<PageFileMark>,
}

/// See the file's invariants.
pub struct Store {
    reactor: ReactorId,
    disk: ReactorDisk,
    wal: Wal,
    pages: Vec<PageFile>,
    /// Outboxes of the sinks.
    pub(super) outboxes: Outboxes,
    arrived: Vec<Completion>,
    job: Option<Job>,
    resume: u64,
    /// When space for the logs is asked for again after the volume was full.
    space_retry: u64,
    failed: bool,
}

impl Store {
    /// The store of a reactor; `pages` in the order of its shards.
    pub fn new(reactor: ReactorId, disk: ReactorDisk, wal: Wal, pages: Vec<PageFile>, outboxes: Outboxes) -> Self {
        Self {
            reactor,
            disk,
            wal,
            pages,
            outboxes,
            arrived: Vec::new(),
            job: None,
            resume: 0,
            space_retry: 0,
            failed: false,
        }
    }

    /// Appends pushed rows; returns their position.
    ///
    /// # Errors
    /// The record is too large, too much waits for the disk, or the volume is full: nothing was written;
    /// the store has failed.
    pub fn append(&mut self, shard: ShardId, record: &[u8]) -> Result<u64, EngineError> {
        if self.failed {
            return Err(EngineError::Stopped);
        }
        if self.wal.lacks_space_for(record.len()) {
            return Err(EngineError::NoSpace);
        }
        Ok(self.wal.append(shard, &[record])?.0)
    }

    /// Everything up to here survives a power cut.
    pub fn durable(&self) -> u64 {
        self.wal.durable().0
    }

    /// Takes nothing any more; what is durable stays known.
    pub fn fail(&mut self) {
        self.failed = true;
    }

    /// Begins to write the images that were frozen at a barrier.
    pub fn begin(&mut self, barrier: Barrier, entered: u64) {
        self.job = Some(Job { barrier, entered, filled: false, written: false, marks: Vec::new() });
    }

    /// Gives up the image of an arena that is going away; `forget` when it is never wanted back.
    pub fn release(&mut self, slot: usize, arena: &mut Arena, forget: bool) {
        let Some(page) = self.pages.get_mut(slot) else { return };
        if arena.is_frozen() {
            page.abandon(arena);
        }
        if forget {
            page.drop_arena(arena.id());
        }
    }

    /// Moves a segment of an arena to its spill file; returns its bytes, 0 when none is left.
    ///
    /// # Errors
    /// The disk's; nothing is lost by it.
    pub fn spill(&mut self, arena: &mut Arena) -> DiskResult<u64> {
        arena.spill(self.disk.as_mut())
    }

    /// Takes completions, writes a piece, and tells when a checkpoint is durable.
    ///
    /// # Errors
    /// A final failure of the disk.
    pub fn pump(
        &mut self,
        state: (&mut [Option<Box<Fragment>>], &mut [Push]),
        stages: &[Stage],
        now: u64,
    ) -> Result<(bool, Option<(Barrier, StoredPart)>), EngineError> {
        if self.failed {
            return Ok((false, None));
        }
        let mut busy = self.take_completions(now)?;
        if self.lacks_space() && now >= self.space_retry {
            self.wal.ask_for_space();
            self.outboxes.ask_for_space();
            self.space_retry = now + NO_SPACE_PAUSE_US;
        }
        self.wal.pump(self.disk.as_mut())?;
        if let Some(job) = self.job.as_mut().filter(|job| !job.filled) {
            job.filled = self.outboxes.fill(stages, job.barrier)?;
        }
        self.outboxes.pump(self.disk.as_mut())?;
        if self.job.is_some() && now >= self.resume {
            busy |= self.write_images(state)?;
        }
        let done = self.job.as_ref().is_some_and(|job| {
            job.filled && job.written && job.marks.len() == self.pages.len() && self.outboxes.synced()
        });
        if !done {
            return Ok((busy, None));
        }
        let part = self.job.take().map(|job| {
            let marks = job.marks.iter().map(|mark| (mark.shard, mark.encode().to_vec())).collect();
            (
                job.barrier,
                StoredPart { reactor: self.reactor, wal: job.entered, marks, outboxes: self.outboxes.marks() },
            )
        });
        Ok((true, part))
    }

    /// What was written of state since the start.
    pub(super) fn image_bytes(&self) -> ImageBytes {
        self.pages.iter().fold(ImageBytes::default(), |all, page| ImageBytes {
            changed: all.changed + page.changed_bytes(),
            written: all.written + page.written_bytes(),
        })
    }

    /// Whether the disk has finished something that no pump has seen.
    pub(super) fn has_news(&mut self) -> bool {
        self.disk.completions(&mut self.arrived);
        !self.arrived.is_empty()
    }

    fn take_completions(&mut self, now: u64) -> Result<bool, EngineError> {
        self.disk.completions(&mut self.arrived);
        let any = !self.arrived.is_empty();
        for completion in std::mem::take(&mut self.arrived) {
            if self.wal.complete(self.disk.as_mut(), &completion)? {
                continue;
            }
            if self.outboxes.complete(self.disk.as_mut(), &completion)? {
                continue;
            }
            for page in &mut self.pages {
                match page.complete(&completion) {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(StorageError::NoSpace { .. }) => {
                        self.resume = now + NO_SPACE_PAUSE_US;
                        break;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(any)
    }

    /// Writes a piece of the frozen images, then ends each page file's image.
    fn write_images(
        &mut self,
        (fragments, pushes): (&mut [Option<Box<Fragment>>], &mut [Push]),
    ) -> Result<bool, EngineError> {
        let Some(job) = self.job.as_mut() else { return Ok(false) };
        if !job.written {
            let mut left = WRITE_BUDGET;
            let of_fragments =
                fragments.iter_mut().flatten().flat_map(|fragment| fragment.arenas.iter_mut().enumerate());
            let of_requests = pushes.iter_mut().filter_map(Push::requests_arena);
            for (slot, arena) in of_fragments.chain(of_requests).filter(|(_, arena)| arena.is_frozen()) {
                match self.pages[slot].write_step(arena, self.disk.as_mut(), &mut left)? {
                    // What was read of it may be kept only if it is what was stored.
                    WriteStep::Done => arena.check_spilled().map_err(StorageError::disk("keep spilled state"))?,
                    WriteStep::More => return Ok(true),
                    WriteStep::Blocked => return Ok(false),
                }
            }
            job.written = true;
        }
        let (before, shards) = (job.marks.len(), self.pages.len());
        for page in &mut self.pages[before..] {
            match page.finish(self.disk.as_mut())? {
                Finish::Done(mark) => {
                    job.marks.push(mark);
                    if job.marks.len() < shards {
                        reach(CrashPoint::SnapshotHalf);
                    }
                }
                Finish::Pending => return Ok(false),
            }
        }
        // What then waits for the outboxes alone is no work.
        Ok(job.marks.len() > before)
    }

    /// Frames of a sink are safe at the target.
    pub fn acknowledged(&mut self, sink: ObjectId, shard: ShardId, sequence: u64) {
        self.outboxes.acknowledged(self.disk.as_mut(), sink, shard, sequence);
    }

    /// Frees what no retained checkpoint needs.
    pub fn published(&mut self, marks: &[PageFileMark], wal_floor: u64) {
        for page in &mut self.pages {
            let shard = page.shard();
            let kept: Vec<PageFileMark> = marks.iter().filter(|mark| mark.shard == shard).copied().collect();
            page.retain_only(&kept);
        }
        self.wal.release_before(self.disk.as_mut(), Lsn(wal_floor));
    }

    fn lacks_space(&self) -> bool {
        self.wal.is_out_of_space() || self.outboxes.lack_space()
    }

    /// When to look again without a wake: while the volume is full.
    pub fn deadline(&self, now: u64) -> Option<u64> {
        let images = (self.resume > now).then_some(self.resume);
        let logs = self.lacks_space().then(|| self.space_retry.max(now + 1));
        images.into_iter().chain(logs).min()
    }

    /// Ends the log so that later damage of its last records is found, unless the store has failed. Blocks; for
    /// shutdown.
    ///
    /// # Errors
    /// The disk's.
    pub fn close(mut self) -> Result<(), EngineError> {
        if self.failed { Ok(()) } else { Ok(self.wal.close(self.disk.as_mut())?) }
    }
}

impl From<StorageError> for EngineError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error.to_string())
    }
}
