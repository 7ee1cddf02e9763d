//! The 64 bytes by which an arena image remembers a table.

use super::entry::{KeyShape, TableShape};
use super::segment::PAGE_BYTES;
use super::table::TableKey;
use crate::ids::OperatorId;

/// One block, so that a table costs a checkpoint one block.
pub(crate) const RECORD_BYTES: usize = 64;
/// Records in a page of kind `Tables`.
pub(crate) const RECORDS_PER_PAGE: usize = PAGE_BYTES / RECORD_BYTES;

const FIXED: u8 = 1;
const VARIABLE: u8 = 2;

/// A table's record; without a shape there is no table under the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableRecord {
    pub(crate) key: TableKey,
    pub(crate) shape: Option<TableShape>,
    pub(crate) len: u64,
}

impl TableRecord {
    pub(crate) const EMPTY: Self = Self { key: TableKey { operator: OperatorId(0), part: 0 }, shape: None, len: 0 };

    pub(crate) fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        let Some(shape) = self.shape else { return bytes };
        let (kind, width) = match shape.key {
            KeyShape::Fixed(width) => (FIXED, width),
            KeyShape::Variable { inline } => (VARIABLE, inline),
        };
        bytes[0..8].copy_from_slice(&self.key.operator.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.key.part.to_le_bytes());
        bytes[16..20].copy_from_slice(&shape.value_len.to_le_bytes());
        bytes[20..22].copy_from_slice(&width.to_le_bytes());
        bytes[22] = kind;
        bytes[24..32].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    /// `None`: no arena writes such bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| <[u8; 8]>::try_from(&bytes[at..at + 8]).map(u64::from_le_bytes).unwrap_or(0);
        let width = u16::from_le_bytes([bytes[20], bytes[21]]);
        let key = match bytes[22] {
            0 => return bytes.iter().all(|byte| *byte == 0).then_some(Self::EMPTY),
            FIXED => KeyShape::Fixed(width),
            VARIABLE => KeyShape::Variable { inline: width },
            _ => return None,
        };
        let shape = TableShape { value_len: word(16) as u32, key };
        let table = TableKey { operator: OperatorId(word(0)), part: word(8) as i64 };
        Some(Self { key: table, shape: Some(shape), len: word(24) })
    }
}
