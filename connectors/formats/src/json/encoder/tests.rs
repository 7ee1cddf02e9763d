use std::sync::Arc;

use arrow::array::{
    BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use laminar_core::ids::Incarnation;

use super::*;

type Written = (Option<String>, Option<String>);

const EPOCH: Epoch = Epoch { incarnation: Incarnation(0), number: 7 };

fn rows(symbols: &[&str], quantities: &[i64]) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("s", DataType::Utf8, false), Field::new("q", DataType::Int64, false)]);
    let columns: Vec<ArrayRef> =
        vec![Arc::new(StringArray::from(symbols.to_vec())), Arc::new(Int64Array::from(quantities.to_vec()))];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

fn encode(batch: &Batch, envelope: Envelope, key: Option<&[usize]>) -> Result<Vec<Written>, ConnectorError> {
    let mut encoder = JsonEncoderFactory.create(batch.schema(), envelope, key, &Options::new())?;
    let mut written = Vec::new();
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
    encoder.encode(batch, EPOCH, &mut |record| written.push((text(record.key), text(record.value))))?;
    Ok(written)
}

fn changes(weighted: &[(&str, i64, i64)]) -> Batch {
    let symbols: Vec<&str> = weighted.iter().map(|(symbol, _, _)| *symbol).collect();
    let quantities: Vec<i64> = weighted.iter().map(|(_, quantity, _)| *quantity).collect();
    Batch::with_weights(rows(&symbols, &quantities), weighted.iter().map(|(_, _, weight)| *weight).collect())
}

fn values(written: &[Written]) -> Vec<&str> {
    written.iter().map(|(_, value)| value.as_deref().unwrap_or("-")).collect()
}

#[test]
fn plain_rows_are_objects_in_order() {
    let written = encode(&Batch::new(rows(&["A", "B"], &[1, 2])), Envelope::Plain, None).unwrap();
    assert_eq!(written, [(None, Some(r#"{"s":"A","q":1}"#.into())), (None, Some(r#"{"s":"B","q":2}"#.into()))]);
}

#[test]
fn every_type_writes_json_that_reads_back() {
    let schema = Schema::new(vec![
        Field::new("text", DataType::Utf8, true),
        Field::new("double", DataType::Float64, true),
        Field::new("money", DataType::Decimal128(10, 2), true),
        Field::new("flag", DataType::Boolean, true),
        Field::new("day", DataType::Date32, true),
        Field::new("at", DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None), true),
        Field::new("raw", DataType::Binary, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![Some("a\"\\\n\u{1}é😀 and a long tail"), None])),
        Arc::new(Float64Array::from(vec![f64::NAN, 0.1])),
        Arc::new(Decimal128Array::from(vec![-5, 123_456]).with_data_type(DataType::Decimal128(10, 2))),
        Arc::new(BooleanArray::from(vec![true, false])),
        Arc::new(Date32Array::from(vec![0, 11_016])),
        Arc::new(TimestampMicrosecondArray::from(vec![0, 1_700_000_000_123_456])),
        Arc::new(BinaryArray::from(vec![&b"\x00\xff"[..], b""])),
    ];
    let batch = Batch::new(RecordBatch::try_new(Arc::new(schema), columns).unwrap());
    let written = encode(&batch, Envelope::Plain, None).unwrap();
    assert_eq!(
        values(&written),
        [
            concat!(
                r#"{"text":"a\"\\\n\u0001é😀 and a long tail","double":null,"money":-0.05,"flag":true,"#,
                r#""day":"1970-01-01","at":"1970-01-01T00:00:00.000000Z","raw":"\\x00ff"}"#
            ),
            concat!(
                r#"{"text":null,"double":0.1,"money":1234.56,"flag":false,"day":"2000-02-29","#,
                r#""at":"2023-11-14T22:13:20.123456Z","raw":"\\x"}"#
            ),
        ]
    );
    for value in values(&written) {
        serde_json::from_str::<serde_json::Value>(value).unwrap();
    }
}

#[test]
fn upsert_writes_the_last_row_of_a_key_and_tombstones() {
    let batch = changes(&[("A", 2, 1), ("A", 1, -1), ("B", 5, -1), ("C", 9, 1), ("D", 3, 1), ("D", 3, -1)]);
    let written = encode(&batch, Envelope::Upsert, Some(&[0])).unwrap();
    assert_eq!(
        written,
        [
            (Some(r#"{"s":"B"}"#.into()), None),
            (Some(r#"{"s":"A"}"#.into()), Some(r#"{"s":"A","q":2}"#.into())),
            (Some(r#"{"s":"C"}"#.into()), Some(r#"{"s":"C","q":9}"#.into())),
        ]
    );
}

#[test]
fn changelog_names_the_operation_and_the_epoch_deletes_first() {
    let batch = changes(&[("A", 2, 1), ("A", 1, -1), ("B", 5, -2), ("C", 9, 1)]);
    let written = encode(&batch, Envelope::Changelog, Some(&[0])).unwrap();
    assert_eq!(
        values(&written),
        [
            r#"{"s":"A","q":1,"_op":"-U","_epoch":7}"#,
            r#"{"s":"B","q":5,"_op":"-D","_epoch":7}"#,
            r#"{"s":"B","q":5,"_op":"-D","_epoch":7}"#,
            r#"{"s":"A","q":2,"_op":"+U","_epoch":7}"#,
            r#"{"s":"C","q":9,"_op":"+I","_epoch":7}"#,
        ]
    );
    let without_key = encode(&batch, Envelope::Changelog, None).unwrap();
    assert_eq!(values(&without_key)[0], r#"{"s":"A","q":1,"_op":"-D","_epoch":7}"#);
}

#[test]
fn debezium_tells_before_and_after() {
    let batch = changes(&[("A", 2, 1), ("A", 1, -1), ("B", 5, -1), ("C", 9, 1)]);
    let written = encode(&batch, Envelope::Debezium, Some(&[0])).unwrap();
    assert_eq!(
        values(&written),
        [
            r#"{"before":{"s":"B","q":5},"after":null,"op":"d"}"#,
            r#"{"before":{"s":"A","q":1},"after":{"s":"A","q":2},"op":"u"}"#,
            r#"{"before":null,"after":{"s":"C","q":9},"op":"c"}"#,
        ]
    );
}

#[test]
fn retraction_in_a_plain_envelope_and_upsert_without_key_are_refused() {
    assert_eq!(encode(&changes(&[("A", 1, -1)]), Envelope::Plain, None).unwrap_err().code, "LDB-6203");
    assert_eq!(encode(&changes(&[("A", 1, 1)]), Envelope::Upsert, None).unwrap_err().code, "LDB-6204");
    let twice = encode(&changes(&[("A", 1, 2)]), Envelope::Plain, None).unwrap();
    assert_eq!(values(&twice), [r#"{"s":"A","q":1}"#; 2], "a weight of 2 is two rows");
}

#[test]
fn encoded_rows_decode_to_themselves() {
    let batch = rows(&["A\u{7f}", "é\t", ""], &[i64::MIN, 0, i64::MAX]);
    let written = encode(&Batch::new(batch.clone()), Envelope::Plain, None).unwrap();
    let fields = ["s".to_string(), "q".to_string()];
    let factory = crate::JsonDecoderFactory;
    let mut decoder =
        laminar_core::connector::DecoderFactory::create(&factory, &fields, batch.schema(), &Options::new()).unwrap();
    for value in values(&written) {
        let record = laminar_core::connector::RawRecord { payload: value.as_bytes(), ..Default::default() };
        decoder.push(&record).unwrap();
    }
    assert_eq!(decoder.finish().unwrap(), batch);
}
