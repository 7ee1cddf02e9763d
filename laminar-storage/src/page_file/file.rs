//! The page file as its shard holds it: space, arenas, retained marks, operations in flight.
//!
//! Sans-io: calls submit to the disk and return; completions are handed in with [`PageFile::complete`].
//! Invariant: an extent is reused only after no retained mark, no arena's newest state and no write in flight names it.

use super::extent::Extents;
use super::finish::Stage;
use super::image::{ArenaImage, ArenaState};
use super::layout::{SLOT_BYTES, encode_header};
use super::mark::PageFileMark;
use super::write::ArenaWrite;
use crate::disk::{Completion, Disk, DiskErrorKind, DiskOp, FileId, Ticket};
use crate::error::{Result, StorageError};
use crate::ids::{ObjectId, ShardId};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Adjacent writes are joined up to this size; what is large itself is not copied for it.
const JOIN_BYTES: usize = 256 << 10;
/// Most bytes under way to the disk.
const IN_FLIGHT_BYTES: usize = 16 << 20;
/// Most slots that one allocation adds.
const GROW_SLOTS: u64 = 64;

/// A mark that may be loaded again, with what it names.
pub(super) struct Retained {
    pub(super) mark: PageFileMark,
    pub(super) images: BTreeMap<ObjectId, Arc<ArenaImage>>,
}

/// The page file of one shard. One thread at a time.
pub struct PageFile {
    pub(super) path: PathBuf,
    pub(super) file: FileId,
    pub(super) shard: ShardId,
    /// Number of the image in the making.
    pub(super) generation: u64,
    pub(super) extents: Extents,
    pub(super) arenas: BTreeMap<ObjectId, ArenaState>,
    pub(super) writing: BTreeMap<ObjectId, ArenaWrite>,
    /// Oldest first; the last is the newest finished mark.
    pub(super) retained: Vec<Retained>,
    /// Root written, not yet durable.
    pub(super) finishing: Option<Retained>,
    /// Something differs from the newest mark.
    pub(super) changed: bool,
    pub(super) stage: Stage,
    /// The file's name is not durable yet.
    pub(super) is_new: bool,
    joined: Option<(u64, Vec<u8>)>,
    /// Writes under way, with their bytes.
    in_flight: HashMap<Ticket, usize>,
    in_flight_bytes: usize,
    allocating: Option<(Ticket, u64)>,
    next_growth: u64,
    pub(super) written_bytes: u64,
    pub(super) changed_bytes: u64,
    failed: Option<String>,
}

impl PageFile {
    /// Creates the file of a shard, empty, and its directory. A file that is there already is one that no mark names
    /// (the process ended before its first image was published) and is begun anew. Its name becomes durable with
    /// the first finished image.
    ///
    /// # Errors
    /// What the disk reports.
    pub fn create(disk: &mut dyn Disk, path: &Path, shard: ShardId) -> Result<Self> {
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            disk.create_dir(directory).map_err(StorageError::disk("create the directory of page files"))?;
        }
        let file = match disk.create(path) {
            Err(error) if error.kind == DiskErrorKind::Exists => disk.open(path),
            other => other,
        };
        let file = file.map_err(StorageError::disk("create a page file"))?;
        let mut this = Self::empty(path, file, shard);
        this.is_new = true;
        this.changed = true;
        let len = disk.len(file).map_err(StorageError::disk("measure a page file"))?;
        this.extents.space.grow(len / SLOT_BYTES);
        if len < SLOT_BYTES {
            this.request_space(disk);
        }
        Ok(this)
    }

    pub(super) fn empty(path: &Path, file: FileId, shard: ShardId) -> Self {
        Self {
            path: path.to_owned(),
            file,
            shard,
            generation: 1,
            extents: Extents::default(),
            arenas: BTreeMap::new(),
            writing: BTreeMap::new(),
            retained: Vec::new(),
            finishing: None,
            changed: false,
            stage: Stage::Open,
            is_new: false,
            joined: None,
            in_flight: HashMap::new(),
            in_flight_bytes: 0,
            allocating: None,
            next_growth: 1,
            written_bytes: 0,
            changed_bytes: 0,
            failed: None,
        }
    }

    /// Closes the file. Images that were not finished are lost, as in a crash.
    pub fn close(self, disk: &mut dyn Disk) {
        disk.close(self.file);
    }

    /// Path inside the data directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The shard.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Arenas of which the file keeps an image.
    pub fn arenas(&self) -> Vec<ObjectId> {
        self.arenas.keys().copied().collect()
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.extents.space.slots() * SLOT_BYTES
    }

    /// Bytes of the file that nothing uses.
    pub fn free_bytes(&self) -> u64 {
        self.extents.space.free_bytes()
    }

    /// Bytes written since the file was opened; a checkpoint's cost is a difference of two readings.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Bytes of the blocks that had changed in the images written since the file was opened.
    pub fn changed_bytes(&self) -> u64 {
        self.changed_bytes
    }

    /// The newest finished mark.
    pub fn newest_mark(&self) -> Option<PageFileMark> {
        self.retained.last().map(|retained| retained.mark)
    }

    /// Whether operations are in flight.
    pub fn is_busy(&self) -> bool {
        !self.in_flight.is_empty() || self.allocating.is_some() || matches!(self.stage, Stage::Syncing(_))
    }

    /// Forgets an arena. Its space comes back when no retained mark names it.
    pub fn drop_arena(&mut self, id: ObjectId) {
        if let Some(write) = self.writing.remove(&id) {
            write.discard(&mut self.extents);
        }
        if let Some(state) = self.arenas.remove(&id) {
            state.release(&mut self.extents);
            self.changed = true;
        }
        self.settle();
    }

    /// Tells which marks retained manifests still name; the space of all others comes back. The newest finished
    /// mark always stays.
    pub fn retain_only(&mut self, marks: &[PageFileMark]) {
        let newest = self.retained.len().saturating_sub(1);
        let all = std::mem::take(&mut self.retained);
        for (at, retained) in all.into_iter().enumerate() {
            if at == newest || marks.contains(&retained.mark) {
                self.retained.push(retained);
                continue;
            }
            self.extents.unname(retained.mark.root_offset);
            for image in retained.images.into_values() {
                ArenaImage::release(image, &mut self.extents);
            }
        }
        self.settle();
    }

    /// Hands in a completion; `false`: it is not this file's.
    ///
    /// # Errors
    /// `NoSpace` when growth was refused (the next call tries again, back off first); `Disk` for a failed write or
    /// sync, which is final.
    pub fn complete(&mut self, completion: &Completion) -> Result<bool> {
        if let Some((_, slots)) = self.allocating.take_if(|pending| pending.0 == completion.ticket) {
            return match &completion.result {
                Ok(()) => {
                    self.extents.space.grow(slots);
                    self.next_growth = (self.extents.space.slots() / 8).clamp(2, GROW_SLOTS);
                    Ok(true)
                }
                Err(error) if error.kind == DiskErrorKind::NoSpace => {
                    self.next_growth = 1;
                    Err(StorageError::NoSpace { what: "grow the page file of a shard" })
                }
                Err(error) => Err(self.fail("allocate space in a page file", error)),
            };
        }
        let written = self.in_flight.remove(&completion.ticket);
        let is_write = written.is_some();
        self.in_flight_bytes -= written.unwrap_or(0);
        let is_sync = matches!(&self.stage, Stage::Syncing(tickets) if tickets.contains(&completion.ticket));
        if !is_write && !is_sync {
            return Ok(false);
        }
        if let Err(error) = &completion.result {
            return Err(self.fail(if is_write { "write a page file" } else { "sync a page file" }, error));
        }
        if let Stage::Syncing(tickets) = &mut self.stage {
            tickets.retain(|ticket| *ticket != completion.ticket);
        }
        self.settle();
        Ok(true)
    }

    fn fail(&mut self, what: &'static str, error: &crate::disk::DiskError) -> StorageError {
        self.failed = Some(error.to_string());
        StorageError::Disk { what, source: error.clone() }
    }

    pub(super) fn check_usable(&self) -> Result<()> {
        match &self.failed {
            Some(cause) => Err(StorageError::LogFailed { file: self.path.display().to_string(), cause: cause.clone() }),
            None => Ok(()),
        }
    }

    /// Asks the disk for more slots unless that is under way.
    pub(super) fn request_space(&mut self, disk: &mut dyn Disk) {
        if self.allocating.is_some() {
            return;
        }
        let (offset, len) = (self.file_bytes(), self.next_growth * SLOT_BYTES);
        let ticket = disk.submit(DiskOp::Allocate { file: self.file, offset, len });
        self.allocating = Some((ticket, self.next_growth));
    }

    /// Writes bytes to an extent that was taken for them; `data` is padded to units.
    pub(super) fn emit(&mut self, disk: &mut dyn Disk, offset: u64, mut data: Vec<u8>) {
        data.resize(super::slot::units(data.len()) as usize, 0);
        self.written_bytes += data.len() as u64;
        match &mut self.joined {
            Some((start, joined))
                if *start + joined.len() as u64 == offset && joined.len() + data.len() <= JOIN_BYTES =>
            {
                joined.extend_from_slice(&data);
            }
            _ => {
                self.flush(disk);
                self.joined = Some((offset, data));
            }
        }
    }

    pub(super) fn flush(&mut self, disk: &mut dyn Disk) {
        if let Some((offset, data)) = self.joined.take() {
            let bytes = data.len();
            self.in_flight.insert(disk.submit(DiskOp::Write { file: self.file, offset, data }), bytes);
            self.in_flight_bytes += bytes;
        }
    }

    /// Whether the disk has enough to do; more would only take memory.
    pub(super) fn is_behind(&self) -> bool {
        self.in_flight_bytes >= IN_FLIGHT_BYTES
    }

    pub(super) fn emit_header(&mut self, disk: &mut dyn Disk) {
        self.emit(disk, 0, encode_header(self.shard));
    }

    pub(super) fn writes_done(&self) -> bool {
        self.in_flight.is_empty() && self.joined.is_none()
    }

    pub(super) fn settle(&mut self) {
        if self.writes_done() {
            self.extents.settle();
        }
    }
}
