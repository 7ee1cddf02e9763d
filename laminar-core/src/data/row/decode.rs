//! Rows back to columns. Every length is checked before it is used.

use arrow::array::{ArrayData, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, make_array};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::DataType;
use std::sync::Arc;

use super::{Kind, RowCodec, RowError, VERSION};
use crate::data::key::variable_column;

impl RowCodec {
    /// Decodes rows, in their order, into one batch of the codec's schema.
    ///
    /// # Errors
    /// Bytes that no codec of this schema wrote.
    pub fn decode(&self, rows: &[&[u8]]) -> Result<RecordBatch, RowError> {
        let head = 1 + self.bitmap_bytes();
        for row in rows {
            if row.len() < head || row[0] != VERSION {
                return Err(damaged(format!("{} bytes of version {:?}", row.len(), row.first())));
            }
        }
        let mut cursors = vec![head; rows.len()];
        let mut columns = Vec::with_capacity(self.kinds.len());
        for (at, (kind, field)) in self.kinds.iter().zip(self.schema.fields()).enumerate() {
            let valid: NullBuffer = rows.iter().map(|row| row[1 + at / 8] >> (at % 8) & 1 == 0).collect();
            let reader = Reader { rows, valid: &valid };
            columns.push(reader.column(*kind, field.data_type(), &mut cursors)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(damaged)
    }
}

fn damaged(what: impl std::fmt::Display) -> RowError {
    RowError::Damaged { what: what.to_string() }
}

struct Reader<'a> {
    rows: &'a [&'a [u8]],
    valid: &'a NullBuffer,
}

impl<'a> Reader<'a> {
    /// The next bytes of a row; moves its cursor.
    fn next(&self, row: usize, length: usize, cursors: &mut [usize]) -> Result<&'a [u8], RowError> {
        let from = cursors[row];
        cursors[row] = from.saturating_add(length);
        let bytes = self.rows[row].get(from..cursors[row]);
        bytes.ok_or_else(|| damaged(format!("{length} bytes wanted at {from} of {}", self.rows[row].len())))
    }

    fn nulls(&self) -> Option<NullBuffer> {
        (self.valid.null_count() > 0).then(|| self.valid.clone())
    }

    fn column(&self, kind: Kind, data_type: &DataType, cursors: &mut [usize]) -> Result<ArrayRef, RowError> {
        match kind {
            Kind::Bool => {
                let mut values = Vec::with_capacity(self.rows.len());
                for row in 0..self.rows.len() {
                    values.push(self.valid.is_valid(row) && self.next(row, 1, cursors)?[0] != 0);
                }
                Ok(Arc::new(BooleanArray::new(values.into(), self.nulls())))
            }
            Kind::Fixed(width) => {
                let mut values = vec![0u8; self.rows.len() * width];
                for row in self.valid.valid_indices() {
                    values[row * width..(row + 1) * width].copy_from_slice(self.next(row, width, cursors)?);
                }
                let data = ArrayData::builder(data_type.clone())
                    .len(self.rows.len())
                    .add_buffer(Buffer::from_vec(values))
                    .nulls(self.nulls())
                    .align_buffers(true)
                    .build();
                Ok(make_array(data.map_err(damaged)?))
            }
            Kind::Variable => {
                let mut values: Vec<Option<&[u8]>> = vec![None; self.rows.len()];
                for row in self.valid.valid_indices() {
                    let length = self.next(row, 4, cursors)?;
                    let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]);
                    values[row] = Some(self.next(row, length as usize, cursors)?);
                }
                Ok(variable_column(data_type, values.into_iter()))
            }
        }
    }
}
