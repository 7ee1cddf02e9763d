//! Keys: how the values of key columns become bytes, and those bytes a hash.
//!
//! Frozen (docs/format.md, "Keys and hash"): shards, state tables and restarts rely on it.
//! Invariants: equal keys (SQL `IS NOT DISTINCT FROM`) have equal bytes and different keys different
//! bytes, for one list of column types; NULL is a value of its own; −0.0 is 0.0 and there is one NaN;
//! trailing zeros of decimals do not count.

mod column;
mod decode;
mod encode;
#[cfg(test)]
mod tests;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
pub use laminar_storage::arena::{KeyBatch, KeyShape};

use column::FixedColumn;
pub(crate) use column::{canonical_bits, each_i64};
pub(crate) use decode::variable_column;
pub(crate) use encode::each_value;

/// A column type that cannot be a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("LDB-3101: column \"{column}\" of type {data_type} cannot be a key; cast it to text or a scalar type")]
pub struct KeyError {
    /// The column's name.
    pub column: String,
    /// Its type.
    pub data_type: DataType,
}

/// How one key column is kept.
#[derive(Clone, Debug)]
pub(crate) enum KeyColumn {
    /// A fixed number of bytes.
    Fixed(FixedColumn),
    /// Text or bytes of any length.
    Variable,
}

/// How whole keys are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// All columns have a fixed width: `values` bytes, and behind them the NULL bitmap where a column is nullable; `width` in all.
    Fixed {
        /// Bytes of the values.
        values: usize,
        /// Bytes of a key in a state table: values, bitmap, padding.
        width: usize,
    },
    /// One text column: its UTF-8 bytes; NULL is the byte 0xFF, which UTF-8 never has.
    Text,
    /// Any other mix: columns in order, variable ones behind their u32 length.
    Mixed,
}

/// Turns key columns into encoded keys and hashes, a batch at a time, and back. Keeps its buffers.
#[derive(Clone, Debug)]
pub struct KeyEncoder {
    /// Column index in the input, kept form, type.
    columns: Vec<(usize, KeyColumn, DataType)>,
    layout: Layout,
    bytes: Vec<u8>,
    offsets: Vec<i32>,
    hashes: Vec<u64>,
}

/// The keys of one batch, borrowed from its encoder.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    /// The encoded keys, one a row, as state tables take them.
    pub keys: KeyBatch<'a>,
    /// Their hashes, one a row.
    pub hashes: &'a [u64],
}

impl KeyEncoder {
    /// An encoder for columns (indices) of a schema; no column = every row has the one empty key.
    ///
    /// # Errors
    /// A type that cannot be a key (lists, structs, maps, unions).
    pub fn new(schema: &Schema, columns: &[usize]) -> Result<Self, KeyError> {
        let mut kept = Vec::with_capacity(columns.len());
        let mut nullable = false;
        let mut values = 0;
        for &index in columns {
            let field = schema.field(index);
            let column = KeyColumn::of(field.data_type())
                .ok_or_else(|| KeyError { column: field.name().clone(), data_type: field.data_type().clone() })?;
            nullable |= field.is_nullable();
            if let KeyColumn::Fixed(fixed) = &column {
                values += fixed.width();
            }
            kept.push((index, column, field.data_type().clone()));
        }
        let layout = if kept.iter().all(|(_, column, _)| matches!(column, KeyColumn::Fixed(_))) {
            let bitmap = if nullable { kept.len().div_ceil(8) } else { 0 };
            Layout::Fixed { values, width: (values + bitmap).max(1).next_multiple_of(8) }
        } else if kept.len() == 1 && is_text(&kept[0].2) {
            Layout::Text
        } else {
            Layout::Mixed
        };
        Ok(Self { columns: kept, layout, bytes: Vec::new(), offsets: Vec::new(), hashes: Vec::new() })
    }

    /// How a state table keeps these keys.
    pub fn shape(&self) -> KeyShape {
        match self.layout {
            Layout::Fixed { width, .. } => KeyShape::Fixed(width as u16),
            Layout::Text | Layout::Mixed => KeyShape::Variable { inline: 20 },
        }
    }

    /// Encodes and hashes the keys of all rows.
    pub fn encode(&mut self, rows: &RecordBatch) -> Keys<'_> {
        encode::encode(self, rows);
        let keys = match self.layout {
            Layout::Fixed { width, .. } => KeyBatch::Fixed { bytes: &self.bytes, width },
            Layout::Text | Layout::Mixed => KeyBatch::Variable { offsets: &self.offsets, bytes: &self.bytes },
        };
        Keys { keys, hashes: &self.hashes }
    }

    /// Only the hashes: what an exchange needs.
    pub fn hashes(&mut self, rows: &RecordBatch) -> &[u64] {
        self.encode(rows).hashes
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Encoded keys collected one by one, to be decoded as columns.
#[derive(Clone, Debug)]
pub struct KeyBuffer {
    bytes: Vec<u8>,
    offsets: Vec<usize>,
}

impl Default for KeyBuffer {
    fn default() -> Self {
        Self { bytes: Vec::new(), offsets: vec![0] }
    }
}

impl KeyBuffer {
    /// Adds a key.
    pub fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.offsets.push(self.bytes.len());
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A key.
    pub fn get(&self, at: usize) -> &[u8] {
        &self.bytes[self.offsets[at]..self.offsets[at + 1]]
    }

    /// Bytes of the keys and their places.
    pub fn byte_size(&self) -> usize {
        self.bytes.len() + size_of_val(self.offsets.as_slice())
    }

    /// Forgets all keys, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.offsets.truncate(1);
    }
}
