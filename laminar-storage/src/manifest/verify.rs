//! Reads the manifest file and judges it.
//!
//! Invariant: a checkpoint is returned only if its frame verifies, its structure is whole and the
//! catalog that it needs was read without a gap. A bad record is damage iff a later one verifies.

use super::catalog::Catalog;
use super::codec::Record;
use super::file;
use super::record::Checkpoint;
use crate::disk::{Blocking, Disk, DiskErrorKind};
use crate::error::{Result, StorageError};
use crate::log::frame::{FRAME_VERSION, HEADER_BYTES, Parsed, SECTOR, parse_header};
use crate::log::{DirectoryId, LogId};

/// What the manifest file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManifestFile {
    /// Which file it is; each replacement counts one up.
    pub generation: u64,
    /// The catalog after all changes.
    pub catalog: Catalog,
    /// All checkpoints in the file, oldest first. Only the newest and those that it names as
    /// retained have complete files.
    pub checkpoints: Vec<Checkpoint>,
    /// Number of the next record.
    pub next_sequence: u64,
    /// True when an unfinished record stood at the end.
    pub torn: bool,
}

impl ManifestFile {
    /// The checkpoints whose files are complete, oldest first: the newest and those that it retains.
    pub fn kept(&self) -> Vec<&Checkpoint> {
        let Some(newest) = self.checkpoints.last() else { return Vec::new() };
        let kept = |found: &&Checkpoint| found.number == newest.number || newest.retained.contains(&found.number);
        self.checkpoints.iter().filter(kept).collect()
    }
}

/// Reads the manifest; `None` when there is none.
///
/// # Errors
/// [`StorageError::Rot`] when a durable record does not verify, [`StorageError::Malformed`],
/// [`StorageError::Version`], the disk's.
pub fn read(disk: &mut dyn Disk, directory: DirectoryId) -> Result<Option<ManifestFile>> {
    let content = match Blocking::new(disk).read_file(file::path(), file::MAX_BYTES) {
        Ok(content) => content,
        Err(error) if error.kind == DiskErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StorageError::disk("read the manifest")(error)),
    };
    Scan { content: &content, log: file::log_id(directory), found: ManifestFile::default(), horizon: 0 }.run().map(Some)
}

struct Scan<'a> {
    content: &'a [u8],
    log: LogId,
    found: ManifestFile,
    /// Records before this one were durable.
    horizon: u64,
}

impl Scan<'_> {
    fn run(mut self) -> Result<ManifestFile> {
        let Some((Record::FileStart { generation, file_bytes }, mut offset, sequence)) = self.frame_at(0)? else {
            return Err(StorageError::Foreign {
                file: file::PATH.to_owned(),
                detail: "its first record does not verify for this data directory".to_owned(),
            });
        };
        if (self.content.len() as u64) < file_bytes {
            return Err(rot(self.content.len(), format!("it was cut short, its length was {file_bytes}")));
        }
        self.found.generation = generation;
        self.found.next_sequence = sequence + 1;
        while let Some((record, next, sequence)) = self.frame_at(offset)? {
            if sequence != self.found.next_sequence {
                return Err(rot(offset, format!("record {} is missing", self.found.next_sequence)));
            }
            self.take(record, offset)?;
            self.found.next_sequence += 1;
            offset = next;
        }
        self.judge_tail(offset)?;
        Ok(self.found)
    }

    fn take(&mut self, record: Record, offset: usize) -> Result<()> {
        match record {
            Record::FileStart { .. } => return Err(malformed(offset, "the start of a file inside it")),
            Record::Catalog(catalog) => self.found.catalog = catalog,
            Record::CatalogChange(change) => self.found.catalog.apply(&change),
            Record::Checkpoint(checkpoint) => {
                let newest = self.found.checkpoints.last().map(|newest| newest.number);
                if newest.is_some_and(|newest| newest >= checkpoint.number) {
                    return Err(malformed(offset, "checkpoint numbers do not increase"));
                }
                if checkpoint.catalog_version > self.found.catalog.version {
                    return Err(malformed(offset, "a checkpoint needs a newer catalog than stands before it"));
                }
                self.found.checkpoints.push(checkpoint);
            }
        }
        Ok(())
    }

    /// The record at an offset, the offset behind it and its number.
    fn frame_at(&mut self, offset: usize) -> Result<Option<(Record, usize, u64)>> {
        let place = file::place(self.log, self.found.generation, offset as u64);
        let Some(bytes) = self.content.get(offset..) else { return Ok(None) };
        let room = bytes.len().saturating_sub(HEADER_BYTES) as u64;
        let header = match parse_header(bytes, crate::log::frame::FrameKind::Manifest, place, room) {
            Parsed::Header(header) => header,
            Parsed::Nothing => return Ok(None),
            Parsed::Newer(version) => {
                let (found, supported) = (u32::from(version), u32::from(FRAME_VERSION));
                return Err(StorageError::Version { file: file::PATH.to_owned(), found, supported });
            }
        };
        let payload = &bytes[HEADER_BYTES..HEADER_BYTES + header.payload_bytes as usize];
        if !header.verifies(payload, place) {
            return Ok(None);
        }
        self.horizon = self.horizon.max(header.horizon);
        let record = Record::decode(payload).map_err(|detail| malformed(offset, detail))?;
        Ok(Some((record, offset + header.frame_bytes() as usize, header.position)))
    }

    /// Nothing that follows a bad record may verify: it was written after the bad one was synced. Nor may one that
    /// stands before it know of it: they came in one piece.
    fn judge_tail(&mut self, offset: usize) -> Result<()> {
        let missing = self.found.next_sequence;
        if self.horizon > missing {
            return Err(rot(offset, format!("record {missing} was durable when this file got its name")));
        }
        for at in (offset..self.content.len()).step_by(SECTOR) {
            let place = file::place(self.log, self.found.generation, at as u64);
            let kind = crate::log::frame::FrameKind::Manifest;
            let Parsed::Header(header) = parse_header(&self.content[at..], kind, place, u64::MAX) else { continue };
            if header.horizon > self.found.next_sequence {
                return Err(rot(
                    offset,
                    format!("record {missing} was durable, record {} stands at {at}", header.position),
                ));
            }
        }
        let sector = self.content.get(offset..).unwrap_or_default();
        self.found.torn = sector.iter().take(SECTOR).any(|byte| *byte != 0);
        Ok(())
    }
}

fn rot(offset: usize, detail: String) -> StorageError {
    StorageError::Rot { file: file::PATH.to_owned(), offset: offset as u64, detail }
}

fn malformed(offset: usize, detail: &str) -> StorageError {
    StorageError::Malformed { file: file::PATH.to_owned(), offset: offset as u64, detail: detail.to_owned() }
}
