//! A disk used one operation at a time, for start-up and the control thread.
//!
//! Invariant: the wrapped handle has no other operation in flight, so the next completion is ours.
//! A reactor never uses this.

use std::path::Path;

use super::port::{Disk, DiskError, DiskErrorKind, DiskOp, DiskResult, FileId};

/// Runs operations to their end on a handle that nobody else uses meanwhile.
pub struct Blocking<'a> {
    disk: &'a mut dyn Disk,
}

impl<'a> Blocking<'a> {
    /// Wraps a handle.
    pub fn new(disk: &'a mut dyn Disk) -> Self {
        Self { disk }
    }

    /// The handle itself, for synchronous calls.
    pub fn disk(&mut self) -> &mut dyn Disk {
        self.disk
    }

    /// Submits an operation and waits for its end.
    ///
    /// # Errors
    /// The operation's own.
    pub fn run(&mut self, op: DiskOp) -> DiskResult<()> {
        let ticket = self.disk.submit(op);
        let mut arrived = Vec::new();
        loop {
            self.disk.wait();
            self.disk.completions(&mut arrived);
            if arrived.is_empty() {
                let message = "the disk lost an operation: nothing in flight and no completion".to_owned();
                return Err(DiskError { kind: DiskErrorKind::Io, message });
            }
            // Somebody else's completion would be lost here, and its owner wait for ever.
            assert!(
                arrived.iter().all(|completion| completion.ticket == ticket),
                "a disk handle is used for blocking calls while it has other operations in flight"
            );
            if let Some(completion) = arrived.pop() {
                return completion.result;
            }
        }
    }

    /// Writes all of `data` at `offset`.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    pub fn write(&mut self, file: FileId, offset: u64, data: Vec<u8>) -> DiskResult<()> {
        self.run(DiskOp::Write { file, offset, data })
    }

    /// Makes a file's content durable.
    ///
    /// # Errors
    /// `Io`; final.
    pub fn sync(&mut self, file: FileId) -> DiskResult<()> {
        self.run(DiskOp::Sync { file })
    }

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// `Io`; final.
    pub fn sync_dir(&mut self, path: &Path) -> DiskResult<()> {
        self.run(DiskOp::SyncDir { path: path.to_owned() })
    }

    /// Removes a file if it is there.
    ///
    /// # Errors
    /// `Io`.
    pub fn remove_if_there(&mut self, path: &Path) -> DiskResult<()> {
        match self.run(DiskOp::Remove { path: path.to_owned() }) {
            Err(error) if error.kind == DiskErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Reads a file's whole content; `NotFound` when there is none.
    ///
    /// # Errors
    /// `NotFound`, `Io`; a file above `limit` bytes is an `Io` error.
    pub fn read_file(&mut self, path: &Path, limit: u64) -> DiskResult<Vec<u8>> {
        let file = self.disk.open(path)?;
        let content = read_open(self.disk, file, path, limit);
        self.disk.close(file);
        content
    }
}

fn read_open(disk: &mut dyn Disk, file: FileId, path: &Path, limit: u64) -> DiskResult<Vec<u8>> {
    let len = disk.len(file)?;
    if len > limit {
        return Err(DiskError {
            kind: DiskErrorKind::Io,
            message: format!("{} has {len} bytes, at most {limit} are read at once", path.display()),
        });
    }
    let mut content = vec![0; len as usize];
    let got = disk.read_at(file, 0, &mut content)?;
    content.truncate(got);
    Ok(content)
}
