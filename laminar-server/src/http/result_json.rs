//! Arrow columns as JSON values.
//!
//! Numbers that JSON holds exactly stay numbers; decimals, times and nested values are text.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Schema, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Value, json};

/// Names and types of the columns.
pub fn columns(schema: &Schema) -> Vec<Value> {
    schema.fields().iter().map(|f| json!({ "name": f.name(), "type": f.data_type().to_string() })).collect()
}

/// Appends the rows of a batch, at most `room` of them.
///
/// # Errors
/// A value that cannot be shown.
pub fn append_rows(batch: &RecordBatch, room: usize, rows: &mut Vec<Value>) -> Result<(), ArrowError> {
    let count = batch.num_rows().min(room);
    let mut cells = vec![Vec::with_capacity(batch.num_columns()); count];
    for column in batch.columns() {
        for (row, cell) in cells.iter_mut().zip(values(column, count)?) {
            row.push(cell);
        }
    }
    rows.extend(cells.into_iter().map(Value::Array));
    Ok(())
}

fn values(column: &ArrayRef, count: usize) -> Result<Vec<Value>, ArrowError> {
    macro_rules! numbers {
        ($kind:ty) => {{
            let array = column.as_primitive::<$kind>();
            Ok((0..count).map(|i| if array.is_null(i) { Value::Null } else { json!(array.value(i)) }).collect())
        }};
    }
    match column.data_type() {
        DataType::Int8 => numbers!(Int8Type),
        DataType::Int16 => numbers!(Int16Type),
        DataType::Int32 => numbers!(Int32Type),
        DataType::Int64 => numbers!(Int64Type),
        DataType::UInt8 => numbers!(UInt8Type),
        DataType::UInt16 => numbers!(UInt16Type),
        DataType::UInt32 => numbers!(UInt32Type),
        DataType::UInt64 => numbers!(UInt64Type),
        DataType::Float32 => numbers!(Float32Type),
        DataType::Float64 => numbers!(Float64Type),
        DataType::Boolean => {
            let array = column.as_boolean();
            Ok((0..count).map(|i| if array.is_null(i) { Value::Null } else { Value::Bool(array.value(i)) }).collect())
        }
        _ => {
            let formatter = ArrayFormatter::try_new(column, &FormatOptions::default())?;
            let text = |i| {
                if column.is_null(i) { Ok(Value::Null) } else { formatter.value(i).try_to_string().map(Value::String) }
            };
            (0..count).map(text).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Float64Array, Int64Array, StringArray, TimestampMillisecondArray};

    use super::*;

    #[test]
    fn numbers_stay_numbers_and_the_rest_is_text() {
        let batch = RecordBatch::try_from_iter([
            ("i", Arc::new(Int64Array::from(vec![Some(i64::MAX), None])) as ArrayRef),
            ("f", Arc::new(Float64Array::from(vec![1.5, f64::NAN]))),
            ("s", Arc::new(StringArray::from(vec!["a\"b", ""]))),
            ("d", Arc::new(Decimal128Array::from(vec![150, -5]).with_precision_and_scale(10, 2).unwrap())),
            ("t", Arc::new(TimestampMillisecondArray::from(vec![Some(1_500), None]))),
        ])
        .unwrap();
        let mut rows = Vec::new();
        append_rows(&batch, 10, &mut rows).unwrap();
        assert_eq!(
            Value::Array(rows),
            json!([[i64::MAX, 1.5, "a\"b", "1.50", "1970-01-01T00:00:01.500"], [null, null, "", "-0.05", null]])
        );
    }

    #[test]
    fn no_more_rows_than_there_is_room_for_are_appended() {
        let batch = RecordBatch::try_from_iter([("i", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef)]).unwrap();
        let mut rows = Vec::new();
        append_rows(&batch, 2, &mut rows).unwrap();
        assert_eq!(rows.len(), 2);
    }
}
