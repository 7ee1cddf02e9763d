use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, Schema, TimeUnit};
use laminar_core::connector::{DecoderFactory, RawRecord};

use super::*;
use crate::csv::CsvDecoderFactory;

fn batch() -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("n", DataType::Int64, true),
        Field::new("text", DataType::Utf8, true),
        Field::new("raw", DataType::Binary, true),
        Field::new("flag", DataType::Boolean, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![Some(1), None, Some(-3)])),
        Arc::new(StringArray::from(vec![Some("a,\"b\"\nc"), Some(""), None])),
        Arc::new(BinaryArray::from(vec![Some(&b"\x00\xff"[..]), None, Some(b"")])),
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        Arc::new(TimestampMicrosecondArray::from(vec![Some(0), None, Some(1_700_000_000_123_456)])),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

#[test]
fn written_rows_read_back_as_they_were() {
    let rows = batch();
    let none = Options::new();
    let mut encoder = CsvEncoderFactory.create(rows.schema(), Envelope::Plain, Some(&[0]), &none).unwrap();
    let names: Vec<String> = rows.schema().fields().iter().map(|field| field.name().clone()).collect();
    let mut decoder = CsvDecoderFactory.create(&names, rows.schema(), &none).unwrap();
    let mut lines = Vec::new();
    encoder
        .encode(&Batch::new(rows.clone()), Epoch::default(), &mut |record| {
            lines.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
            assert!(record.key.unwrap().starts_with(b"{\"n\":"));
        })
        .unwrap();
    assert_eq!(lines[0], "1,\"a,\"\"b\"\"\nc\",\\x00ff,true,1970-01-01T00:00:00.000000Z");
    assert_eq!(lines[1], ",\"\",,false,");
    for line in &lines {
        decoder.push(&RawRecord { payload: line.as_bytes(), ..RawRecord::default() }).unwrap();
    }
    assert_eq!(decoder.finish().unwrap(), rows);
}

#[test]
fn changing_streams_are_refused() {
    let refused = CsvEncoderFactory.create(batch().schema(), Envelope::Upsert, Some(&[0]), &Options::new());
    assert_eq!(refused.err().unwrap().code, "LDB-6206");
    let mut encoder = CsvEncoderFactory.create(batch().schema(), Envelope::Plain, None, &Options::new()).unwrap();
    let retracted = Batch::with_weights(batch(), Arc::new([1, -1, 1]));
    assert_eq!(encoder.encode(&retracted, Epoch::default(), &mut |_| ()).unwrap_err().code, "LDB-6203");
}
