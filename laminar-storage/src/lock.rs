//! The exclusive lock of a data directory.
//!
//! Held by the operating system for the life of the process, so that a killed process leaves none.
//!
//! Invariant: at most one live process of this machine holds the lock of one directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::disk::{DiskError, DiskErrorKind};
use crate::error::{Result, StorageError};

const NAME: &str = "LOCK";
/// A process id and a line end; more is not ours.
const LONGEST_PID: u64 = 32;

/// A held lock; dropping it gives the directory free.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Takes the lock, creating the directory if needed.
    ///
    /// # Errors
    /// [`StorageError::DirectoryInUse`] with the owner's process id; the disk's.
    pub fn acquire(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory).map_err(|error| failed("create", directory, &error))?;
        let path = directory.join(NAME);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| failed("open", &path, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let directory = directory.display().to_string();
                return Err(StorageError::DirectoryInUse { directory, pid: owner(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock", &path, &error)),
        }
        // The id is for messages only; the lock holds without it.
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|error| failed("write", &path, &error))?;
        Ok(Self { _file: file })
    }
}

fn owner(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.take(LONGEST_PID).read_to_string(&mut text));
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => pid.to_string(),
        _ => "unknown".to_owned(),
    }
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> StorageError {
    let kind = match error.kind() {
        std::io::ErrorKind::StorageFull => DiskErrorKind::NoSpace,
        _ => DiskErrorKind::Io,
    };
    let message = format!("{what} {}: {error}", path.display());
    StorageError::Disk { what: "lock the data directory", source: DiskError { kind, message } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_owner_is_refused_with_the_first_ones_pid() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirectoryLock::acquire(dir.path()).unwrap();
        let error = DirectoryLock::acquire(dir.path()).unwrap_err();
        assert_eq!(error.code(), "LDB-1003");
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        DirectoryLock::acquire(dir.path()).unwrap();
    }
}
