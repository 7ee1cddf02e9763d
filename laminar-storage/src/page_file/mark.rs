//! What the manifest keeps of a page file: where the root is, and its checksum.

use crate::ids::ShardId;

/// Bytes of an encoded mark.
pub const MARK_BYTES: usize = 32;

/// One complete image of all arenas of a shard. Published by the manifest, never interpreted elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageFileMark {
    /// The shard.
    pub shard: ShardId,
    /// Number of the image within its file; strictly increasing.
    pub generation: u64,
    pub(super) root_offset: u64,
    pub(super) root_len: u32,
    pub(super) root_crc: u32,
}

impl PageFileMark {
    /// The mark as it stands in the manifest: little endian, its own CRC32C last.
    pub fn encode(&self) -> [u8; MARK_BYTES] {
        let mut bytes = [0; MARK_BYTES];
        bytes[0..8].copy_from_slice(&self.generation.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.root_offset.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.root_len.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.root_crc.to_le_bytes());
        bytes[24..26].copy_from_slice(&self.shard.0.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..28]);
        bytes[28..32].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The mark from [`PageFileMark::encode`]; `None` when the bytes are not one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; MARK_BYTES] = bytes.try_into().ok()?;
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        if crc32c::crc32c(&bytes[..28]) != word(28) {
            return None;
        }
        Some(Self {
            shard: ShardId(word(24) as u16),
            generation: long(0),
            root_offset: long(8),
            root_len: word(16),
            root_crc: word(20),
        })
    }
}
