use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, TimestampMillisecondType};

use super::*;

fn decoder(options: &[(&str, &str)]) -> Box<dyn Decoder> {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("price", DataType::Float64, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), true),
    ]);
    let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let options = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    CsvDecoderFactory.create(&names, Arc::new(schema), &options).unwrap()
}

fn push(decoder: &mut dyn Decoder, offset: u64, text: &str) -> Result<usize, String> {
    let record = RawRecord { payload: text.as_bytes(), offset, ..RawRecord::default() };
    decoder.push(&record).map_err(|malformed| malformed.reason)
}

#[test]
fn contract_holds() {
    let good: &[&[u8]] = &[
        b"1,plain,1.5,2024-01-01 00:00:00",
        b"2,\"with, comma and \"\"quotes\"\"\",,\r\n",
        b"3,\"\",-2e3,2024-01-01T00:00:00.5Z",
        " 4 ,Zürich\n5,0,".as_bytes(),
    ];
    let bad: &[&[u8]] = &[
        b"",
        b",x,1,",
        b"x,x,1,",
        b"1,x,1.5.2,",
        b"1,x,1,yesterday",
        b"1,x,1,1700000000000",
        b"1,\"open,1,",
        b"1,\"a\"b,1,",
        b"1,x,1,,extra",
        b"1,\xff,1,",
    ];
    // A raw line end within an unquoted field cannot come from a file, but a message may hold one.
    let fields: &[&[u8]] = &[good[0], good[1], good[2]];
    laminar_connector_kit::contract::decoder(&mut || decoder(&[]), fields, bad);
}

#[test]
fn header_decides_the_order_and_makes_no_row() {
    let mut decoder = decoder(&[("csv.header", "true"), ("csv.timestamp", "millis")]);
    assert!(push(decoder.as_mut(), 1, "1").unwrap_err().contains("header"));
    assert_eq!(push(decoder.as_mut(), 0, "price, extra ,id,ts"), Ok(0));
    assert_eq!(push(decoder.as_mut(), 1, "2.5,whatever,7,1700000000123"), Ok(1));
    let batch = decoder.finish().unwrap();
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().value(0), 7);
    assert!(batch.column(1).is_null(0), "a column that the header does not name is NULL");
    assert_eq!(batch.column(2).as_primitive::<Float64Type>().value(0), 2.5);
    assert_eq!(batch.column(3).as_primitive::<TimestampMillisecondType>().value(0), 1_700_000_000_123);
    assert!(push(decoder.as_mut(), 0, "id,id").unwrap_err().contains("twice"));
}

#[test]
fn quoted_empty_text_is_not_null_and_the_null_text_can_be_chosen() {
    let mut decoder = decoder(&[("csv.null", "\\N"), ("csv.delimiter", "\\t"), ("csv.quote", "'")]);
    push(decoder.as_mut(), 5, "1\t''\t\\N\t\\N").unwrap();
    push(decoder.as_mut(), 6, "2\t'\\N'\t1\t\\N").unwrap();
    push(decoder.as_mut(), 7, "3\t\\N\t1\t\\N").unwrap();
    let batch = decoder.finish().unwrap();
    let names: Vec<Option<&str>> = batch.column(1).as_string::<i32>().iter().collect();
    assert_eq!(names, [Some(""), Some("\\N"), None]);
}

#[test]
fn wrong_marks_are_refused() {
    let refuse = |options: &[(&str, &str)]| {
        let options = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        CsvOptions::read(&options).unwrap_err().code
    };
    assert_eq!(refuse(&[("csv.delimiter", "ab")]), "LDB-6205");
    assert_eq!(refuse(&[("csv.quote", "é")]), "LDB-6205");
    assert_eq!(refuse(&[("csv.quote", ",")]), "LDB-6205");
}
