//! The simulated machine as a test sees it: faults, power, images.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::crash::Kept;
use super::file::SimFile;
use super::handle::SimDisk;
use super::namespace::{Namespace, Node};
use super::world::{Failure, World};
use crate::disk::port::DiskErrorKind;
use crate::disk::real::DiskCounters;

/// In which order submitted operations take effect and complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// In order, at the next look for completions.
    InOrder,
    /// In any order and after any number of looks, by the machine's seed.
    Shuffled,
}

/// One change of the disk, as the trace shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimOp {
    /// Consecutive number; `cut_power_at` and `fail_at` name it.
    pub number: u64,
    /// What was done.
    pub what: &'static str,
    /// On which file or directory.
    pub path: PathBuf,
}

/// A simulated machine. Clones share it; [`SimMachine::crash`] and [`SimMachine::kill`] make another.
#[derive(Clone)]
pub struct SimMachine {
    world: Arc<Mutex<World>>,
}

impl SimMachine {
    /// A machine with an empty disk.
    pub fn new(seed: u64) -> Self {
        Self::from_world(World::new(seed, Vec::new(), Namespace::default()))
    }

    /// The machine with a volume of this size. It is what logs cut their segments for, not a limit; see
    /// [`SimMachine::set_capacity`].
    #[must_use]
    pub fn on_volume(self, bytes: u64) -> Self {
        self.world().volume_bytes = bytes;
        self
    }

    /// The size of its volume.
    pub fn volume_bytes(&self) -> u64 {
        self.world().volume_bytes
    }

    fn from_world(world: World) -> Self {
        Self { world: Arc::new(Mutex::new(world)) }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        // A panic of a test under the lock leaves nothing worse than a half-done simulated write.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new handle on the machine's disk.
    pub fn disk(&self) -> SimDisk {
        let mut world = self.world();
        world.arrived.push(std::collections::VecDeque::new());
        let handle = world.arrived.len() - 1;
        drop(world);
        SimDisk::new(Arc::clone(&self.world), handle)
    }

    /// Number of changes that have taken effect; the number of the next one.
    pub fn operations(&self) -> u64 {
        self.world().operations
    }

    /// Every change so far.
    pub fn trace(&self) -> Vec<SimOp> {
        self.world().trace.clone()
    }

    /// Counts of all handles together.
    pub fn counters(&self) -> Arc<DiskCounters> {
        Arc::clone(&self.world().counters)
    }

    /// Cuts the power instead of the operation with this number: it and everything later fails with
    /// `Dead`. [`SimMachine::crash`] then shows what is left.
    pub fn cut_power_at(&self, operation: u64) {
        self.world().power_cut_at = Some(operation);
    }

    /// Makes the operation with this number fail. A failed write leaves some of its sectors, a failed
    /// sync or write through makes later syncs of the file do nothing, as kernels do.
    pub fn fail_at(&self, operation: u64, kind: DiskErrorKind) {
        self.world().failures.insert(operation, Failure::Error(kind));
    }

    /// Makes the operation with this number fail as a short write does: a beginning is written, and the volume is
    /// said to be full. An operation that is no write fails without effect.
    pub fn write_short_at(&self, operation: u64) {
        self.world().failures.insert(operation, Failure::Short);
    }

    /// Number of reads and look-ups so far; the number of the next one.
    pub fn looks(&self) -> u64 {
        self.world().looks
    }

    /// Makes the read or look-up with this number fail with `Io`.
    pub fn fail_look_at(&self, look: u64) {
        self.world().blind_at = Some(look);
    }

    /// Limits the sum of all file lengths and of what scratch files have allocated; growth beyond it fails with `NoSpace`.
    pub fn set_capacity(&self, bytes: u64) {
        self.world().capacity = bytes;
    }

    /// Changes the order of completions.
    pub fn set_schedule(&self, schedule: Schedule) {
        self.world().schedule = schedule;
    }

    /// The machine after a power cut at this moment: what was synced and, by the seed, any legal part
    /// of the rest. This machine is left as it is.
    pub fn crash(&self, seed: u64) -> Self {
        self.crash_keeping(Kept::Some, seed)
    }

    /// The machine after a power cut at this moment that leaves so much of what was not synced. This machine is left
    /// as it is.
    pub fn crash_keeping(&self, kept: Kept, seed: u64) -> Self {
        Self::from_world(self.world().after_power_cut(kept, seed))
    }

    /// The machine after the process alone was killed at this moment: unsynced bytes can be read,
    /// and can still be lost by a later power cut. This machine is left as it is.
    pub fn kill(&self, seed: u64) -> Self {
        Self::from_world(self.world().after_process_death(seed))
    }

    /// All files, sorted by path.
    pub fn files(&self) -> Vec<PathBuf> {
        self.world().names.files().map(|(path, _)| path.clone()).collect()
    }

    /// A file's content as a reader sees it.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let world = self.world();
        match world.names.get(path) {
            Some(Node::File(inode)) => Some(world.files[inode].content()),
            _ => None,
        }
    }

    /// The sum of all file lengths and of what scratch files have allocated, as [`SimMachine::set_capacity`] counts it.
    pub fn bytes(&self) -> u64 {
        self.world().bytes()
    }

    /// Replaces a file's content durably, as rot or a foreign hand would. False if there is no such file.
    pub fn overwrite(&self, path: &Path, content: Vec<u8>) -> bool {
        let mut world = self.world();
        let Some(Node::File(inode)) = world.names.get(path) else { return false };
        world.files[inode] = SimFile::settled(&content);
        true
    }

    /// Changes a part of a file durably, as rot would; what lies beyond its end is left out. False if there is no
    /// such file.
    pub fn patch(&self, path: &Path, offset: u64, data: &[u8]) -> bool {
        let mut world = self.world();
        let Some(Node::File(inode)) = world.names.get(path) else { return false };
        world.files[inode].patch(offset as usize, data);
        true
    }

    /// Cuts a file durably. False if there is no such file.
    pub fn cut(&self, path: &Path, len: u64) -> bool {
        let mut world = self.world();
        let Some(Node::File(inode)) = world.names.get(path) else { return false };
        world.files[inode].cut(len as usize);
        true
    }

    /// Takes a file away durably. False if there is no such file.
    pub fn delete(&self, path: &Path) -> bool {
        let mut world = self.world();
        let Some(Node::File(_)) = world.names.get(path) else { return false };
        world.names.remove(path);
        let dir = path.parent().unwrap_or(Path::new("")).to_owned();
        world.names.sync_directory(&dir);
        true
    }
}
