//! Columns to rows: lengths first, then each column writes at the rows' cursors.

use arrow::array::{Array, AsArray, RecordBatch};

use super::{EncodedRows, Kind, RowCodec, VERSION};
use crate::data::key::each_value;

impl RowCodec {
    /// Encodes all rows of a batch of the codec's types.
    pub fn encode(&self, rows: &RecordBatch) -> EncodedRows {
        let count = rows.num_rows();
        let head = 1 + self.bitmap_bytes();
        let mut lengths = vec![head; count];
        for (kind, column) in self.kinds.iter().zip(rows.columns()) {
            match kind {
                Kind::Bool => each_valid(column.as_ref(), |row| lengths[row] += 1),
                Kind::Fixed(width) => each_valid(column.as_ref(), |row| lengths[row] += width),
                Kind::Variable => each_value(column.as_ref(), |row, value| {
                    lengths[row] += value.map_or(0, |value| 4 + value.len());
                }),
            }
        }
        let mut offsets = Vec::with_capacity(count + 1);
        offsets.push(0);
        let mut end = 0;
        for length in &lengths {
            end += length;
            offsets.push(end);
        }
        let mut bytes = vec![0; end];
        let mut cursors = lengths;
        for (row, cursor) in cursors.iter_mut().enumerate() {
            bytes[offsets[row]] = VERSION;
            *cursor = offsets[row] + head;
        }
        for (at, (kind, column)) in self.kinds.iter().zip(rows.columns()).enumerate() {
            write_nulls(column.as_ref(), at, &offsets, &mut bytes);
            write_values(*kind, column.as_ref(), &mut cursors, &mut bytes);
        }
        EncodedRows { bytes, offsets }
    }
}

fn write_nulls(column: &dyn Array, at: usize, offsets: &[usize], bytes: &mut [u8]) {
    if let Some(nulls) = column.nulls().filter(|nulls| nulls.null_count() > 0) {
        for row in (0..column.len()).filter(|row| nulls.is_null(*row)) {
            bytes[offsets[row] + 1 + at / 8] |= 1 << (at % 8);
        }
    }
}

fn write_values(kind: Kind, column: &dyn Array, cursors: &mut [usize], bytes: &mut [u8]) {
    match kind {
        Kind::Bool => {
            let values = column.as_boolean().values();
            each_valid(column, |row| {
                bytes[cursors[row]] = u8::from(values.value(row));
                cursors[row] += 1;
            });
        }
        Kind::Fixed(width) => {
            let data = column.to_data();
            let values = &data.buffers()[0].as_slice()[data.offset() * width..];
            each_valid(column, |row| {
                bytes[cursors[row]..cursors[row] + width].copy_from_slice(&values[row * width..(row + 1) * width]);
                cursors[row] += width;
            });
        }
        Kind::Variable => each_value(column, |row, value| {
            if let Some(value) = value {
                let (start, end) = (cursors[row] + 4, cursors[row] + 4 + value.len());
                bytes[cursors[row]..start].copy_from_slice(&(value.len() as u32).to_le_bytes());
                bytes[start..end].copy_from_slice(value);
                cursors[row] = end;
            }
        }),
    }
}

fn each_valid(column: &dyn Array, mut visit: impl FnMut(usize)) {
    match column.nulls() {
        None => (0..column.len()).for_each(&mut visit),
        Some(nulls) => nulls.valid_indices().for_each(&mut visit),
    }
}
