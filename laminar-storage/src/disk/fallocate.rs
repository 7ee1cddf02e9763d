//! Allocation of real blocks for a range of a file, which the standard library does not offer.
//!
//! Invariant: success means that a later write inside the range cannot fail for want of space.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Allocates `offset..offset + len` and grows the file to cover it.
pub(super) fn fallocate(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let (Ok(offset), Ok(len)) = (libc::off_t::try_from(offset), libc::off_t::try_from(len)) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    loop {
        // SAFETY: the descriptor is open for the whole call because `file` is borrowed, and the
        // call touches no memory of this process.
        let outcome = unsafe { libc::fallocate(file.as_raw_fd(), 0, offset, len) };
        if outcome == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
