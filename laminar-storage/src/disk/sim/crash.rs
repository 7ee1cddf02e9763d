//! What is left of a machine: after a power cut, and after the death of the process alone.

use super::file::SimFile;
use super::random::Random;
use super::world::{Pending, World};
use crate::disk::port::DiskOp;

/// What a power cut leaves of that which no completed sync covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing of it.
    Nothing,
    /// All of it, also what was on its way.
    All,
    /// All of it but some sectors of the last write.
    Torn,
    /// Any legal part of it.
    Some,
}

impl World {
    /// The machine after its power was cut and came back. Operations that were on their way may
    /// have taken effect wholly, in part, or not at all.
    pub(super) fn after_power_cut(&self, kept: Kept, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let last = match kept {
            Kept::Some => self.after_process_death(random.next()),
            Kept::Nothing => self.same(random.next()),
            Kept::All | Kept::Torn => self.after_all(kept, &mut random),
        };
        // The stream of `Some` stays what it was, so that old seeds show what they showed.
        random.next();
        let file = |(inode, file): (usize, &SimFile)| {
            let torn = last.last_write.clone().filter(|write| kept == Kept::Torn && write.inode == inode);
            file.after_power_cut(kept, torn.map(|write| write.sectors), &mut random)
        };
        let files: Vec<SimFile> = last.files.iter().enumerate().map(file).collect();
        let names = last.names.after_power_cut(kept, &mut random);
        let mut after = Self::new(seed, files, names);
        (after.capacity, after.volume_bytes) = (self.capacity, self.volume_bytes);
        after
    }

    /// The machine after the process was killed: the page cache is still there, and still unsynced.
    pub(super) fn after_process_death(&self, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut next = self.same(random.next());
        let mut waiting: Vec<Pending> = self.pending.clone();
        while !waiting.is_empty() {
            let pending = waiting.swap_remove(random.below(waiting.len()));
            if random.coin() {
                next.interrupt(&pending, &mut random);
            }
        }
        next
    }

    /// The machine with nothing on its way.
    fn same(&self, seed: u64) -> Self {
        let mut same = Self::new(seed, self.files.clone(), self.names.clone());
        (same.capacity, same.volume_bytes) = (self.capacity, self.volume_bytes);
        same.last_write.clone_from(&self.last_write);
        same
    }

    /// The machine after everything on its way was done, in order; of the last write only a part where it is torn.
    fn after_all(&self, kept: Kept, random: &mut Random) -> Self {
        let mut next = self.same(random.next());
        let is_write = |pending: &Pending| pending.op.written().is_some();
        let last = self.pending.iter().rposition(is_write).filter(|_| kept == Kept::Torn);
        for (index, pending) in self.pending.iter().enumerate() {
            if last == Some(index) {
                next.interrupt(pending, random);
                // Torn it is: no other write is torn besides.
                next.last_write = None;
            } else {
                // A refused operation is one that had no effect.
                drop(next.apply(pending));
            }
        }
        next
    }

    fn interrupt(&mut self, pending: &Pending, random: &mut Random) {
        match (pending.op.written(), pending.inode) {
            // It may have arrived whole in the page cache, or on the device, when nobody has heard of it yet.
            (Some((offset, data)), Some(inode)) if matches!(pending.op, DiskOp::WriteThrough { .. }) => {
                match random.below(4) {
                    0 => self.files[inode].write(offset as usize, data),
                    1 => drop(self.apply(pending)),
                    _ => self.files[inode].write_some(offset as usize, data, random),
                }
            }
            (Some((offset, data)), Some(inode)) => self.files[inode].write_some(offset as usize, data, random),
            // A refused operation is one that had no effect.
            _ => drop(self.apply(pending)),
        }
    }
}
