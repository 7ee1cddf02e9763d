use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, Schema};

use super::*;

fn every_type() -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        Arc::new(Int16Array::from(vec![Some(-1), None, Some(7)])),
        Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)])),
        Arc::new(Float64Array::from(vec![Some(-0.0), None, Some(f64::NAN)])),
        Arc::new(Decimal128Array::from(vec![Some(1200), None, Some(-7)]).with_precision_and_scale(20, 2).unwrap()),
        Arc::new(Date32Array::from(vec![Some(-1), None, Some(1)])),
        Arc::new(TimestampNanosecondArray::from(vec![Some(-5), None, Some(1)]).with_timezone("+00:00")),
        Arc::new(IntervalMonthDayNanoArray::from(vec![Some(IntervalMonthDayNano::new(-1, 2, -3)), None, None])),
        Arc::new(
            FixedSizeBinaryArray::try_from_sparse_iter_with_size(vec![Some([1u8; 16]), None, None].into_iter(), 16)
                .unwrap(),
        ),
        Arc::new(StringArray::from(vec![Some("ä"), None, Some("")])),
        Arc::new(StringViewArray::from(vec![Some("a text longer than twelve bytes"), None, Some("")])),
        Arc::new(BinaryArray::from(vec![Some(&b"\xff"[..]), None, Some(b"")])),
    ];
    let field = |column: &ArrayRef| Field::new("c", column.data_type().clone(), true);
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

fn slices(rows: &EncodedRows, count: usize) -> Vec<&[u8]> {
    (0..count).map(|row| rows.get(row)).collect()
}

#[test]
fn every_type_comes_back_bit_for_bit() {
    let rows = every_type();
    let codec = RowCodec::new(&rows.schema()).unwrap();
    for (from, len) in [(0, 3), (1, 2), (2, 1), (0, 0)] {
        let part = rows.slice(from, len);
        let encoded = codec.encode(&part);
        let back = codec.decode(&slices(&encoded, len)).unwrap();
        assert_eq!(back, part);
        assert_eq!(codec.encode(&back).bytes, encoded.bytes);
    }
}

/// The vector of docs/format.md.
#[test]
fn the_row_format_is_frozen() {
    let schema = Arc::new(Schema::new(vec![
        Field::new("a", DataType::Int32, true),
        Field::new("b", DataType::Utf8, true),
        Field::new("c", DataType::Boolean, true),
    ]));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![Some(258), None])),
        Arc::new(StringArray::from(vec![Some("hi"), Some("")])),
        Arc::new(BooleanArray::from(vec![None, Some(true)])),
    ];
    let rows = RecordBatch::try_new(schema.clone(), columns).unwrap();
    let encoded = RowCodec::new(&schema).unwrap().encode(&rows);
    assert_eq!(encoded.get(0), [1, 0b100, 2, 1, 0, 0, 2, 0, 0, 0, b'h', b'i']);
    assert_eq!(encoded.get(1), [1, 0b001, 0, 0, 0, 0, 1]);
}

#[test]
fn damaged_rows_are_errors_never_panics() {
    let rows = every_type();
    let codec = RowCodec::new(&rows.schema()).unwrap();
    let encoded = codec.encode(&rows);
    let row = encoded.get(0);
    for cut in 0..row.len() {
        assert!(matches!(codec.decode(&[&row[..cut]]), Err(RowError::Damaged { .. })), "cut at {cut}");
    }
    for at in 0..row.len() {
        let mut bytes = row.to_vec();
        bytes[at] ^= 0xff;
        let _ = codec.decode(&[&bytes]);
    }
}
