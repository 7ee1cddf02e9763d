//! Extents in use, with how many images name them.
//!
//! Invariant: an extent's space comes back exactly when nobody names it any more and no write to it is in flight.

use super::slot::{SmallLen, Space};
use std::collections::HashMap;

/// Space with reference counts.
#[derive(Default)]
pub(super) struct Extents {
    pub(super) space: Space,
    /// Offset → (bytes, names).
    named: HashMap<u64, (u64, u32)>,
    /// Given up while writes may still be under way.
    limbo: Vec<(u64, u64)>,
}

impl Extents {
    /// A fresh extent of a whole slot, named once.
    pub(super) fn take_slot(&mut self) -> Option<u64> {
        let offset = self.space.take_slot()?;
        self.named.insert(offset, (super::layout::SLOT_BYTES, 1));
        Some(offset)
    }

    /// A fresh small extent, named once.
    pub(super) fn take_small(&mut self, len: SmallLen) -> Option<u64> {
        let offset = self.space.take_small(len)?;
        self.named.insert(offset, (len.bytes(), 1));
        Some(offset)
    }

    /// Names an extent once more; claims its space if it is the first name. `false`: the extent is impossible.
    pub(super) fn name(&mut self, offset: u64, len: u64) -> bool {
        match self.named.get_mut(&offset) {
            Some((have, names)) if *have == len => {
                *names += 1;
                true
            }
            Some(_) => false,
            None => {
                let claimed = self.space.claim(offset, len);
                if claimed {
                    self.named.insert(offset, (len, 1));
                }
                claimed
            }
        }
    }

    /// Takes one name away. Freed space is reused only after [`Extents::settle`].
    pub(super) fn unname(&mut self, offset: u64) {
        if let Some((len, names)) = self.named.get_mut(&offset) {
            *names -= 1;
            if *names == 0 {
                self.limbo.push((offset, *len));
                self.named.remove(&offset);
            }
        }
    }

    /// No write is in flight: what was given up can be used again.
    pub(super) fn settle(&mut self) {
        for (offset, len) in self.limbo.drain(..) {
            self.space.give(offset, len);
        }
    }
}
