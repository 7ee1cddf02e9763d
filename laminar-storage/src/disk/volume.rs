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

/// The size of the volume that holds a directory, in bytes.
///
/// # Errors
/// The directory does not exist, or its file system does not tell.
pub fn volume_bytes(directory: &Path) -> io::Result<u64> {
    let directory = File::open(directory)?;
    let mut found = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the descriptor is open for the whole call because `directory` is alive; the call writes a
    // `statvfs` at most, and all zeroes are a valid one.
    let (outcome, found) = unsafe {
        let outcome = libc::fstatvfs(directory.as_raw_fd(), found.as_mut_ptr());
        (outcome, found.assume_init())
    };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(found.f_blocks.saturating_mul(found.f_frsize))
}
