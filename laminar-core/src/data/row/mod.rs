//! Whole rows as bytes: how views keep them.
//!
//! Frozen (docs/format.md, "Rows"): `version u8 = 1 · NULL bitmap · values in column order`; a NULL has no
//! value; BOOLEAN is one byte, fixed types are Arrow's own bytes, text and binary stand behind their u32 length.
//! Invariant: two rows of one schema have equal bytes exactly if all values are the same bit for bit.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use arrow::datatypes::{DataType, Schema, SchemaRef};

/// The version of the row format.
const VERSION: u8 = 1;

/// What can go wrong with kept rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// A column type that a view cannot keep.
    #[error("LDB-3104: column \"{column}\" of type {data_type} cannot be kept in a view; cast it to text")]
    Type {
        /// The column's name.
        column: String,
        /// Its type.
        data_type: DataType,
    },
    /// Bytes that no codec of this schema wrote.
    #[error("LDB-3105: a kept row is damaged: {what}")]
    Damaged {
        /// What is wrong.
        what: String,
    },
}

impl RowError {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Type { .. } => "LDB-3104",
            Self::Damaged { .. } => "LDB-3105",
        }
    }
}

/// How one column is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bool,
    /// So many bytes.
    Fixed(usize),
    Variable,
}

/// Turns the rows of one schema into bytes and back.
#[derive(Clone, Debug)]
pub struct RowCodec {
    schema: SchemaRef,
    kinds: Vec<Kind>,
}

/// Encoded rows, one after the other.
#[derive(Clone, Debug, Default)]
pub struct EncodedRows {
    bytes: Vec<u8>,
    offsets: Vec<usize>,
}

impl EncodedRows {
    /// The bytes of a row.
    pub fn get(&self, row: usize) -> &[u8] {
        &self.bytes[self.offsets[row]..self.offsets[row + 1]]
    }
}

impl RowCodec {
    /// A codec for rows of a schema.
    ///
    /// # Errors
    /// A column type that cannot be kept (lists, structs, maps).
    pub fn new(schema: &SchemaRef) -> Result<Self, RowError> {
        Ok(Self { schema: schema.clone(), kinds: kinds(schema)? })
    }

    /// The rows' schema.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn bitmap_bytes(&self) -> usize {
        self.kinds.len().div_ceil(8)
    }
}

fn kinds(schema: &Schema) -> Result<Vec<Kind>, RowError> {
    let kind = |data_type: &DataType| {
        Some(match data_type {
            DataType::Boolean => Kind::Bool,
            DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView => Kind::Variable,
            DataType::FixedSizeBinary(width) => Kind::Fixed(*width as usize),
            other => Kind::Fixed(other.primitive_width()?),
        })
    };
    let refused = |field: &arrow::datatypes::Field| RowError::Type {
        column: field.name().clone(),
        data_type: field.data_type().clone(),
    };
    schema.fields().iter().map(|field| kind(field.data_type()).ok_or_else(|| refused(field))).collect()
}
