//! The shared state of a simulated machine and the meaning of each operation.
//!
//! Invariant: operations get consecutive numbers in the order in which they take effect; at the
//! number where the power is cut nothing takes effect any more.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::file::{SECTOR, SimFile};
use super::machine::{Schedule, SimOp};
use super::namespace::{Inode, Namespace, Node};
use super::random::Random;
use crate::disk::port::{Completion, DiskError, DiskErrorKind, DiskOp, DiskResult, FileId, Ticket};
use crate::disk::real::{DiskCounters, Work};
use crate::disk::scratch::kept_free;
use std::sync::Arc;

/// An operation on its way, with its file resolved.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) handle: usize,
    pub(super) ticket: Ticket,
    pub(super) op: DiskOp,
    pub(super) inode: Option<Inode>,
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Error(DiskErrorKind),
    /// A beginning is written, then the volume is full.
    Short,
}

/// Where the last write went.
#[derive(Clone, Debug)]
pub(super) struct LastWrite {
    pub(super) inode: Inode,
    pub(super) sectors: Range<usize>,
}

/// The volume of a machine that is not said to have another: logs' segments are cut for it, and records up to 4 MiB fit.
const VOLUME_BYTES: u64 = 256 << 20;

pub(super) struct World {
    pub(super) files: Vec<SimFile>,
    pub(super) names: Namespace,
    pub(super) pending: Vec<Pending>,
    pub(super) arrived: Vec<VecDeque<Completion>>,
    pub(super) random: Random,
    pub(super) schedule: Schedule,
    pub(super) operations: u64,
    pub(super) power_cut_at: Option<u64>,
    pub(super) failures: BTreeMap<u64, Failure>,
    pub(super) looks: u64,
    pub(super) blind_at: Option<u64>,
    pub(super) last_write: Option<LastWrite>,
    pub(super) capacity: u64,
    /// Bytes allocated in scratch files.
    pub(super) scratch_bytes: u64,
    pub(super) volume_bytes: u64,
    pub(super) trace: Vec<SimOp>,
    pub(super) dead: bool,
    pub(super) counters: Arc<DiskCounters>,
}

impl World {
    pub(super) fn new(seed: u64, files: Vec<SimFile>, names: Namespace) -> Self {
        Self {
            files,
            names,
            pending: Vec::new(),
            arrived: Vec::new(),
            random: Random::new(seed),
            schedule: Schedule::InOrder,
            operations: 0,
            power_cut_at: None,
            failures: BTreeMap::new(),
            looks: 0,
            blind_at: None,
            last_write: None,
            capacity: u64::MAX,
            scratch_bytes: 0,
            volume_bytes: VOLUME_BYTES,
            trace: Vec::new(),
            dead: false,
            counters: Arc::default(),
        }
    }

    /// Takes the next operation number; an error if this one is to fail.
    pub(super) fn begin(&mut self, what: &'static str, path: &Path) -> DiskResult<()> {
        if self.dead || self.power_cut_at == Some(self.operations) {
            self.dead = true;
            return Err(dead());
        }
        let number = self.operations;
        self.operations += 1;
        self.trace.push(SimOp { number, what, path: path.to_owned() });
        match self.failures.remove(&number) {
            Some(failure) => {
                let kind = match failure {
                    Failure::Error(kind) => kind,
                    Failure::Short => DiskErrorKind::NoSpace,
                };
                Err(DiskError { kind, message: format!("{what} {}: injected failure", path.display()) })
            }
            None => Ok(()),
        }
    }

    /// Counts a read or look-up; an error if this one is to fail.
    pub(super) fn look(&mut self, what: &'static str) -> DiskResult<()> {
        self.alive()?;
        let number = self.looks;
        self.looks += 1;
        if self.blind_at == Some(number) {
            return Err(DiskError { kind: DiskErrorKind::Io, message: format!("{what}: injected failure") });
        }
        Ok(())
    }

    pub(super) fn alive(&self) -> DiskResult<()> {
        if self.dead { Err(dead()) } else { Ok(()) }
    }

    pub(super) fn create(&mut self, path: &Path) -> DiskResult<Inode> {
        self.begin("create", path)?;
        if self.names.get(path).is_some() {
            return Err(refused(DiskErrorKind::Exists, "create", path));
        }
        self.parent_exists("create", path)?;
        self.files.push(SimFile::default());
        let inode = self.files.len() - 1;
        self.names.add(path, Node::File(inode));
        Ok(inode)
    }

    pub(super) fn create_dir(&mut self, dir: &Path) -> DiskResult<()> {
        let mut missing: Vec<PathBuf> = Vec::new();
        for part in dir.ancestors() {
            match self.names.get(part) {
                Some(Node::Directory) => break,
                Some(Node::File(_)) => return Err(refused(DiskErrorKind::Exists, "create directory", part)),
                None => missing.push(part.to_owned()),
            }
        }
        for part in missing.iter().rev() {
            self.begin("create directory", part)?;
            self.names.add(part, Node::Directory);
        }
        self.alive()
    }

    fn parent_exists(&self, what: &'static str, path: &Path) -> DiskResult<()> {
        let parent = path.parent().unwrap_or(Path::new(""));
        if self.names.get(parent) == Some(Node::Directory) {
            return Ok(());
        }
        Err(refused(DiskErrorKind::NotFound, what, path))
    }

    /// Lets operations of one handle take effect, as the schedule says.
    pub(super) fn run(&mut self, handle: usize, at_least_one: bool) {
        let mine = |world: &Self| world.pending.iter().filter(|pending| pending.handle == handle).count();
        let waiting = mine(self);
        let count = match self.schedule {
            Schedule::InOrder => waiting,
            Schedule::Shuffled => self.random.below(waiting + 1).max(usize::from(at_least_one).min(waiting)),
        };
        for _ in 0..count {
            let nth = match self.schedule {
                Schedule::InOrder => 0,
                Schedule::Shuffled => self.random.below(mine(self)),
            };
            let Some((index, _)) =
                self.pending.iter().enumerate().filter(|(_, pending)| pending.handle == handle).nth(nth)
            else {
                return;
            };
            let pending = self.pending.remove(index);
            let result = self.execute(&pending);
            if self.dead {
                // It stays pending: whether it took effect is for the power cut to decide.
                self.pending.insert(index, pending);
                self.fail_all(handle);
                return;
            }
            self.counters.count(Work::from(&pending.op), &result);
            self.arrived[handle].push_back(Completion { ticket: pending.ticket, result });
        }
    }

    fn fail_all(&mut self, handle: usize) {
        let tickets: Vec<Ticket> =
            self.pending.iter().filter(|pending| pending.handle == handle).map(|pending| pending.ticket).collect();
        for pending in &mut self.pending {
            if pending.handle == handle {
                pending.handle = usize::MAX;
            }
        }
        for ticket in tickets {
            self.arrived[handle].push_back(Completion { ticket, result: Err(dead()) });
        }
    }

    fn execute(&mut self, pending: &Pending) -> DiskResult<()> {
        let path = self.path_of(pending);
        let failure = self.failures.get(&self.operations).copied();
        let begun = self.begin(name_of(&pending.op), &path);
        if let Err(error) = begun {
            if !self.dead {
                self.fail_partly(pending, failure);
            }
            return Err(error);
        }
        self.apply(pending)
    }

    /// What a failed operation leaves behind.
    fn fail_partly(&mut self, pending: &Pending, failure: Option<Failure>) {
        let Some(inode) = pending.inode else { return };
        let file = &mut self.files[inode];
        match pending.op.written() {
            Some((offset, data)) if failure == Some(Failure::Short) => {
                file.write_front(offset as usize, data, &mut self.random);
            }
            _ if failure == Some(Failure::Short) => return,
            Some((offset, data)) => file.write_some(offset as usize, data, &mut self.random),
            None => {}
        }
        if matches!(pending.op, DiskOp::Sync { .. } | DiskOp::WriteThrough { .. }) {
            file.break_sync();
        }
    }

    /// The effect of an operation, without number or failure.
    pub(super) fn apply(&mut self, pending: &Pending) -> DiskResult<()> {
        let file = |world: &Self| {
            pending.inode.filter(|inode| *inode < world.files.len()).ok_or_else(|| DiskError {
                kind: DiskErrorKind::Io,
                message: format!("{} on a closed file", name_of(&pending.op)),
            })
        };
        match &pending.op {
            DiskOp::Write { .. } | DiskOp::WriteThrough { .. } => {
                let inode = file(self)?;
                let (offset, data) = pending.op.written().unwrap_or_default();
                self.reserve(inode, offset + data.len() as u64, "write")?;
                self.files[inode].write(offset as usize, data);
                if matches!(pending.op, DiskOp::WriteThrough { .. }) {
                    self.files[inode].sync_sectors(offset as usize, data.len());
                }
                let (start, end) = (offset as usize, offset as usize + data.len());
                self.last_write = Some(LastWrite { inode, sectors: start / SECTOR..end.div_ceil(SECTOR) });
            }
            DiskOp::Sync { .. } => {
                let inode = file(self)?;
                self.files[inode].sync();
            }
            DiskOp::Allocate { offset, len, .. } => {
                let inode = file(self)?;
                self.reserve(inode, offset + len, "allocate")?;
                self.files[inode].grow((offset + len) as usize);
            }
            DiskOp::Truncate { len, .. } => {
                let inode = file(self)?;
                self.files[inode].set_len(*len as usize);
            }
            DiskOp::Rename { from, to } => self.rename(from, to)?,
            DiskOp::Remove { path } => match self.names.get(path) {
                Some(Node::File(_)) => self.names.remove(path),
                _ => return Err(refused(DiskErrorKind::NotFound, "remove", path)),
            },
            DiskOp::SyncDir { path } => match self.names.get(path) {
                Some(Node::Directory) => self.names.sync_directory(path),
                _ => return Err(refused(DiskErrorKind::NotFound, "sync directory", path)),
            },
        }
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> DiskResult<()> {
        if from.parent() != to.parent() {
            return Err(refused(DiskErrorKind::Io, "rename to another directory", from));
        }
        match self.names.get(from) {
            Some(Node::File(inode)) => self.names.rename(from, to, inode),
            _ => return Err(refused(DiskErrorKind::NotFound, "rename", from)),
        }
        Ok(())
    }

    /// The sum of all file lengths, and what scratch files have allocated.
    pub(super) fn bytes(&self) -> u64 {
        let named: u64 = self.names.files().map(|(_, inode)| self.files[inode].len() as u64).sum();
        named + self.scratch_bytes
    }

    /// Takes space for a scratch file.
    pub(super) fn take_scratch(&mut self, bytes: u64) -> DiskResult<()> {
        self.has_space(bytes.saturating_add(kept_free(self.capacity)), "allocate")?;
        self.scratch_bytes += bytes;
        Ok(())
    }

    fn reserve(&self, inode: Inode, end: u64, what: &'static str) -> DiskResult<()> {
        self.has_space(end.saturating_sub(self.files[inode].len() as u64), what)
    }

    fn has_space(&self, grown: u64, what: &'static str) -> DiskResult<()> {
        if grown > 0 && self.bytes().saturating_add(grown) > self.capacity {
            return Err(DiskError {
                kind: DiskErrorKind::NoSpace,
                message: format!("{what}: simulated disk of {} bytes is full", self.capacity),
            });
        }
        Ok(())
    }

    fn path_of(&self, pending: &Pending) -> PathBuf {
        match &pending.op {
            DiskOp::Rename { to: path, .. } | DiskOp::Remove { path } | DiskOp::SyncDir { path } => path.clone(),
            _ => self
                .names
                .files()
                .find(|(_, inode)| Some(*inode) == pending.inode)
                .map_or_else(|| PathBuf::from("(unlinked)"), |(path, _)| path.clone()),
        }
    }
}

pub(super) fn file_of(op: &DiskOp) -> Option<FileId> {
    match op {
        DiskOp::Write { file, .. }
        | DiskOp::WriteThrough { file, .. }
        | DiskOp::Sync { file }
        | DiskOp::Allocate { file, .. }
        | DiskOp::Truncate { file, .. } => Some(*file),
        DiskOp::Rename { .. } | DiskOp::Remove { .. } | DiskOp::SyncDir { .. } => None,
    }
}

fn name_of(op: &DiskOp) -> &'static str {
    match op {
        DiskOp::Write { .. } => "write",
        DiskOp::WriteThrough { .. } => "write through",
        DiskOp::Sync { .. } => "sync",
        DiskOp::Allocate { .. } => "allocate",
        DiskOp::Truncate { .. } => "truncate",
        DiskOp::Rename { .. } => "rename",
        DiskOp::Remove { .. } => "remove",
        DiskOp::SyncDir { .. } => "sync directory",
    }
}

fn dead() -> DiskError {
    DiskError { kind: DiskErrorKind::Dead, message: "the simulated machine has no power".to_owned() }
}

fn refused(kind: DiskErrorKind, what: &str, path: &Path) -> DiskError {
    DiskError { kind, message: format!("{what} {}: {kind:?}", path.display()) }
}
