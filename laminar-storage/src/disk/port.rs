//! The disk port: what storage may ask of a disk.
//!
//! Changes are *submitted* and complete later; a reactor goes on meanwhile. Reads and look-ups are
//! synchronous: they happen at start, on the first touch of a segment of restored state, and in tests.
//!
//! Invariants: a completion comes exactly once for each ticket; a change is durable only after a
//! later `Sync` (of the file) or `SyncDir` (of its directory, for create, rename, remove) that
//! completed without error, or when it is a `WriteThrough` that did; operations on one file may complete in any order,
//! so whoever needs an order waits for the completion first. A failed `Sync` or `WriteThrough` is final: it is never
//! submitted again.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::buffer::IoBuffer;

/// A file opened through one [`Disk`]; valid only there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u32);

/// Names one submitted operation of one [`Disk`]; strictly increasing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A change of the disk. Offsets and lengths in bytes, paths relative to the data directory.
#[expect(missing_docs, reason = "the variants say what each field is for")]
#[derive(Clone, Debug)]
pub enum DiskOp {
    /// Writes all of `data` at `offset`; the file grows if needed.
    Write { file: FileId, offset: u64, data: Vec<u8> },
    /// Writes all of `data` at `offset` into allocated space of a synced length, durably: one operation instead of a
    /// `Write` and a `Sync`. Promises nothing of what else was written to the file.
    WriteThrough { file: FileId, offset: u64, data: Arc<IoBuffer> },
    /// Makes the file's content and length durable (`fdatasync`).
    Sync { file: FileId },
    /// Allocates real blocks for a range and grows the file (`fallocate`): later writes there cannot
    /// fail for want of space.
    Allocate { file: FileId, offset: u64, len: u64 },
    /// Cuts or extends the file to `len`.
    Truncate { file: FileId, len: u64 },
    /// Renames a file, replacing `to`.
    Rename { from: PathBuf, to: PathBuf },
    /// Removes a file.
    Remove { path: PathBuf },
    /// Makes creations, renames and removals in a directory durable.
    SyncDir { path: PathBuf },
}

impl DiskOp {
    /// What a write, through or not, writes, and where.
    pub(super) fn written(&self) -> Option<(u64, &[u8])> {
        match self {
            Self::Write { offset, data, .. } => Some((*offset, data)),
            Self::WriteThrough { offset, data, .. } => Some((*offset, data)),
            _ => None,
        }
    }
}

/// The end of a submitted operation.
#[derive(Debug)]
pub struct Completion {
    /// Which operation.
    pub ticket: Ticket,
    /// Whether it was done. After an error the extent of what was done is unknown.
    pub result: DiskResult<()>,
}

/// What kind of failure a disk reported; callers branch on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskErrorKind {
    /// No space left (ENOSPC, EDQUOT). Of `Allocate`: back-pressure and retry; of anything else: fatal.
    NoSpace,
    /// The path does not exist.
    NotFound,
    /// The path exists and must not.
    Exists,
    /// The device failed (EIO) or anything else; fatal for writes and syncs.
    Io,
    /// The simulated machine lost power; only the simulated disk reports it.
    Dead,
}

/// A failed disk operation, with the place.
#[derive(Clone, Debug)]
pub struct DiskError {
    /// The kind, to branch on.
    pub kind: DiskErrorKind,
    /// What was tried, on which path, and the system's words.
    pub message: String,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DiskError {}

/// Result of a disk call.
pub type DiskResult<T> = Result<T, DiskError>;

/// An open file that is only read, apart from its [`Disk`].
pub trait ReadAt: Send + Sync {
    /// Reads up to `into.len()` bytes at `offset`; returns how many, less only at the end of file.
    ///
    /// # Errors
    /// `Io`.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> DiskResult<usize>;
}

/// A file without a name: room on the disk for what memory shall not hold, gone when it is dropped and with the
/// process. Nothing in it survives, so nothing is ever synced. Its calls run on the caller: they fill the page cache,
/// and wait for the device when the kernel makes writers wait.
pub trait Scratch: Send {
    /// Allocates real blocks for a range, which holds zeros: later writes and stores through a mapping of it cannot
    /// fail for want of space. After an error the range is free. A part of the volume is left free for
    /// files that must survive.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    fn allocate(&mut self, offset: u64, len: u64) -> DiskResult<()>;

    /// Writes into an allocated range.
    ///
    /// # Errors
    /// `Io`.
    fn write(&mut self, offset: u64, data: &[u8]) -> DiskResult<()>;

    /// Gives a range back that nobody maps any more. What cannot be given back is given back with the file.
    fn free(&mut self, offset: u64, len: u64);

    /// Whether all that was written out in the background has arrived.
    ///
    /// # Errors
    /// `Io`: some of it was lost since the last call, and reads may find other bytes.
    fn check(&self) -> DiskResult<()>;

    /// The file, to be mapped.
    fn file(&self) -> BorrowedFd<'_>;
}

/// A data directory on some disk. One owner, one thread; each reactor and the control thread has
/// its own. All paths are relative to the data directory.
pub trait Disk {
    /// Creates a new, empty file, open for reading and writing.
    ///
    /// # Errors
    /// `Exists` when there is one, `NoSpace`, `Io`.
    fn create(&mut self, path: &Path) -> DiskResult<FileId>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    fn open(&mut self, path: &Path) -> DiskResult<FileId>;

    /// Closes a file; outstanding operations on it complete first.
    fn close(&mut self, file: FileId);

    /// Length in bytes.
    ///
    /// # Errors
    /// `Io`.
    fn len(&mut self, file: FileId) -> DiskResult<u64>;

    /// Reads up to `into.len()` bytes at `offset`; returns how many, less only at the end of file.
    ///
    /// # Errors
    /// `Io`.
    fn read_at(&mut self, file: FileId, offset: u64, into: &mut [u8]) -> DiskResult<usize>;

    /// A reader of an open file that can be kept where the disk is not at hand; it stays valid when the file is closed.
    /// It shares the file's descriptor: any number of readers costs none.
    ///
    /// # Errors
    /// `Io`.
    fn reader(&mut self, file: FileId) -> DiskResult<Arc<dyn ReadAt>>;

    /// Names of the files in a directory, sorted; empty when it does not exist.
    ///
    /// # Errors
    /// `Io`.
    fn list(&mut self, dir: &Path) -> DiskResult<Vec<String>>;

    /// Creates a directory and its parents; no error when it exists. Durable after `SyncDir` of the parent.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    fn create_dir(&mut self, dir: &Path) -> DiskResult<()>;

    /// A new scratch file on the volume of the data directory.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    fn scratch(&mut self) -> DiskResult<Box<dyn Scratch>>;

    /// Starts an operation. Never blocks on the device.
    fn submit(&mut self, op: DiskOp) -> Ticket;

    /// Moves the completions that have arrived to `into`, in order of arrival. Never blocks.
    fn completions(&mut self, into: &mut Vec<Completion>);

    /// Blocks until at least one completion can be taken; returns at once when nothing is in flight.
    /// For start, shutdown and the control thread; a reactor never calls it.
    fn wait(&mut self);
}
