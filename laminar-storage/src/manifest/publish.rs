//! Publishing: appends a record to the manifest and syncs it. For the control thread; blocks.
//!
//! Invariant: a call that returns success is durable; one that fails has changed nothing that a
//! later recovery could mistake for success. After a failed write or sync all calls fail (W4).

use std::path::{Path, PathBuf};

use super::catalog::{Catalog, CatalogChange};
use super::codec::Record;
use super::file;
use super::record::{Checkpoint, CheckpointDraft};
use super::retain::Retention;
use super::verify::ManifestFile;
use crate::crash_point::{CrashPoint, reach};
use crate::disk::{Blocking, Disk, DiskErrorKind, DiskOp, FileId};
use crate::error::{Result, StorageError};
use crate::ids::{CheckpointNumber, Epoch, Incarnation};
use crate::log::{DirectoryId, LogId};

const RESERVE_PATH: &str = "RESERVE";

/// Sizes of the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublisherOptions {
    /// Room for records in a new file, besides what it starts with.
    pub append_bytes: u64,
    /// Space kept aside so that checkpoints and DDL still succeed on a full volume.
    pub reserve_bytes: u64,
}

impl Default for PublisherOptions {
    fn default() -> Self {
        Self { append_bytes: 4 << 20, reserve_bytes: 64 << 20 }
    }
}

impl PublisherOptions {
    /// The same on a volume of this size, in bytes.
    #[must_use]
    pub fn on_volume(self, bytes: u64) -> Self {
        Self { append_bytes: self.append_bytes.min(bytes / 64), reserve_bytes: self.reserve_bytes.min(bytes / 16) }
    }
}

/// The one writer of the manifest. All calls get the disk handle that [`Publisher::start`] got, which
/// nobody else uses meanwhile.
pub struct Publisher {
    log: LogId,
    incarnation: Incarnation,
    options: PublisherOptions,
    generation: u64,
    next_sequence: u64,
    file: Option<FileId>,
    offset: u64,
    len: u64,
    catalog: Catalog,
    retention: Retention,
    last_number: CheckpointNumber,
    has_reserve: bool,
    failed: Option<String>,
}

impl Publisher {
    /// Begins this incarnation's manifest file with what recovery found usable (`kept`, oldest first).
    ///
    /// # Errors
    /// [`StorageError::NoSpace`], the disk's.
    pub fn start(
        disk: &mut dyn Disk,
        directory: DirectoryId,
        incarnation: Incarnation,
        found: ManifestFile,
        kept: Vec<Checkpoint>,
        options: PublisherOptions,
    ) -> Result<Self> {
        let newest_seen = found.checkpoints.last().map_or(CheckpointNumber(0), |checkpoint| checkpoint.number);
        let mut publisher = Self {
            log: file::log_id(directory),
            incarnation,
            options,
            generation: found.generation,
            next_sequence: found.next_sequence,
            file: None,
            offset: 0,
            len: 0,
            catalog: found.catalog,
            retention: Retention::new(kept),
            last_number: newest_seen,
            has_reserve: false,
            failed: None,
        };
        publisher.refill_reserve(disk)?;
        publisher.try_roll(disk, 0)?;
        Ok(publisher)
    }

    /// The number that the next checkpoint may have, or any greater one.
    pub fn next_number(&self) -> CheckpointNumber {
        let first = Epoch { incarnation: self.incarnation, number: 1 }.as_u64();
        CheckpointNumber((self.last_number.0 + 1).max(first))
    }

    /// Publishes a checkpoint under a number that was given to it before; everything it names must be durable.
    ///
    /// # Errors
    /// [`StorageError::NoSpace`]: nothing has changed, try again later. Anything else is fatal, also a
    /// number that is not beyond all others.
    pub fn publish_numbered(
        &mut self,
        disk: &mut dyn Disk,
        number: CheckpointNumber,
        draft: CheckpointDraft,
    ) -> Result<()> {
        self.check()?;
        if number < self.next_number() {
            let detail = format!("checkpoint {number} comes after {}", self.last_number);
            return Err(StorageError::Order { detail });
        }
        let older = self.retention.before_publish();
        self.append_checkpoint(disk, number, older, draft)
    }

    /// Publishes the newest checkpoint once more, under the next number, as `change` leaves it; the one it
    /// was made from is given up, all older ones stay. Nothing is written where nothing has changed.
    ///
    /// # Errors
    /// [`StorageError::NoSpace`]: nothing has changed. Anything else is fatal.
    pub fn publish_again(&mut self, disk: &mut dyn Disk, change: impl FnOnce(&mut CheckpointDraft)) -> Result<()> {
        self.check()?;
        let Some(newest) = self.retention.newest() else { return Ok(()) };
        let mut draft = newest.draft.clone();
        change(&mut draft);
        if draft == newest.draft {
            return Ok(());
        }
        let older = self.retention.before_newest();
        self.append_checkpoint(disk, self.next_number(), older, draft)
    }

    fn append_checkpoint(
        &mut self,
        disk: &mut dyn Disk,
        number: CheckpointNumber,
        older: Vec<Checkpoint>,
        draft: CheckpointDraft,
    ) -> Result<()> {
        let checkpoint = Checkpoint {
            number,
            incarnation: self.incarnation,
            catalog_version: self.catalog.version,
            retained: older.iter().map(|checkpoint| checkpoint.number).collect(),
            draft,
        };
        self.append(disk, &Record::Checkpoint(checkpoint.clone()))?;
        self.last_number = number;
        self.retention.published(older, checkpoint);
        Ok(())
    }

    /// Publishes a change of the catalog; returns its new version. When it returns, the DDL may be
    /// acknowledged.
    ///
    /// # Errors
    /// [`StorageError::NoSpace`]: nothing has changed, try again later. Anything else is fatal.
    pub fn publish_catalog(&mut self, disk: &mut dyn Disk, change: CatalogChange) -> Result<u64> {
        self.check()?;
        let record = Record::CatalogChange(change);
        self.append(disk, &record)?;
        if let Record::CatalogChange(change) = &record {
            self.catalog.apply(change);
        }
        Ok(self.catalog.version)
    }

    /// The catalog after the last published change.
    pub const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The kept checkpoints; what none of them names may be freed.
    pub const fn retention(&self) -> &Retention {
        &self.retention
    }

    /// False when the space kept aside is used up or could not be allocated.
    pub const fn has_reserve(&self) -> bool {
        self.has_reserve
    }

    /// Allocates the space kept aside again, if the volume has room. Call now and then.
    ///
    /// # Errors
    /// The disk's; a full volume is no error.
    pub fn refill_reserve(&mut self, disk: &mut dyn Disk) -> Result<()> {
        if self.has_reserve || self.options.reserve_bytes == 0 {
            return Ok(());
        }
        let path = Path::new(RESERVE_PATH);
        let opened = match disk.open(path) {
            Err(error) if error.kind == DiskErrorKind::NotFound => disk.create(path),
            other => other,
        };
        let file = match opened {
            Err(error) if error.kind == DiskErrorKind::NoSpace => return Ok(()),
            other => other.map_err(StorageError::disk("open the reserve"))?,
        };
        let mut blocking = Blocking::new(disk);
        let allocated = blocking.run(DiskOp::Allocate { file, offset: 0, len: self.options.reserve_bytes });
        let outcome = match allocated {
            Ok(()) => blocking.sync(file).map(|()| self.has_reserve = true),
            Err(error) if error.kind == DiskErrorKind::NoSpace => blocking.remove_if_there(path),
            Err(error) => Err(error),
        };
        disk.close(file);
        outcome.map_err(StorageError::disk("allocate the reserve"))
    }

    fn append(&mut self, disk: &mut dyn Disk, record: &Record) -> Result<()> {
        let outcome = self.try_append(disk, record);
        self.keep_failure(outcome)
    }

    fn try_append(&mut self, disk: &mut dyn Disk, record: &Record) -> Result<()> {
        let mut frame = self.frame(record);
        if self.offset + frame.len() as u64 > self.len {
            self.try_roll(disk, frame.len() as u64)?;
            frame = self.frame(record);
        }
        let Some(file) = self.file else {
            return Err(StorageError::Order { detail: "the manifest is not open".to_owned() });
        };
        let bytes = frame.len() as u64;
        let mut blocking = Blocking::new(disk);
        blocking.write(file, self.offset, frame).map_err(StorageError::disk("append to the manifest"))?;
        reach(match record {
            Record::Checkpoint(_) => CrashPoint::CheckpointWritten,
            _ => CrashPoint::DdlWritten,
        });
        blocking.sync(file).map_err(StorageError::disk("sync the manifest"))?;
        self.offset += bytes;
        self.next_sequence += 1;
        Ok(())
    }

    fn frame(&self, record: &Record) -> Vec<u8> {
        let place = file::place(self.log, self.generation, self.offset);
        // It is written after the sync of the one before.
        file::frame(record, self.next_sequence, self.next_sequence, place)
    }

    /// Replaces the file by a new one that begins with the catalog and the kept checkpoints, and has
    /// room for `more` bytes at least.
    fn try_roll(&mut self, disk: &mut dyn Disk, more: u64) -> Result<()> {
        let next = NextFile::build(self, more + self.options.append_bytes);
        let offset = next.content.len() as u64;
        let len = next.len;
        let file = self.allocate_next(disk, len)?;
        let mut blocking = Blocking::new(disk);
        blocking.write(file, 0, next.content).map_err(StorageError::disk("write a new manifest"))?;
        blocking.sync(file).map_err(StorageError::disk("sync a new manifest"))?;
        let rename = DiskOp::Rename { from: PathBuf::from(file::NEXT_PATH), to: PathBuf::from(file::PATH) };
        blocking.run(rename).map_err(StorageError::disk("replace the manifest"))?;
        reach(CrashPoint::ManifestRenamed);
        blocking.sync_dir(Path::new("")).map_err(StorageError::disk("sync the data directory"))?;
        if let Some(former) = self.file.replace(file) {
            disk.close(former);
        }
        self.generation = next.generation;
        self.next_sequence = next.next_sequence;
        self.offset = offset;
        self.len = len;
        Ok(())
    }

    /// Creates the next file with its blocks, if need be out of the reserve.
    fn allocate_next(&mut self, disk: &mut dyn Disk, len: u64) -> Result<FileId> {
        let path = Path::new(file::NEXT_PATH);
        loop {
            Blocking::new(disk).remove_if_there(path).map_err(StorageError::disk("remove an unfinished manifest"))?;
            let full = match disk.create(path) {
                Ok(file) => match Blocking::new(disk).run(DiskOp::Allocate { file, offset: 0, len }) {
                    Ok(()) => return Ok(file),
                    Err(error) => {
                        disk.close(file);
                        error
                    }
                },
                Err(error) => error,
            };
            if full.kind != DiskErrorKind::NoSpace {
                return Err(StorageError::disk("allocate a new manifest")(full));
            }
            let mut blocking = Blocking::new(disk);
            blocking.remove_if_there(path).map_err(StorageError::disk("remove an unfinished manifest"))?;
            if !std::mem::take(&mut self.has_reserve) {
                return Err(StorageError::NoSpace { what: "write the manifest" });
            }
            blocking.remove_if_there(Path::new(RESERVE_PATH)).map_err(StorageError::disk("use the reserve"))?;
        }
    }

    fn check(&self) -> Result<()> {
        match &self.failed {
            None => Ok(()),
            Some(cause) => Err(StorageError::LogFailed { file: file::PATH.to_owned(), cause: cause.clone() }),
        }
    }

    fn keep_failure(&mut self, outcome: Result<()>) -> Result<()> {
        if let Err(error) = &outcome
            && !matches!(error, StorageError::NoSpace { .. })
        {
            self.failed.get_or_insert_with(|| error.to_string());
        }
        outcome
    }
}

#[cfg(test)]
impl Publisher {
    /// Publishes a checkpoint under the next number, which it returns.
    pub(crate) fn publish_checkpoint(
        &mut self,
        disk: &mut dyn Disk,
        draft: CheckpointDraft,
    ) -> Result<CheckpointNumber> {
        let number = self.next_number();
        self.publish_numbered(disk, number, draft).map(|()| number)
    }
}

/// The beginning of a new manifest file.
struct NextFile {
    generation: u64,
    next_sequence: u64,
    content: Vec<u8>,
    len: u64,
}

impl NextFile {
    fn build(publisher: &Publisher, room: u64) -> Self {
        let generation = publisher.generation + 1;
        let mut rest = vec![Record::Catalog(publisher.catalog.clone())];
        rest.extend(publisher.retention.kept().iter().cloned().map(Record::Checkpoint));
        // All are synced before the file gets its name: each says so of all.
        let horizon = publisher.next_sequence + 1 + rest.len() as u64;
        let frames = |file_bytes: u64| {
            let mut content = Vec::new();
            let mut sequence = publisher.next_sequence;
            for record in std::iter::once(&Record::FileStart { generation, file_bytes }).chain(&rest) {
                let place = file::place(publisher.log, generation, content.len() as u64);
                content.extend(file::frame(record, sequence, horizon, place));
                sequence += 1;
            }
            (content, sequence)
        };
        // The length stands in the first frame and does not change its size.
        let len = (frames(0).0.len() as u64 + room).next_multiple_of(4096);
        let (content, next_sequence) = frames(len);
        Self { generation, next_sequence, content, len }
    }
}
