//! Shards: the frozen hash of keys, and which shard and reactor a hash belongs to.

mod hash;
mod map;

pub use hash::{hash_bytes, hash_word};
pub use map::{ShardMap, ShardedRows};
