//! Scratch files of the operating system, and those in memory that stand for them in the simulation.
//!
//! Invariant: a scratch file has no name, or none from before its first use on, so nothing of it is found by a later
//! process.

use std::fs::{File, OpenOptions, remove_file};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::port::{DiskResult, Scratch};
use super::real::disk_error;
use super::volume::{fallocate, memory_file, punch};

/// A scratch file; see the file's invariant.
pub(super) struct ScratchFile {
    file: File,
    /// For messages.
    place: PathBuf,
}

impl ScratchFile {
    /// One on the volume of a directory.
    pub(super) fn in_directory(directory: &Path) -> DiskResult<Self> {
        let unnamed = options().custom_flags(libc::O_TMPFILE).open(directory);
        let file = unnamed.or_else(|_| named_and_removed(directory));
        let place = directory.join("(a file without a name)");
        file.map(|file| Self { file, place: place.clone() }).map_err(|error| disk_error("create", &place, &error))
    }

    /// One in memory.
    pub(super) fn in_memory() -> DiskResult<Self> {
        let place = PathBuf::from("(a file in memory)");
        let file = memory_file().map_err(|error| disk_error("create", &place, &error))?;
        Ok(Self { file, place })
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// For file systems without files that have no name.
fn named_and_removed(directory: &Path) -> io::Result<File> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = directory.join(format!(".scratch-{}-{number}", std::process::id()));
    // One of a process that ended between the two steps is empty and in nobody's way.
    let file = options().create(true).truncate(true).open(&path)?;
    remove_file(&path)?;
    Ok(file)
}

impl Scratch for ScratchFile {
    fn allocate(&mut self, offset: u64, len: u64) -> DiskResult<()> {
        fallocate(&self.file, offset, len).map_err(|error| {
            self.free(offset, len);
            disk_error("allocate", &self.place, &error)
        })
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> DiskResult<()> {
        self.file.write_all_at(data, offset).map_err(|error| disk_error("write", &self.place, &error))
    }

    fn free(&mut self, offset: u64, len: u64) {
        // What cannot be given back is given back with the file.
        let _ = punch(&self.file, offset, len);
    }

    fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
