//! What the standard library does not offer of volumes and files: their size, real blocks for a range of a file and
//! their return, and files that live in memory.
//!
//! Invariant: a successful allocation means that a later write inside the range cannot fail for want of space.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::Path;

/// Allocates `offset..offset + len` and grows the file to cover it.
pub(super) fn fallocate(file: &File, offset: u64, len: u64) -> io::Result<()> {
    fallocate_as(file, 0, offset, len)
}

/// Gives the blocks of a range back; it reads as zeros, and the file keeps its length.
pub(super) fn punch(file: &File, offset: u64, len: u64) -> io::Result<()> {
    fallocate_as(file, libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, offset, len)
}

fn fallocate_as(file: &File, mode: libc::c_int, offset: u64, len: u64) -> io::Result<()> {
    let (Ok(offset), Ok(len)) = (libc::off_t::try_from(offset), libc::off_t::try_from(len)) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    loop {
        // SAFETY: the descriptor is open for the whole call because `file` is borrowed, and the
        // call touches no memory of this process.
        let outcome = unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, len) };
        if outcome == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// An empty file without a name that lives in memory.
pub(super) fn memory_file() -> io::Result<File> {
    // SAFETY: the name is a constant that ends with a zero; the call touches no other memory.
    let descriptor = unsafe { libc::memfd_create(c"scratch".as_ptr(), libc::MFD_CLOEXEC) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just opened and is owned by nobody else.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

/// Whether all that the kernel has written out of a file has arrived. Waits for nothing.
///
/// # Errors
/// Some of it has not since the last call for this descriptor; the kernel tells each once.
pub(super) fn written_out(file: &File) -> io::Result<()> {
    // Behind the end of any file there is nothing to wait for, and the errors that are told are of the whole file.
    const BEHIND_ALL: i64 = 1 << 60;
    // SAFETY: the descriptor is open for the whole call because `file` is borrowed, and the call touches no memory of
    // this process.
    let outcome =
        unsafe { libc::sync_file_range(file.as_raw_fd(), BEHIND_ALL, 4096, libc::SYNC_FILE_RANGE_WAIT_BEFORE) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The space of a volume.
pub(super) struct Space {
    /// Its size in bytes.
    pub(super) bytes: u64,
    /// Bytes of it that a process without privileges may still take.
    pub(super) free: u64,
}

impl Space {
    /// That of the volume which holds a file or directory.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let mut found = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
        // SAFETY: the descriptor is open for the whole call because `file` is borrowed; the call writes a `statvfs`
        // at most, and all zeroes are a valid one.
        let (outcome, found) = unsafe {
            let outcome = libc::fstatvfs(file.as_raw_fd(), found.as_mut_ptr());
            (outcome, found.assume_init())
        };
        if outcome != 0 {
            return Err(io::Error::last_os_error());
        }
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Self { bytes: bytes(found.f_blocks), free: bytes(found.f_bavail) })
    }
}

/// The size of the volume that holds a directory, in bytes.
///
/// # Errors
/// The directory does not exist, or its file system does not tell.
pub fn volume_bytes(directory: &Path) -> io::Result<u64> {
    Ok(Space::of(&File::open(directory)?)?.bytes)
}
