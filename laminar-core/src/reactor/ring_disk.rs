//! The disk of a glommio reactor: writes, syncs and small writes through go through its ring.
//!
//! Everything else is rare (look-ups, allocation, renames) or large (writes through, past the page cache) and goes through
//! [`RealDisk`] and its I/O thread. Invariants: buffers live until their completion, because the task that awaits it owns
//! them; file descriptors are opened with the file, so that a later rename does not matter.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use glommio::io::BufferedFile;
use laminar_storage::disk::{
    Completion, Disk, DiskError, DiskErrorKind, DiskOp, DiskResult, FileId, IoMode, ReadAt, RealDisk, Scratch, Ticket,
};

use super::Bell;
use super::glommio_shell::IoPath;
use super::watch::Pulse;

struct RingFile {
    file: BufferedFile,
    path: PathBuf,
}

impl RingFile {
    async fn write(&self, offset: u64, data: Vec<u8>) -> DiskResult<()> {
        let len = data.len();
        let written = self.file.write_at(data, offset).await.map_err(|e| ring_error("write", &self.path, e))?;
        if written == len {
            return Ok(());
        }
        // Into allocated space a write is only short when the device fails; the caller stops then.
        let message = format!("write {}: {written} of {len} bytes at offset {offset}", self.path.display());
        Err(DiskError { kind: DiskErrorKind::NoSpace, message })
    }

    async fn sync(&self) -> DiskResult<()> {
        self.file.fdatasync().await.map_err(|e| ring_error("sync", &self.path, e))
    }
}

/// A write through of more bytes goes past the page cache, which the ring's files do not.
const LARGEST_IN_RING: usize = 64 << 10;

/// Which way writes and syncs take. Shared between the disk and its shell.
#[derive(Clone)]
pub struct RingMode {
    /// The way.
    pub path: Rc<Cell<IoPath>>,
}

/// See the file's invariants.
pub struct RingDisk {
    root: PathBuf,
    inner: RealDisk,
    files: HashMap<FileId, Rc<RingFile>>,
    mode: RingMode,
    next_ticket: u64,
    /// Tickets of `inner`, by theirs.
    inner_tickets: HashMap<Ticket, Ticket>,
    arrived: Rc<RefCell<Vec<Completion>>>,
    bell: Arc<Bell>,
    pulse: Arc<Pulse>,
}

impl RingDisk {
    /// Opens a data directory; must be called on an executor.
    ///
    /// # Errors
    /// The directory cannot be created or the I/O thread not started.
    pub fn open(root: &Path, bell: Arc<Bell>, pulse: Arc<Pulse>) -> DiskResult<Self> {
        let ring = bell.clone();
        let inner = RealDisk::open(root, IoMode::Thread(Some(Arc::new(move || ring.ring()))))?;
        Ok(Self {
            root: root.to_owned(),
            inner,
            files: HashMap::new(),
            mode: RingMode { path: Rc::new(Cell::new(IoPath::Thread)) },
            next_ticket: 1,
            inner_tickets: HashMap::new(),
            arrived: Rc::default(),
            bell,
            pulse,
        })
    }

    /// Which way writes and syncs take; the shell sets it.
    pub fn mode(&self) -> RingMode {
        self.mode.clone()
    }

    fn remember(&mut self, file: FileId, path: &Path) -> DiskResult<FileId> {
        let full = self.root.join(path);
        let opened = OpenOptions::new().read(true).write(true).open(&full).map_err(|e| io_error("open", &full, &e))?;
        // SAFETY: the descriptor was just opened, is owned by nobody else and is closed by the BufferedFile.
        let file_in_ring = unsafe { BufferedFile::from_raw_fd(opened.into_raw_fd()) };
        self.files.insert(file, Rc::new(RingFile { file: file_in_ring, path: full }));
        Ok(file)
    }

    fn in_ring(&self, ticket: Ticket, file: &Rc<RingFile>, op: RingOp) {
        let (file, arrived, bell) = (file.clone(), self.arrived.clone(), self.bell.clone());
        let pulse = self.pulse.clone();
        pulse.enters_ring();
        glommio::spawn_local(async move {
            let result = op.run(&file).await;
            arrived.borrow_mut().push(Completion { ticket, result });
            pulse.leaves_ring();
            bell.ring();
        })
        .detach();
    }
}

enum RingOp {
    Write { offset: u64, data: Vec<u8> },
    WriteThrough { offset: u64, data: Vec<u8> },
    Sync,
}

impl RingOp {
    async fn run(self, to: &RingFile) -> DiskResult<()> {
        match self {
            Self::Sync => to.sync().await,
            Self::Write { offset, data } => to.write(offset, data).await,
            Self::WriteThrough { offset, data } => {
                to.write(offset, data).await?;
                to.sync().await
            }
        }
    }
}

fn ring_error(what: &str, path: &Path, error: glommio::GlommioError<()>) -> DiskError {
    io_error(what, path, &std::io::Error::from(error))
}

fn io_error(what: &str, path: &Path, error: &std::io::Error) -> DiskError {
    let kind = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => DiskErrorKind::NoSpace,
        std::io::ErrorKind::NotFound => DiskErrorKind::NotFound,
        _ => DiskErrorKind::Io,
    };
    DiskError { kind, message: format!("{what} {}: {error}", path.display()) }
}

impl Disk for RingDisk {
    fn create(&mut self, path: &Path) -> DiskResult<FileId> {
        let file = self.inner.create(path)?;
        self.remember(file, path)
    }

    fn open(&mut self, path: &Path) -> DiskResult<FileId> {
        let file = self.inner.open(path)?;
        self.remember(file, path)
    }

    fn close(&mut self, file: FileId) {
        self.files.remove(&file);
        self.inner.close(file);
    }

    fn len(&mut self, file: FileId) -> DiskResult<u64> {
        self.inner.len(file)
    }

    fn read_at(&mut self, file: FileId, offset: u64, into: &mut [u8]) -> DiskResult<usize> {
        self.inner.read_at(file, offset, into)
    }

    fn reader(&mut self, file: FileId) -> DiskResult<Arc<dyn ReadAt>> {
        self.inner.reader(file)
    }

    fn list(&mut self, dir: &Path) -> DiskResult<Vec<String>> {
        self.inner.list(dir)
    }

    fn scratch(&mut self) -> DiskResult<Box<dyn Scratch>> {
        self.inner.scratch()
    }

    fn create_dir(&mut self, dir: &Path) -> DiskResult<()> {
        self.inner.create_dir(dir)
    }

    fn submit(&mut self, op: DiskOp) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let in_ring = match &op {
            DiskOp::Write { file, .. } | DiskOp::Sync { file } => Some(file),
            DiskOp::WriteThrough { file, data, .. } => Some(file).filter(|_| data.len() <= LARGEST_IN_RING),
            _ => None,
        };
        let ring_file = in_ring.filter(|_| self.mode.path.get() == IoPath::Ring);
        let ring_file = ring_file.and_then(|file| self.files.get(file).cloned());
        match (ring_file, op) {
            (Some(file), DiskOp::Write { offset, data, .. }) => {
                self.in_ring(ticket, &file, RingOp::Write { offset, data });
            }
            (Some(file), DiskOp::WriteThrough { offset, data, .. }) => {
                self.in_ring(ticket, &file, RingOp::WriteThrough { offset, data: data.to_vec() });
            }
            (Some(file), DiskOp::Sync { .. }) => self.in_ring(ticket, &file, RingOp::Sync),
            (_, op) => {
                let theirs = self.inner.submit(op);
                self.inner_tickets.insert(theirs, ticket);
            }
        }
        ticket
    }

    fn completions(&mut self, into: &mut Vec<Completion>) {
        into.append(&mut self.arrived.borrow_mut());
        let mut theirs = Vec::new();
        self.inner.completions(&mut theirs);
        for mut completion in theirs {
            if let Some(ours) = self.inner_tickets.remove(&completion.ticket) {
                completion.ticket = ours;
                into.push(completion);
            }
        }
    }

    fn wait(&mut self) {
        if self.arrived.borrow().is_empty() {
            self.inner.wait();
        }
    }
}
