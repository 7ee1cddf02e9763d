//! A data directory of the operating system.
//!
//! Changes run on one I/O thread in the order of submission (or at once on the caller, for the
//! control thread and tools); look-ups and reads run on the caller.
//!
//! Invariant: each ticket gets exactly one completion, also when the I/O thread is gone.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use super::buffer::IoBuffer;
use super::port::{Completion, Disk, DiskError, DiskErrorKind, DiskOp, DiskResult, FileId, ReadAt, Scratch, Ticket};
use super::scratch::ScratchFile;
use super::volume::fallocate;

/// Called on the I/O thread after each completion, so that a sleeping owner looks for it.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Where submitted operations run.
#[derive(Clone)]
pub enum IoMode {
    /// On a thread of this handle's own; the owner never blocks on the device.
    Thread(Option<Wake>),
    /// In `submit`; for the control thread, start-up and tools.
    Inline,
}

/// Work done through one handle since it was opened; shared, readable from any thread.
#[derive(Debug, Default)]
pub struct DiskCounters {
    writes: AtomicU64,
    write_bytes: AtomicU64,
    syncs: AtomicU64,
    directory_syncs: AtomicU64,
    allocations: AtomicU64,
    failures: AtomicU64,
}

/// A reading of [`DiskCounters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounts {
    /// Completed writes, through to the device or not.
    pub writes: u64,
    /// Bytes of completed writes.
    pub write_bytes: u64,
    /// Completed file syncs; a write through is one as well.
    pub syncs: u64,
    /// Completed directory syncs.
    pub directory_syncs: u64,
    /// Completed allocations.
    pub allocations: u64,
    /// Failed operations of any kind.
    pub failures: u64,
}

impl DiskCounters {
    /// Reads all counters; they are independent of each other.
    pub fn read(&self) -> DiskCounts {
        DiskCounts {
            writes: self.writes.load(Ordering::Relaxed),
            write_bytes: self.write_bytes.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
            directory_syncs: self.directory_syncs.load(Ordering::Relaxed),
            allocations: self.allocations.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }

    pub(super) fn count(&self, op: Work, result: &DiskResult<()>) {
        let (counter, amount) = match (result, op) {
            (Err(_), _) => (&self.failures, 1),
            (Ok(()), Work::Write { bytes, synced }) => {
                self.write_bytes.fetch_add(bytes, Ordering::Relaxed);
                self.syncs.fetch_add(u64::from(synced), Ordering::Relaxed);
                (&self.writes, 1)
            }
            (Ok(()), Work::Sync) => (&self.syncs, 1),
            (Ok(()), Work::SyncDir) => (&self.directory_syncs, 1),
            (Ok(()), Work::Allocate) => (&self.allocations, 1),
            (Ok(()), Work::Other) => return,
        };
        counter.fetch_add(amount, Ordering::Relaxed);
    }
}

/// What an operation counts as.
#[derive(Clone, Copy)]
pub(super) enum Work {
    Write { bytes: u64, synced: bool },
    Sync,
    SyncDir,
    Allocate,
    Other,
}

impl From<&DiskOp> for Work {
    fn from(op: &DiskOp) -> Self {
        match op {
            DiskOp::Write { data, .. } => Self::Write { bytes: data.len() as u64, synced: false },
            DiskOp::WriteThrough { data, .. } => Self::Write { bytes: data.len() as u64, synced: true },
            DiskOp::Sync { .. } => Self::Sync,
            DiskOp::SyncDir { .. } => Self::SyncDir,
            DiskOp::Allocate { .. } => Self::Allocate,
            DiskOp::Truncate { .. } | DiskOp::Rename { .. } | DiskOp::Remove { .. } => Self::Other,
        }
    }
}

/// An operation with its file resolved, as it travels to the I/O thread.
enum Job {
    Write { file: Arc<Open>, offset: u64, data: Vec<u8> },
    WriteThrough { file: Arc<Open>, offset: u64, data: Arc<IoBuffer> },
    Sync(Arc<Open>),
    Allocate { file: Arc<Open>, offset: u64, len: u64 },
    Truncate { file: Arc<Open>, len: u64 },
    Rename { from: PathBuf, to: PathBuf },
    Remove(PathBuf),
    SyncDir(PathBuf),
    Refused(DiskError),
}

struct Open {
    file: File,
    path: PathBuf,
    /// The same file past the page cache, each write of it durable; none where the file system has no such thing.
    direct: OnceLock<Option<File>>,
}

impl Open {
    fn new(file: File, path: &Path) -> Self {
        Self { file, path: path.to_owned(), direct: OnceLock::new() }
    }

    fn write(&self, offset: u64, data: &[u8]) -> DiskResult<()> {
        self.file.write_all_at(data, offset).map_err(|error| disk_error("write", &self.path, &error))
    }

    fn sync(&self) -> DiskResult<()> {
        self.file.sync_data().map_err(|error| disk_error("sync", &self.path, &error))
    }

    fn write_through(&self, offset: u64, data: &[u8]) -> DiskResult<()> {
        let direct = self.direct.get_or_init(|| self.open_direct());
        match direct.as_ref().map(|file| file.write_all_at(data, offset)) {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) if !is_unsuited(&error) => Err(disk_error("write", &self.path, &error)),
            _ => self.write(offset, data).and_then(|()| self.sync()),
        }
    }

    fn open_direct(&self) -> Option<File> {
        // By its descriptor: it may have another name by now.
        let same = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        OpenOptions::new().write(true).custom_flags(libc::O_DIRECT | libc::O_DSYNC).open(same).ok()
    }
}

/// The file system takes no such write past the page cache, or not from this place: blocks of some devices are larger
/// than the sectors of frames.
fn is_unsuited(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

impl ReadAt for Open {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> DiskResult<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match self.file.read_at(&mut into[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(disk_error("read", &self.path, &error)),
            }
        }
        Ok(filled)
    }
}

struct IoThread {
    jobs: Option<Sender<(Ticket, Work, Job)>>,
    done: Receiver<Completion>,
    handle: Option<JoinHandle<()>>,
}

/// The [`Disk`] of a directory of the operating system.
pub struct RealDisk {
    root: PathBuf,
    files: Vec<Option<Arc<Open>>>,
    next_ticket: u64,
    in_flight: VecDeque<Ticket>,
    arrived: Vec<Completion>,
    counters: Arc<DiskCounters>,
    thread: Option<IoThread>,
}

impl RealDisk {
    /// Opens a data directory, creating it if needed.
    ///
    /// # Errors
    /// `NoSpace`, `Io` when the directory cannot be created or the thread not started.
    pub fn open(root: &Path, mode: IoMode) -> DiskResult<Self> {
        let new = !root.is_dir();
        fs::create_dir_all(root).map_err(|error| disk_error("create directory", root, &error))?;
        if new && let Some(parent) = root.canonicalize().ok().as_deref().and_then(Path::parent) {
            sync_directory(parent)?;
        }
        let counters = Arc::new(DiskCounters::default());
        let thread = match mode {
            IoMode::Inline => None,
            IoMode::Thread(wake) => Some(IoThread::start(Arc::clone(&counters), wake)?),
        };
        Ok(Self {
            root: root.to_owned(),
            files: Vec::new(),
            next_ticket: 1,
            in_flight: VecDeque::new(),
            arrived: Vec::new(),
            counters,
            thread,
        })
    }

    /// The work done through this handle; the pointer may be read from any thread.
    pub fn counters(&self) -> Arc<DiskCounters> {
        Arc::clone(&self.counters)
    }

    fn full_path(&self, path: &Path) -> DiskResult<PathBuf> {
        let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if inside {
            return Ok(self.root.join(path));
        }
        Err(DiskError {
            kind: DiskErrorKind::Io,
            message: format!("{} does not lie inside the data directory", path.display()),
        })
    }

    fn file(&self, file: FileId) -> DiskResult<&Arc<Open>> {
        self.files
            .get(file.0 as usize)
            .and_then(Option::as_ref)
            .ok_or_else(|| DiskError { kind: DiskErrorKind::Io, message: format!("file handle {} is closed", file.0) })
    }

    fn insert(&mut self, file: File, path: &Path) -> FileId {
        let open = Some(Arc::new(Open::new(file, path)));
        match self.files.iter().position(Option::is_none) {
            Some(free) => {
                self.files[free] = open;
                FileId(free as u32)
            }
            None => {
                self.files.push(open);
                FileId(self.files.len() as u32 - 1)
            }
        }
    }

    fn resolve(&self, op: DiskOp) -> DiskResult<Job> {
        Ok(match op {
            DiskOp::Write { file, offset, data } => Job::Write { file: Arc::clone(self.file(file)?), offset, data },
            DiskOp::WriteThrough { file, offset, data } => {
                Job::WriteThrough { file: Arc::clone(self.file(file)?), offset, data }
            }
            DiskOp::Sync { file } => Job::Sync(Arc::clone(self.file(file)?)),
            DiskOp::Allocate { file, offset, len } => Job::Allocate { file: Arc::clone(self.file(file)?), offset, len },
            DiskOp::Truncate { file, len } => Job::Truncate { file: Arc::clone(self.file(file)?), len },
            DiskOp::Rename { from, to } => Job::Rename { from: self.full_path(&from)?, to: self.full_path(&to)? },
            DiskOp::Remove { path } => Job::Remove(self.full_path(&path)?),
            DiskOp::SyncDir { path } => Job::SyncDir(self.full_path(&path)?),
        })
    }

    fn take(&mut self, completion: Completion) {
        if let Some(index) = self.in_flight.iter().position(|ticket| *ticket == completion.ticket) {
            self.in_flight.remove(index);
        }
        self.arrived.push(completion);
    }

    /// The I/O thread is gone: everything in flight has failed.
    fn fail_in_flight(&mut self) {
        while let Some(ticket) = self.in_flight.pop_front() {
            let error = DiskError { kind: DiskErrorKind::Io, message: "the I/O thread has ended".to_owned() };
            self.arrived.push(Completion { ticket, result: Err(error) });
        }
    }
}

impl Disk for RealDisk {
    fn create(&mut self, path: &Path) -> DiskResult<FileId> {
        let full = self.full_path(path)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&full)
            .map_err(|error| disk_error("create", &full, &error))?;
        Ok(self.insert(file, &full))
    }

    fn open(&mut self, path: &Path) -> DiskResult<FileId> {
        let full = self.full_path(path)?;
        let file =
            OpenOptions::new().read(true).write(true).open(&full).map_err(|error| disk_error("open", &full, &error))?;
        Ok(self.insert(file, &full))
    }

    fn close(&mut self, file: FileId) {
        if let Some(slot) = self.files.get_mut(file.0 as usize) {
            *slot = None;
        }
    }

    fn len(&mut self, file: FileId) -> DiskResult<u64> {
        let open = self.file(file)?;
        open.file.metadata().map(|data| data.len()).map_err(|error| disk_error("length of", &open.path, &error))
    }

    fn read_at(&mut self, file: FileId, offset: u64, into: &mut [u8]) -> DiskResult<usize> {
        self.file(file)?.read_at(offset, into)
    }

    fn reader(&mut self, file: FileId) -> DiskResult<Arc<dyn ReadAt>> {
        let open: Arc<Open> = Arc::clone(self.file(file)?);
        Ok(open)
    }

    fn list(&mut self, dir: &Path) -> DiskResult<Vec<String>> {
        let full = self.full_path(dir)?;
        let entries = match fs::read_dir(&full) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(disk_error("list", &full, &error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| disk_error("list", &full, &error))?;
            let kind = entry.file_type().map_err(|error| disk_error("list", &full, &error))?;
            if kind.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&mut self, dir: &Path) -> DiskResult<()> {
        let full = self.full_path(dir)?;
        fs::create_dir_all(&full).map_err(|error| disk_error("create directory", &full, &error))
    }

    fn scratch(&mut self) -> DiskResult<Box<dyn Scratch>> {
        Ok(Box::new(ScratchFile::in_directory(&self.root)?))
    }

    fn submit(&mut self, op: DiskOp) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let work = Work::from(&op);
        let job = self.resolve(op).unwrap_or_else(Job::Refused);
        let Some(thread) = &self.thread else {
            let result = job.run();
            self.counters.count(work, &result);
            self.arrived.push(Completion { ticket, result });
            return ticket;
        };
        self.in_flight.push_back(ticket);
        let sent = thread.jobs.as_ref().is_some_and(|jobs| jobs.send((ticket, work, job)).is_ok());
        if !sent {
            self.fail_in_flight();
        }
        ticket
    }

    fn completions(&mut self, into: &mut Vec<Completion>) {
        while !self.in_flight.is_empty() {
            let received = match &self.thread {
                Some(thread) => thread.done.try_recv(),
                None => break,
            };
            match received {
                Ok(completion) => self.take(completion),
                Err(std::sync::mpsc::TryRecvError::Empty) => break,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => self.fail_in_flight(),
            }
        }
        into.append(&mut self.arrived);
    }

    fn wait(&mut self) {
        if !self.arrived.is_empty() || self.in_flight.is_empty() {
            return;
        }
        let received = self.thread.as_ref().map(|thread| thread.done.recv());
        match received {
            Some(Ok(completion)) => self.take(completion),
            _ => self.fail_in_flight(),
        }
    }
}

impl IoThread {
    fn start(counters: Arc<DiskCounters>, wake: Option<Wake>) -> DiskResult<Self> {
        let (jobs, inbox) = channel::<(Ticket, Work, Job)>();
        let (outbox, done) = channel();
        let handle = std::thread::Builder::new()
            .name("laminar-disk".to_owned())
            .spawn(move || {
                while let Ok((ticket, work, job)) = inbox.recv() {
                    let result = job.run();
                    counters.count(work, &result);
                    if outbox.send(Completion { ticket, result }).is_err() {
                        return;
                    }
                    if let Some(wake) = &wake {
                        wake();
                    }
                }
            })
            .map_err(|error| DiskError {
                kind: DiskErrorKind::Io,
                message: format!("start the I/O thread: {error}"),
            })?;
        Ok(Self { jobs: Some(jobs), done, handle: Some(handle) })
    }
}

impl Drop for IoThread {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(handle) = self.handle.take() {
            // A panic of the I/O thread has already reached the owner as failed operations.
            let _ = handle.join();
        }
    }
}

impl Job {
    fn run(self) -> DiskResult<()> {
        match self {
            Self::Write { file, offset, data } => file.write(offset, &data),
            Self::WriteThrough { file, offset, data } => file.write_through(offset, &data),
            Self::Sync(file) => file.sync(),
            Self::Allocate { file, offset, len } => {
                let before = file.file.metadata().map(|found| found.len());
                fallocate(&file.file, offset, len).map_err(|error| {
                    // What a full volume gave is given back: others need it more than half a file does.
                    if let Ok(before) = before {
                        let _ = file.file.set_len(before);
                    }
                    disk_error("allocate", &file.path, &error)
                })
            }
            Self::Truncate { file, len } => {
                file.file.set_len(len).map_err(|error| disk_error("truncate", &file.path, &error))
            }
            Self::Rename { from, to } => fs::rename(&from, &to).map_err(|error| disk_error("rename", &from, &error)),
            Self::Remove(path) => fs::remove_file(&path).map_err(|error| disk_error("remove", &path, &error)),
            Self::SyncDir(path) => sync_directory(&path),
            Self::Refused(error) => Err(error),
        }
    }
}

fn sync_directory(path: &Path) -> DiskResult<()> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(|error| disk_error("sync directory", path, &error))
}

pub(super) fn disk_error(what: &str, path: &Path, error: &io::Error) -> DiskError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskErrorKind::NoSpace,
        io::ErrorKind::NotFound => DiskErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => DiskErrorKind::Exists,
        _ => DiskErrorKind::Io,
    };
    DiskError { kind, message: format!("{what} {}: {error}", path.display()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flags that a descriptor was opened with.
    fn flags(file: &File) -> i32 {
        let told = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).unwrap();
        let flags = told.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        i32::from_str_radix(flags.trim(), 8).unwrap()
    }

    #[test]
    fn a_write_through_goes_past_the_page_cache_and_waits_for_the_device_where_the_file_system_has_that() {
        let root = tempfile::tempdir().unwrap();
        let mut disk = RealDisk::open(root.path(), IoMode::Inline).unwrap();
        let file = disk.create(Path::new("a")).unwrap();
        let mut blocking = super::super::Blocking::new(&mut disk);
        blocking.run(DiskOp::Allocate { file, offset: 0, len: 1 << 20 }).unwrap();
        // The name does not matter any more.
        blocking.run(DiskOp::Rename { from: "a".into(), to: "b".into() }).unwrap();
        blocking
            .run(DiskOp::WriteThrough { file, offset: 512, data: Arc::new(IoBuffer::from(&[7; 512][..])) })
            .unwrap();
        let open = disk.file(file).unwrap();
        let direct = open.direct.get().expect("it is opened at the first write through");
        let direct_too = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(root.path().join("b"));
        assert_eq!(direct.is_some(), direct_too.is_ok());
        if let Some(direct) = direct {
            let wanted = libc::O_DIRECT | libc::O_DSYNC;
            assert_eq!(flags(direct) & wanted, wanted);
        }
    }
}
