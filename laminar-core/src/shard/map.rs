//! Which shard a hash belongs to, and which reactor a shard.
//!
//! Invariant: a shard is a contiguous range of the hash's top 12 bits, given by the shard count alone,
//! so a data directory opens on any number of reactors.

use crate::ids::{ReactorId, ShardId};

/// Bits of the hash that choose the shard.
const PREFIX_BITS: u32 = 12;
/// The most shards there can be.
pub const MAX_SHARDS: u16 = 1 << PREFIX_BITS;

/// Shards of a data directory and their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardMap {
    shards: u16,
    reactors: u16,
}

/// Rows of a batch sorted by shard.
#[derive(Clone, Debug, Default)]
pub struct ShardedRows {
    /// Row numbers, those of shard 0 first; in each shard in the order of the batch.
    pub rows: Vec<u32>,
    /// The rows of shard s are `rows[offsets[s]..offsets[s + 1]]`.
    pub offsets: Vec<u32>,
}

impl ShardMap {
    /// A map of `shards` (1..=4096, clamped) on `reactors` (at least 1).
    pub fn new(shards: u16, reactors: u16) -> Self {
        Self { shards: shards.clamp(1, MAX_SHARDS), reactors: reactors.max(1) }
    }

    /// The default number of shards for a number of reactors: the next power of two, at least 4.
    pub fn default_shards(reactors: u16) -> u16 {
        reactors.clamp(4, MAX_SHARDS).next_power_of_two()
    }

    /// Number of shards.
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// Number of reactors.
    pub fn reactors(&self) -> u16 {
        self.reactors
    }

    /// The shard of a key's hash.
    #[inline]
    pub fn shard_of(&self, hash: u64) -> ShardId {
        let prefix = (hash >> (64 - PREFIX_BITS)) as u32;
        ShardId(((prefix * u32::from(self.shards)) >> PREFIX_BITS) as u16)
    }

    /// The shard of rows without key columns (global aggregates): that of the empty key.
    pub fn home(&self) -> ShardId {
        self.shard_of(super::hash_bytes(&[]))
    }

    /// The reactor that owns a shard: shards are dealt out in contiguous runs.
    pub fn reactor_of(&self, shard: ShardId) -> ReactorId {
        ReactorId((u32::from(shard.0) * u32::from(self.reactors) / u32::from(self.shards)) as u16)
    }

    /// The shards of a reactor, ascending.
    pub fn shards_of(&self, reactor: ReactorId) -> impl Iterator<Item = ShardId> + '_ {
        (0..self.shards).map(ShardId).filter(move |shard| self.reactor_of(*shard) == reactor)
    }

    /// Sorts the rows of a batch by shard (stable), reusing the buffers of `into`.
    pub fn sort(&self, hashes: &[u64], into: &mut ShardedRows) {
        let shards = usize::from(self.shards);
        into.offsets.clear();
        into.offsets.resize(shards + 1, 0);
        for hash in hashes {
            into.offsets[usize::from(self.shard_of(*hash).0) + 1] += 1;
        }
        for shard in 0..shards {
            into.offsets[shard + 1] += into.offsets[shard];
        }
        into.rows.clear();
        into.rows.resize(hashes.len(), 0);
        let mut next = into.offsets[..shards].to_vec();
        for (row, hash) in hashes.iter().enumerate() {
            let at = &mut next[usize::from(self.shard_of(*hash).0)];
            into.rows[*at as usize] = row as u32;
            *at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_contiguous_ranges_that_cover_all_hashes() {
        for shards in [1u16, 3, 4, 7, 64, 4096] {
            let map = ShardMap::new(shards, 2);
            let mut last = 0;
            for prefix in 0..4096u64 {
                let shard = map.shard_of(prefix << 52 | 0xf_ffff).0;
                assert!(shard == last || shard == last + 1, "{shards} shards, prefix {prefix}");
                last = shard;
            }
            assert_eq!(last, shards - 1);
        }
    }

    #[test]
    fn every_shard_has_one_reactor_and_reactors_differ_by_one_shard_at_most() {
        for (shards, reactors) in [(4, 1), (4, 2), (4, 3), (8, 3), (16, 16)] {
            let map = ShardMap::new(shards, reactors);
            let counts: Vec<usize> = (0..reactors).map(|r| map.shards_of(ReactorId(r)).count()).collect();
            assert_eq!(counts.iter().sum::<usize>(), usize::from(shards));
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
        }
    }

    #[test]
    fn sorting_by_shard_keeps_the_order_within_a_shard() {
        let map = ShardMap::new(4, 2);
        let hashes: Vec<u64> = (0..1000u64).map(super::super::hash_word).collect();
        let mut sorted = ShardedRows::default();
        map.sort(&hashes, &mut sorted);
        for shard in 0..4usize {
            let rows = &sorted.rows[sorted.offsets[shard] as usize..sorted.offsets[shard + 1] as usize];
            assert!(rows.is_sorted());
            assert!(rows.iter().all(|row| map.shard_of(hashes[*row as usize]).0 == shard as u16));
            assert!(!rows.is_empty());
        }
        assert_eq!(sorted.rows.len(), 1000);
    }
}
