//! Encoded keys back to columns.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BinaryViewArray, LargeBinaryArray, LargeStringArray, StringArray, StringViewArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;

use super::{KeyBuffer, KeyColumn, KeyEncoder, Layout};

impl KeyEncoder {
    /// The key columns, in key order and of their own types, of keys that this encoder (or its equal) made.
    pub fn decode(&self, keys: &KeyBuffer) -> Vec<ArrayRef> {
        match self.layout {
            Layout::Fixed { values, .. } => self.decode_fixed(keys, values),
            Layout::Text => {
                let values = (0..keys.len()).map(|row| Some(keys.get(row)).filter(|key| *key != [0xFF]));
                vec![variable_column(&self.columns[0].2, values)]
            }
            Layout::Mixed => self.decode_mixed(keys),
        }
    }

    fn decode_fixed(&self, keys: &KeyBuffer, values: usize) -> Vec<ArrayRef> {
        let mut at = 0;
        let mut columns = Vec::with_capacity(self.columns.len());
        for (ordinal, (_, column, _)) in self.columns.iter().enumerate() {
            let KeyColumn::Fixed(fixed) = column else { unreachable!("the layout is Fixed only when every column is") };
            let is_null =
                |row: usize| keys.get(row).get(values + ordinal / 8).is_some_and(|byte| byte >> (ordinal % 8) & 1 == 1);
            let nulls = nulls(keys.len(), is_null);
            columns.push(fixed.read(keys.len(), nulls, |row| &keys.get(row)[at..]));
            at += fixed.width();
        }
        columns
    }

    fn decode_mixed(&self, keys: &KeyBuffer) -> Vec<ArrayRef> {
        let rows = keys.len();
        let bitmaps: Vec<usize> = (0..rows).map(|row| self.values_end(keys.get(row))).collect();
        let mut cursors = vec![0usize; rows];
        let mut ordinal = 0;
        let mut columns = Vec::with_capacity(self.columns.len());
        for (_, column, data_type) in &self.columns {
            match column {
                KeyColumn::Fixed(fixed) => {
                    let is_null = |row: usize| {
                        let byte = keys.get(row).get(bitmaps[row] + ordinal / 8);
                        byte.is_some_and(|byte| byte >> (ordinal % 8) & 1 == 1)
                    };
                    let nulls = nulls(rows, is_null);
                    columns.push(fixed.read(rows, nulls, |row| &keys.get(row)[cursors[row]..]));
                    cursors.iter_mut().for_each(|cursor| *cursor += fixed.width());
                    ordinal += 1;
                }
                KeyColumn::Variable => {
                    columns.push(variable_column(data_type, (0..rows).map(|row| text_at(keys.get(row), cursors[row]))));
                    for (row, cursor) in cursors.iter_mut().enumerate() {
                        *cursor += 4 + text_at(keys.get(row), *cursor).map_or(0, <[u8]>::len);
                    }
                }
            }
        }
        columns
    }

    /// Where the values of a mixed key end and its NULL bitmap, if any, begins.
    fn values_end(&self, key: &[u8]) -> usize {
        self.columns.iter().fold(0, |at, (_, column, _)| match column {
            KeyColumn::Fixed(fixed) => at + fixed.width(),
            KeyColumn::Variable => at + 4 + text_at(key, at).map_or(0, <[u8]>::len),
        })
    }
}

/// The variable value at a place of a mixed key; none where NULL.
fn text_at(key: &[u8], at: usize) -> Option<&[u8]> {
    let length = u32::from_le_bytes([key[at], key[at + 1], key[at + 2], key[at + 3]]);
    (length != u32::MAX).then(|| &key[at + 4..at + 4 + length as usize])
}

fn nulls(rows: usize, is_null: impl Fn(usize) -> bool) -> Option<NullBuffer> {
    let nulls: NullBuffer = (0..rows).map(|row| !is_null(row)).collect();
    (nulls.null_count() > 0).then_some(nulls)
}

/// A text or binary column. Keys hold only what a column of that type held, so text is valid UTF-8;
/// bytes that are not (damaged state) become replacement characters, never undefined behaviour.
pub(crate) fn variable_column<'a>(data_type: &DataType, values: impl Iterator<Item = Option<&'a [u8]>>) -> ArrayRef {
    let text = |value: &'a [u8]| String::from_utf8_lossy(value);
    match data_type {
        DataType::Utf8 => Arc::new(values.map(|value| value.map(text)).collect::<StringArray>()),
        DataType::LargeUtf8 => Arc::new(values.map(|value| value.map(text)).collect::<LargeStringArray>()),
        DataType::Utf8View => Arc::new(values.map(|value| value.map(text)).collect::<StringViewArray>()),
        DataType::LargeBinary => Arc::new(values.collect::<LargeBinaryArray>()),
        DataType::BinaryView => Arc::new(values.collect::<BinaryViewArray>()),
        _ => Arc::new(values.collect::<BinaryArray>()),
    }
}
