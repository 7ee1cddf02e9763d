//! What one INSERT, COPY, transaction or request brings is one record of the log: how large that may be.
//!
//! Invariant: what cannot fit is refused before it is built. What passes here the log may still refuse: it counts its
//! own frames, and takes less on a small volume.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, FieldRef};
use laminar_storage::log::MAX_RECORD_BYTES;

use crate::error::DbError;

/// Bits that a row of these columns takes at least: NULLs take as much, and texts come on top.
pub fn row_bits<'a>(columns: impl IntoIterator<Item = &'a FieldRef>) -> usize {
    let bits = |kind: &DataType| match kind {
        DataType::Boolean => 1,
        // A text's place among the others.
        kind => 8 * kind.primitive_width().unwrap_or(size_of::<i32>()),
    };
    columns.into_iter().map(|field| bits(field.data_type())).sum()
}

/// Bytes of rows as they are written, without frames.
pub fn bytes(rows: &RecordBatch) -> usize {
    let written = |column: &dyn Array| {
        column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())
    };
    rows.columns().iter().map(|column| written(column)).sum()
}

/// Whether rows of so many bytes may fit.
///
/// # Errors
/// They do not.
pub fn fits(bytes: usize) -> Result<(), DbError> {
    if bytes <= MAX_RECORD_BYTES {
        return Ok(());
    }
    let message = format!(
        "the rows take {bytes} bytes, and what one INSERT, COPY or request brings may take {MAX_RECORD_BYTES}; \
         nothing was written"
    );
    Err(DbError::new("LDB-4065", "54000", message).with_hint("send the rows in several parts"))
}

/// Whether so many rows of so many bits each may fit.
///
/// # Errors
/// They do not.
pub fn rows_fit(rows: usize, row_bits: usize) -> Result<(), DbError> {
    fits(rows.saturating_mul(row_bits) / 8)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray, new_null_array};
    use arrow::datatypes::Schema;
    use arrow::ipc::writer::StreamWriter;

    use super::*;

    #[test]
    fn rows_are_never_counted_as_more_than_they_are_in_a_record() {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(0..10_000)),
            Arc::new(BooleanArray::from(vec![true; 10_000])),
            Arc::new(StringArray::from_iter_values((0..10_000).map(|n| n.to_string()))),
            new_null_array(&DataType::Float64, 10_000),
        ];
        let rows = RecordBatch::try_from_iter(["i", "b", "t", "n"].into_iter().zip(columns)).unwrap();
        for rows in [rows.clone(), rows.slice(9_000, 64), rows.slice(0, 0)] {
            let mut record = Vec::new();
            let mut writer = StreamWriter::try_new(&mut record, &rows.schema()).unwrap();
            writer.write(&rows).unwrap();
            writer.finish().unwrap();
            drop(writer);
            let least = rows.num_rows() * row_bits(rows.schema().fields()) / 8;
            let counted = bytes(&rows);
            assert!(least <= counted && counted <= record.len(), "{least} {counted} {}", record.len());
            assert!(counted * 2 > record.len() || rows.num_rows() < 100, "{counted} of {}", record.len());
        }
    }

    #[test]
    fn no_number_of_rows_wraps_around() {
        let schema = Schema::new(vec![arrow::datatypes::Field::new("x", DataType::Int64, true)]);
        let bits = row_bits(schema.fields());
        assert!(rows_fit(MAX_RECORD_BYTES / 8, bits).is_ok());
        for rows in [MAX_RECORD_BYTES / 8 + 1, 1 << 58, usize::MAX] {
            assert_eq!(rows_fit(rows, bits).unwrap_err().sqlstate, "54000", "{rows}");
        }
    }
}
