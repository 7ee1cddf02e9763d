//! The name of a request that its client may send again.
//!
//! Digests stand for the key and for what was sent: both are as long as the client likes, and what is kept of a
//! request must be small. Invariant: frozen, since logs and state hold it: XXH3-128, seed 0, default secret.

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Digests of a client's idempotency key and of the request that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// Of the key.
    pub key: u128,
    /// Of what was sent.
    pub body: u128,
}

impl RequestKey {
    /// Bytes of [`RequestKey::to_bytes`].
    pub const BYTES: usize = 32;

    /// The name of a request; `format` tells bodies apart that are the same bytes and mean other rows.
    pub fn new(key: &str, format: &str, body: &[u8]) -> Self {
        let mut sent = Xxh3::new();
        sent.update(format.as_bytes());
        sent.update(&[0]);
        sent.update(body);
        Self { key: xxh3_128(key.as_bytes()), body: sent.digest128() }
    }

    /// As it stands in logs and state: key, body, little endian.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.key.to_le_bytes());
        bytes[16..].copy_from_slice(&self.body.to_le_bytes());
        bytes
    }

    /// Reads [`RequestKey::to_bytes`] back; none if it is too short.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u128::from_le_bytes(bytes.get(at..at + 16)?.try_into().ok()?));
        Some(Self { key: word(0)?, body: word(16)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of docs/format.md.
    #[test]
    fn the_digests_are_frozen() {
        assert_eq!(xxh3_128(b""), 0x99aa_06d3_0147_98d8_6001_c324_468d_497f, "as published with the hash");
        let request = RequestKey::new("order-17", "csv", b"id\n1\n");
        assert_eq!(request, RequestKey::from_bytes(&request.to_bytes()).unwrap());
        assert_eq!(request.key, xxh3_128(b"order-17"));
        assert_eq!(request.body, xxh3_128(b"csv\0id\n1\n"));
        assert_ne!(request.body, RequestKey::new("order-17", "jsonl", b"id\n1\n").body);
    }
}
