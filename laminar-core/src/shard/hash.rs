//! The frozen 64-bit hash of encoded keys: XXH3-64, seed 0, default secret.
//!
//! Invariant: never changes; a data directory's shards and index positions depend on it.

use xxhash_rust::xxh3::xxh3_64;

/// Bytes 8..16 xor bytes 16..24 of XXH3's default secret, as little-endian words.
const FLIP: u64 = 0x1cad_21f7_2c81_017c ^ 0xdb97_9083_e96d_d4de;

/// The hash of an encoded key.
#[inline]
pub fn hash_bytes(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// The hash of an encoded key of eight bytes, given as a little-endian word: equal to
/// [`hash_bytes`], without a call or a branch, so that a column of keys hashes in one vector pass.
#[inline(always)]
pub fn hash_word(key: u64) -> u64 {
    let mut h = key.rotate_left(32) ^ FLIP;
    h ^= h.rotate_left(49) ^ h.rotate_left(24);
    h = h.wrapping_mul(0x9fb2_1c65_1e98_df25);
    h ^= (h >> 35).wrapping_add(8);
    h = h.wrapping_mul(0x9fb2_1c65_1e98_df25);
    h ^ (h >> 28)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_hashes_like_its_bytes() {
        for i in 0..10_000u64 {
            let word = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ i;
            assert_eq!(hash_word(word), hash_bytes(&word.to_le_bytes()));
        }
    }

    /// The vectors of docs/format.md.
    #[test]
    fn the_hash_is_frozen() {
        let vectors: [(&[u8], u64); 5] = [
            (b"", 0x2d06_8005_38d3_94c2),
            (&0u64.to_le_bytes(), 0xc77b_3abb_6f87_acd9),
            (b"EURUSD", 0xaefa_04be_0597_cb3e),
            (&[0xff], 0xd6bc_ec3c_6b29_d72e),
            (&1u64.to_le_bytes(), 0x2fbc_5935_64db_792e),
        ];
        for (bytes, expected) in vectors {
            assert_eq!(hash_bytes(bytes), expected, "{bytes:02x?}");
        }
    }
}
