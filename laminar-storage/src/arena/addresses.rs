//! The addresses that arenas have taken of their process.
//!
//! Addresses take no memory, but a process has an end of them (128 TiB on x86-64), and everything else needs some.
//! Invariant: arenas together have never more than [`MOST`]; what is refused has taken none.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Three quarters of what a process has.
const MOST: u64 = 96 << 40;

/// What all arenas of the process have.
pub(super) static ADDRESSES: Addresses = Addresses::new(MOST);

/// A number of addresses, of which some are taken.
pub(super) struct Addresses {
    taken: AtomicU64,
    most: u64,
}

/// Some of them; given back when this is dropped.
pub(super) struct Taken {
    of: &'static Addresses,
    bytes: u64,
}

impl Addresses {
    const fn new(most: u64) -> Self {
        Self { taken: AtomicU64::new(0), most }
    }

    /// Takes some.
    ///
    /// # Errors
    /// So many are not left.
    pub(super) fn take(&'static self, bytes: u64) -> io::Result<Taken> {
        let more = |taken: u64| taken.checked_add(bytes).filter(|all| *all <= self.most);
        match self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(Taken { of: self, bytes }),
            Err(taken) => Err(io::Error::other(format!(
                "state has {} GiB of addresses and may have {} in one process, {} more are wanted: each shard of each part of a \
                 query has some; fewer shards, lower memory limits or fewer queries need less",
                taken >> 30,
                self.most >> 30,
                (bytes >> 30).max(1)
            ))),
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.of.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again_and_no_more_than_there_is() {
        let all: &'static Addresses = Box::leak(Box::new(Addresses::new(3 << 30)));
        let first = all.take(2 << 30).unwrap();
        let error = all.take(2 << 30).err().unwrap().to_string();
        assert!(error.contains("has 2 GiB of addresses and may have 3"), "{error}");
        let second = all.take(1 << 30).unwrap();
        assert!(all.take(1).is_err() && all.take(u64::MAX).is_err());
        drop(first);
        all.take(2 << 30).unwrap();
        drop(second);
    }
}
