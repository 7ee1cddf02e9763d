//! The incarnation file: which data directory this is, and how often it was started.
//!
//! Two equal copies in one file, replaced by rename. Made durable at a start before anything that carries its number.
//!
//! Invariant: no two starts of one data directory get the same number, whatever crashes between.

use std::path::{Path, PathBuf};

use crate::crash_point::{CrashPoint, reach};
use crate::disk::{Blocking, Disk, DiskErrorKind, DiskOp};
use crate::error::{Result, StorageError};
use crate::ids::Incarnation;
use crate::log::frame::{
    FRAME_VERSION, FrameKind, FrameNumbers, HEADER_BYTES, Parsed, Place, close_frame, open_frame, parse_header,
};
use crate::log::{DirectoryId, LogId};

const PATH: &str = "INCARNATION";
const NEXT_PATH: &str = "INCARNATION.next";
/// Each copy has a block of its own, so that one bad block leaves the other.
const COPY_BYTES: u64 = 4096;
const PAYLOAD_BYTES: usize = 16;
/// Version of the whole data directory's format.
const FORMAT_VERSION: u32 = 1;
/// Files and directories that only a data directory in use has.
const SIGNS_OF_USE: [&str; 3] = ["wal", "outbox", "state"];

/// The identity of a started data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Which directory.
    pub directory: DirectoryId,
    /// Which start; 1 is the first.
    pub incarnation: Incarnation,
    /// True when one of the two copies of the former file did not verify.
    pub repaired: bool,
}

/// The identity of the next start, which counts one up; nothing is written. `fresh` becomes the identity of an empty
/// directory; the caller draws it at random.
///
/// # Errors
/// [`StorageError::Missing`] when the directory was in use but has no incarnation file,
/// [`StorageError::Foreign`], [`StorageError::Version`], the disk's.
pub fn next(disk: &mut dyn Disk, fresh: DirectoryId) -> Result<Identity> {
    match Blocking::new(disk).read_file(Path::new(PATH), 4 * COPY_BYTES) {
        Ok(content) => {
            let former = parse(&content)?;
            let incarnation =
                former.incarnation.0.checked_add(1).ok_or_else(|| foreign("the last number is used up"))?;
            Ok(Identity { incarnation: Incarnation(incarnation), ..former })
        }
        Err(error) if error.kind == DiskErrorKind::NotFound => {
            refuse_if_used(disk)?;
            Ok(Identity { directory: fresh, incarnation: Incarnation(1), repaired: false })
        }
        Err(error) => Err(StorageError::disk("read the incarnation file")(error)),
    }
}

/// The identity as the last start left it.
///
/// # Errors
/// [`StorageError::Missing`], [`StorageError::Foreign`], [`StorageError::Version`], the disk's.
pub fn read(disk: &mut dyn Disk) -> Result<Identity> {
    match Blocking::new(disk).read_file(Path::new(PATH), 4 * COPY_BYTES) {
        Ok(content) => parse(&content),
        Err(error) if error.kind == DiskErrorKind::NotFound => Err(StorageError::Missing {
            file: PATH.to_owned(),
            detail: "nothing says which data directory this is".to_owned(),
        }),
        Err(error) => Err(StorageError::disk("read the incarnation file")(error)),
    }
}

fn refuse_if_used(disk: &mut dyn Disk) -> Result<()> {
    let mut used = disk.list(Path::new("")).map_err(StorageError::disk("list the data directory"))?;
    used.retain(|name| name == "MANIFEST");
    for dir in SIGNS_OF_USE {
        used.extend(disk.list(Path::new(dir)).map_err(StorageError::disk("list the data directory"))?);
    }
    match used.first() {
        None => Ok(()),
        Some(name) => Err(StorageError::Missing {
            file: PATH.to_owned(),
            detail: format!("the directory holds data ({name}) but not the file that identifies it"),
        }),
    }
}

/// Makes the identity of this start durable.
///
/// # Errors
/// The disk's.
pub fn write(disk: &mut dyn Disk, identity: &Identity) -> Result<()> {
    let what = "write the incarnation file";
    Blocking::new(disk).remove_if_there(Path::new(NEXT_PATH)).map_err(StorageError::disk(what))?;
    let file = disk.create(Path::new(NEXT_PATH)).map_err(StorageError::disk(what))?;
    let mut blocking = Blocking::new(disk);
    let mut content = vec![0; 2 * COPY_BYTES as usize];
    for copy in 0..2 {
        let frame = encode(identity, copy);
        let at = (copy * COPY_BYTES) as usize;
        content[at..at + frame.len()].copy_from_slice(&frame);
    }
    let outcome = blocking.write(file, 0, content).and_then(|()| blocking.sync(file));
    disk.close(file);
    outcome.map_err(StorageError::disk(what))?;
    let mut blocking = Blocking::new(disk);
    blocking
        .run(DiskOp::Rename { from: PathBuf::from(NEXT_PATH), to: PathBuf::from(PATH) })
        .inspect(|()| reach(CrashPoint::IncarnationRenamed))
        .and_then(|()| blocking.sync_dir(Path::new("")))
        .map_err(StorageError::disk(what))
}

fn place(copy: u64) -> Place {
    Place {
        log: LogId::of(DirectoryId(0), FrameKind::Incarnation.magic(), [0; 3]),
        segment: 0,
        offset: copy * COPY_BYTES,
    }
}

fn encode(identity: &Identity, copy: u64) -> Vec<u8> {
    let mut frame = open_frame(PAYLOAD_BYTES);
    frame.extend_from_slice(&identity.directory.0.to_le_bytes());
    frame.extend_from_slice(&identity.incarnation.0.to_le_bytes());
    frame.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    let position = u64::from(identity.incarnation.0);
    close_frame(
        &mut frame,
        FrameKind::Incarnation,
        place(copy),
        FrameNumbers { position, horizon: 0, count: 1, file_blocks: 0 },
    );
    frame
}

fn parse(content: &[u8]) -> Result<Identity> {
    let copies = [parse_copy(content, 0)?, parse_copy(content, 1)?];
    let repaired = copies.iter().any(Option::is_none) || copies[0] != copies[1];
    let newest = copies.into_iter().flatten().max_by_key(|(_, incarnation)| *incarnation);
    let Some((directory, incarnation)) = newest else {
        return Err(foreign("neither of its two copies verifies"));
    };
    Ok(Identity { directory, incarnation, repaired })
}

fn parse_copy(content: &[u8], copy: u64) -> Result<Option<(DirectoryId, Incarnation)>> {
    let place = place(copy);
    let Some(bytes) = content.get(place.offset as usize..) else { return Ok(None) };
    let header = match parse_header(bytes, FrameKind::Incarnation, place, PAYLOAD_BYTES as u64) {
        Parsed::Header(header) => header,
        Parsed::Nothing => return Ok(None),
        Parsed::Newer(version) => return Err(newer(u32::from(version), u32::from(FRAME_VERSION))),
    };
    let payload = bytes.get(HEADER_BYTES..HEADER_BYTES + PAYLOAD_BYTES).unwrap_or_default();
    if !header.verifies(payload, place) {
        return Ok(None);
    }
    let word = |at: usize| u32::from_le_bytes([payload[at], payload[at + 1], payload[at + 2], payload[at + 3]]);
    let format = word(12);
    if format > FORMAT_VERSION {
        return Err(newer(format, FORMAT_VERSION));
    }
    let directory = u64::from(word(0)) | (u64::from(word(4)) << 32);
    Ok(Some((DirectoryId(directory), Incarnation(word(8)))))
}

fn foreign(detail: &str) -> StorageError {
    StorageError::Foreign { file: PATH.to_owned(), detail: detail.to_owned() }
}

fn newer(found: u32, supported: u32) -> StorageError {
    StorageError::Version { file: PATH.to_owned(), found, supported }
}
