//! What is left of a machine: after a power cut, and after the death of the process alone.

use super::file::SimFile;
use super::random::Random;
use super::world::{Pending, World};
use crate::disk::port::DiskOp;

impl World {
    /// The machine after its power was cut and came back. Operations that were on their way may
    /// have taken effect wholly, in part, or not at all.
    pub(super) fn after_power_cut(&self, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut last = self.after_process_death(random.next());
        last.random = Random::new(random.next());
        let files: Vec<SimFile> = last.files.iter().map(|file| file.after_power_cut(&mut random)).collect();
        let names = last.names.after_power_cut(&mut random);
        Self::new(seed, files, names)
    }

    /// The machine after the process was killed: the page cache is still there, and still unsynced.
    pub(super) fn after_process_death(&self, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut next = Self::new(random.next(), self.files.clone(), self.names.clone());
        next.capacity = self.capacity;
        let mut waiting: Vec<Pending> = self.pending.clone();
        while !waiting.is_empty() {
            let pending = waiting.swap_remove(random.below(waiting.len()));
            if random.coin() {
                next.interrupt(&pending, &mut random);
            }
        }
        next
    }

    fn interrupt(&mut self, pending: &Pending, random: &mut Random) {
        match (&pending.op, pending.inode) {
            (DiskOp::Write { offset, data, .. }, Some(inode)) => {
                self.files[inode].write_some(*offset as usize, data, random);
            }
            // A refused operation is one that had no effect.
            _ => drop(self.apply(pending)),
        }
    }
}
