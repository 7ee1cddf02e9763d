//! Columns to encoded keys and hashes.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;

use super::{KeyColumn, KeyEncoder, Layout};
use crate::shard::{hash_bytes, hash_word};

/// Fills the encoder's buffers with the keys of all rows.
pub(super) fn encode(to: &mut KeyEncoder, rows: &RecordBatch) {
    to.bytes.clear();
    to.offsets.clear();
    to.hashes.clear();
    match to.layout {
        Layout::Fixed { values, width } => encode_fixed(to, rows, values, width),
        Layout::Text => encode_text(to, rows),
        Layout::Mixed => encode_mixed(to, rows),
    }
}

fn encode_fixed(to: &mut KeyEncoder, rows: &RecordBatch, values: usize, width: usize) {
    let count = rows.num_rows();
    to.bytes.resize(count * width, 0);
    let mut at = 0;
    let mut any_null = false;
    for (ordinal, (index, column, _)) in to.columns.iter().enumerate() {
        let KeyColumn::Fixed(fixed) = column else { unreachable!("the layout is Fixed only when every column is") };
        let array = rows.column(*index).as_ref();
        let bytes = &mut to.bytes;
        if width == 8 && fixed.width() == 8 {
            fixed.write(array, |row, value| bytes[row * 8..row * 8 + 8].copy_from_slice(value));
        } else {
            fixed.write(array, |row, value| {
                let start = row * width + at;
                bytes[start..start + value.len()].copy_from_slice(value);
            });
        }
        if let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0) {
            any_null = true;
            for row in (0..count).filter(|row| nulls.is_null(*row)) {
                to.bytes[row * width + values + ordinal / 8] |= 1 << (ordinal % 8);
            }
        }
        at += fixed.width();
    }
    let bitmap = to.columns.len().div_ceil(8);
    if width == 8 && values == 8 {
        to.hashes.extend(to.bytes.chunks_exact(8).map(|key| {
            let mut word = [0; 8];
            word.copy_from_slice(key);
            hash_word(u64::from_le_bytes(word))
        }));
    } else if any_null {
        to.hashes.extend(to.bytes.chunks_exact(width).map(|key| {
            let has_null = key[values..values + bitmap].iter().any(|byte| *byte != 0);
            hash_bytes(&key[..if has_null { values + bitmap } else { values }])
        }));
    } else if values == 8 {
        to.hashes.extend(to.bytes.chunks_exact(width).map(|key| {
            let mut word = [0; 8];
            word.copy_from_slice(&key[..8]);
            hash_word(u64::from_le_bytes(word))
        }));
    } else {
        to.hashes.extend(to.bytes.chunks_exact(width).map(|key| hash_bytes(&key[..values])));
    }
}

fn encode_text(to: &mut KeyEncoder, rows: &RecordBatch) {
    let index = &to.columns[0].0;
    let column = rows.column(*index).as_ref();
    to.offsets.push(0);
    let (bytes, offsets, hashes) = (&mut to.bytes, &mut to.offsets, &mut to.hashes);
    each_value(column, |_, value| {
        let value = value.unwrap_or(&[0xFF]);
        hashes.push(hash_bytes(value));
        bytes.extend_from_slice(value);
        offsets.push(bytes.len() as i32);
    });
}

/// Calls with the bytes of every row of a text or binary column, none where NULL.
pub(crate) fn each_value(column: &dyn Array, mut put: impl FnMut(usize, Option<&[u8]>)) {
    let nulls = column.nulls();
    macro_rules! each {
        ($array:expr, $as_bytes:expr) => {{
            let array = $array;
            for row in 0..array.len() {
                let null = nulls.is_some_and(|nulls| nulls.is_null(row));
                put(row, if null { None } else { Some($as_bytes(array.value(row))) });
            }
        }};
    }
    match column.data_type() {
        DataType::Utf8 => each!(column.as_string::<i32>(), str::as_bytes),
        DataType::LargeUtf8 => each!(column.as_string::<i64>(), str::as_bytes),
        DataType::Utf8View => each!(column.as_string_view(), str::as_bytes),
        DataType::Binary => each!(column.as_binary::<i32>(), std::convert::identity),
        DataType::LargeBinary => each!(column.as_binary::<i64>(), std::convert::identity),
        DataType::BinaryView => each!(column.as_binary_view(), std::convert::identity),
        other => unreachable!("{other} is not of variable length"),
    }
}

/// Row by row lengths are known first, then each column writes its values at the rows' cursors.
fn encode_mixed(to: &mut KeyEncoder, rows: &RecordBatch) {
    let count = rows.num_rows();
    let mut lengths = vec![0usize; count];
    let fixed_columns = to.columns.iter().filter(|(_, column, _)| matches!(column, KeyColumn::Fixed(_))).count();
    let bitmap_bytes = fixed_columns.div_ceil(8);
    let mut bitmaps: Vec<u8> = Vec::new();
    let mut ordinal = 0;
    for (index, column, _) in &to.columns {
        let array = rows.column(*index).as_ref();
        match column {
            KeyColumn::Fixed(fixed) => {
                lengths.iter_mut().for_each(|length| *length += fixed.width());
                if let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0) {
                    bitmaps.resize(count * bitmap_bytes, 0);
                    for row in (0..count).filter(|row| nulls.is_null(*row)) {
                        bitmaps[row * bitmap_bytes + ordinal / 8] |= 1 << (ordinal % 8);
                    }
                }
                ordinal += 1;
            }
            KeyColumn::Variable => {
                each_value(array, |row, value| lengths[row] += 4 + value.map_or(0, <[u8]>::len));
            }
        }
    }
    let bitmap_of = |row: usize| bitmaps.get(row * bitmap_bytes..(row + 1) * bitmap_bytes).unwrap_or(&[]);
    let mut cursors = Vec::with_capacity(count);
    let mut end = 0usize;
    to.offsets.push(0);
    for (row, length) in lengths.iter().enumerate() {
        cursors.push(end);
        end += length;
        if bitmap_of(row).iter().any(|byte| *byte != 0) {
            end += bitmap_bytes;
        }
        to.offsets.push(end as i32);
    }
    to.bytes.resize(end, 0);
    let bytes = &mut to.bytes;
    for (index, column, _) in &to.columns {
        let array = rows.column(*index).as_ref();
        match column {
            KeyColumn::Fixed(fixed) => {
                fixed.write(array, |row, value| bytes[cursors[row]..cursors[row] + value.len()].copy_from_slice(value));
                cursors.iter_mut().for_each(|cursor| *cursor += fixed.width());
            }
            KeyColumn::Variable => each_value(array, |row, value| {
                let start = cursors[row];
                let length = value.map_or(u32::MAX, |value| value.len() as u32);
                bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
                let value = value.unwrap_or(&[]);
                bytes[start + 4..start + 4 + value.len()].copy_from_slice(value);
                cursors[row] = start + 4 + value.len();
            }),
        }
    }
    for (row, &cursor) in cursors.iter().enumerate().take(count) {
        let end = to.offsets[row + 1] as usize;
        if cursor < end {
            to.bytes[cursor..end].copy_from_slice(bitmap_of(row));
        }
        to.hashes.push(hash_bytes(&to.bytes[to.offsets[row] as usize..end]));
    }
}
