//! The bytes of one table entry: hash, key, value; and the shape that fixes them.
//!
//! Fixed keys: `hash u64 · key padded to 8 · value`. Variable keys: `hash u64 · length u32 · key, or the
//! reference of its blob when it is longer than the inline area · value`.
//! Invariant: an entry never crosses a page, and none of up to 64 bytes crosses a block, so a small
//! update dirties one block.

use super::blob::BlobRef;
use super::error::ArenaError;
use super::segment::PAGE_BYTES;

/// Slots count in units of this many bytes.
pub(crate) const SLOT_BYTES: usize = 16;

/// How a table keeps its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyShape {
    /// Every key has this many bytes.
    Fixed(u16),
    /// Keys of any length; up to `inline` bytes stand in the entry, longer ones in blobs.
    Variable {
        /// Bytes kept in the entry.
        inline: u16,
    },
}

/// The shape of a table's entries; fixed when the table is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableShape {
    /// Bytes of each value; may be 0.
    pub value_len: u32,
    /// The keys.
    pub key: KeyShape,
}

impl TableShape {
    /// Values of `value_len` bytes under keys of any length, short ones inline.
    pub const fn variable(value_len: u32) -> Self {
        Self { value_len, key: KeyShape::Variable { inline: 20 } }
    }

    /// Values of `value_len` bytes under keys of `width` bytes.
    pub const fn fixed(width: u16, value_len: u32) -> Self {
        Self { value_len, key: KeyShape::Fixed(width) }
    }
}

/// Where the parts of an entry lie, derived from its shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryLayout {
    pub(crate) shape: TableShape,
    pub(crate) key_at: usize,
    pub(crate) key_area: usize,
    pub(crate) value_at: usize,
    pub(crate) value_len: usize,
    pub(crate) stride: usize,
    /// Blocks of a value, to be shifted to its first block; may name one block too many.
    pub(crate) value_blocks: u64,
}

impl EntryLayout {
    pub(crate) fn new(shape: TableShape) -> Result<Self, ArenaError> {
        let (key_at, key_area) = match shape.key {
            KeyShape::Fixed(width) => (8, (width as usize).next_multiple_of(8)),
            KeyShape::Variable { inline } => (12, (inline as usize).max(8).next_multiple_of(8) + 4),
        };
        let value_at = key_at + key_area;
        let value_len = shape.value_len as usize;
        let len = value_at + value_len;
        let stride = if len <= 64 { len.next_power_of_two().max(16) } else { len.next_multiple_of(32) };
        if stride > PAGE_BYTES {
            return Err(ArenaError::EntryTooLarge { len, limit: PAGE_BYTES });
        }
        let blocks = if stride <= 64 { 1 } else { (value_len + 63).div_ceil(64).max(1) };
        let value_blocks = if blocks >= 64 { u64::MAX } else { (1 << blocks) - 1 };
        Ok(Self { shape, key_at, key_area, value_at, value_len, stride, value_blocks })
    }

    pub(crate) fn per_page(&self) -> usize {
        PAGE_BYTES / self.stride
    }

    /// Longest key that stands in the entry.
    pub(crate) fn inline_limit(&self) -> usize {
        match self.shape.key {
            KeyShape::Fixed(width) => width as usize,
            KeyShape::Variable { .. } => self.key_area,
        }
    }
}

/// A key's place: in the entry, or in a blob.
pub(crate) enum KeyPlace<'a> {
    Inline(&'a [u8]),
    Blob(BlobRef),
}

impl EntryLayout {
    /// Reads the key part of an entry's bytes.
    #[inline(always)]
    pub(crate) fn key_place<'a>(&self, entry: &'a [u8]) -> KeyPlace<'a> {
        match self.shape.key {
            KeyShape::Fixed(width) => KeyPlace::Inline(&entry[8..8 + width as usize]),
            KeyShape::Variable { .. } => {
                let len = u32::from_le_bytes([entry[8], entry[9], entry[10], entry[11]]) as usize;
                if len <= self.key_area {
                    KeyPlace::Inline(&entry[12..12 + len])
                } else {
                    let mut reference = [0; 8];
                    reference.copy_from_slice(&entry[12..20]);
                    KeyPlace::Blob(BlobRef::from_u64(u64::from_le_bytes(reference)))
                }
            }
        }
    }
}
