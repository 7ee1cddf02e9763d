//! One handle on a simulated disk: the [`Disk`] port over the shared world.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::namespace::{Inode, Node};
use super::world::{Pending, World, file_of};
use crate::disk::port::{
    Completion, Disk, DiskError, DiskErrorKind, DiskOp, DiskResult, FileId, ReadAt, Scratch, Ticket,
};
use crate::disk::scratch::ScratchFile;

/// What scratch files are called in the trace.
const SCRATCH: &str = "(scratch)";

/// The [`Disk`] of a simulated machine; see [`super::SimMachine`].
pub struct SimDisk {
    world: Arc<Mutex<World>>,
    handle: usize,
    files: Vec<Option<Inode>>,
    next_ticket: u64,
}

impl SimDisk {
    pub(super) fn new(world: Arc<Mutex<World>>, handle: usize) -> Self {
        Self { world, handle, files: Vec::new(), next_ticket: 1 }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inode(&self, file: FileId) -> DiskResult<Inode> {
        self.files
            .get(file.0 as usize)
            .copied()
            .flatten()
            .ok_or_else(|| DiskError { kind: DiskErrorKind::Io, message: format!("file handle {} is closed", file.0) })
    }

    fn insert(&mut self, inode: Inode) -> FileId {
        self.files.push(Some(inode));
        FileId(self.files.len() as u32 - 1)
    }
}

/// A reader of one file.
struct SimReader {
    world: Arc<Mutex<World>>,
    inode: Inode,
}

impl ReadAt for SimReader {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> DiskResult<usize> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.look("read")?;
        Ok(world.files[self.inode].read_at(offset, into))
    }
}

/// A scratch file, whose bytes are of this process and whose space is of the simulated volume.
struct SimScratch {
    world: Arc<Mutex<World>>,
    file: ScratchFile,
    allocated: u64,
}

impl SimScratch {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scratch for SimScratch {
    fn allocate(&mut self, offset: u64, len: u64) -> DiskResult<()> {
        self.world().begin("allocate", Path::new(SCRATCH))?;
        self.world().take_scratch(len)?;
        self.allocated += len;
        self.file.allocate(offset, len).inspect_err(|_| self.free(offset, len))
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> DiskResult<()> {
        self.world().begin("write", Path::new(SCRATCH))?;
        self.file.write(offset, data)
    }

    fn free(&mut self, offset: u64, len: u64) {
        self.file.free(offset, len);
        self.allocated -= len;
        self.world().scratch_bytes -= len;
    }

    fn check(&self) -> DiskResult<()> {
        self.world().begin("write out", Path::new(SCRATCH))?;
        self.file.check()
    }

    fn file(&self) -> BorrowedFd<'_> {
        self.file.file()
    }
}

impl Drop for SimScratch {
    fn drop(&mut self) {
        self.world().scratch_bytes -= self.allocated;
    }
}

impl Disk for SimDisk {
    fn create(&mut self, path: &Path) -> DiskResult<FileId> {
        let inode = self.world().create(path)?;
        Ok(self.insert(inode))
    }

    fn open(&mut self, path: &Path) -> DiskResult<FileId> {
        let found = {
            let mut world = self.world();
            world.look("open")?;
            world.names.get(path)
        };
        match found {
            Some(Node::File(inode)) => Ok(self.insert(inode)),
            _ => {
                Err(DiskError { kind: DiskErrorKind::NotFound, message: format!("open {}: not found", path.display()) })
            }
        }
    }

    fn close(&mut self, file: FileId) {
        if let Some(slot) = self.files.get_mut(file.0 as usize) {
            *slot = None;
        }
    }

    fn len(&mut self, file: FileId) -> DiskResult<u64> {
        let inode = self.inode(file)?;
        let mut world = self.world();
        world.look("length")?;
        Ok(world.files[inode].len() as u64)
    }

    fn read_at(&mut self, file: FileId, offset: u64, into: &mut [u8]) -> DiskResult<usize> {
        let inode = self.inode(file)?;
        let mut world = self.world();
        world.look("read")?;
        Ok(world.files[inode].read_at(offset, into))
    }

    fn reader(&mut self, file: FileId) -> DiskResult<Arc<dyn ReadAt>> {
        Ok(Arc::new(SimReader { world: self.world.clone(), inode: self.inode(file)? }))
    }

    fn list(&mut self, dir: &Path) -> DiskResult<Vec<String>> {
        let mut world = self.world();
        world.look("list")?;
        let dir = if dir == Path::new(".") { Path::new("") } else { dir };
        let inside =
            |path: &PathBuf| (path.parent() == Some(dir)).then(|| path.file_name()?.to_str().map(str::to_owned));
        Ok(world.names.files().filter_map(|(path, _)| inside(path).flatten()).collect())
    }

    fn create_dir(&mut self, dir: &Path) -> DiskResult<()> {
        let mut world = self.world();
        world.alive()?;
        world.create_dir(dir)
    }

    fn scratch(&mut self) -> DiskResult<Box<dyn Scratch>> {
        self.world().begin("create", Path::new(SCRATCH))?;
        Ok(Box::new(SimScratch { world: self.world.clone(), file: ScratchFile::in_memory()?, allocated: 0 }))
    }

    fn submit(&mut self, op: DiskOp) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let inode = file_of(&op).and_then(|file| self.inode(file).ok());
        let handle = self.handle;
        self.world().pending.push(Pending { handle, ticket, op, inode });
        ticket
    }

    fn completions(&mut self, into: &mut Vec<Completion>) {
        let handle = self.handle;
        let mut world = self.world();
        world.run(handle, false);
        into.extend(world.arrived[handle].drain(..));
    }

    fn wait(&mut self) {
        let handle = self.handle;
        let mut world = self.world();
        if world.arrived[handle].is_empty() {
            world.run(handle, true);
        }
    }
}
