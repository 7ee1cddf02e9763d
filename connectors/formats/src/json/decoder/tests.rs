use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type, Int16Type, Int64Type, Schema, TimeUnit,
    TimestampMicrosecondType,
};
use arrow::util::display::array_value_to_string;

use super::*;

fn decoder(fields: &[(&str, DataType, bool)], options: &[(&str, &str)]) -> Box<dyn Decoder> {
    let names: Vec<String> = fields.iter().map(|(name, _, _)| name.to_string()).collect();
    let columns: Vec<Field> = fields.iter().map(|(name, ty, null)| Field::new(*name, ty.clone(), *null)).collect();
    let options = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    JsonDecoderFactory.create(&names, Arc::new(Schema::new(columns)), &options).unwrap()
}

fn push(decoder: &mut dyn Decoder, text: &str) -> Result<(), String> {
    let record = RawRecord { payload: text.as_bytes(), ..RawRecord::default() };
    decoder.push(&record).map(|rows| assert_eq!(rows, 1)).map_err(|malformed| malformed.reason)
}

fn one(ty: DataType, value: &str, options: &[(&str, &str)]) -> Result<String, String> {
    let mut decoder = decoder(&[("x", ty, true)], options);
    push(decoder.as_mut(), &format!("{{\"x\":{value}}}"))?;
    let batch = decoder.finish().unwrap();
    let column = batch.column(0);
    Ok(if column.is_null(0) { "NULL".to_string() } else { array_value_to_string(column, 0).unwrap() })
}

fn trades() -> Box<dyn Decoder> {
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
    decoder(
        &[
            ("symbol", DataType::Utf8, false),
            ("price", DataType::Float64, false),
            ("qty", DataType::Int64, true),
            ("ts", timestamp, false),
        ],
        &[("json.timestamp", "millis")],
    )
}

#[test]
fn contract_holds() {
    let good: &[&[u8]] = &[
        br#"{"symbol":"AAPL","price":187.25,"qty":100,"ts":1700000000123}"#,
        br#"{"symbol":"MSFT","price":1e2,"qty":null,"ts":"2023-11-14T22:13:20Z"}"#,
        br#" { "ts" : 0 , "price" : -0.5 , "symbol" : "\u00e4\ud83d\ude00" , "more" : [1,{"a":null}] } "#,
        "{\"symbol\":\"Zürich\",\"price\":1,\"qty\":7,\"ts\":1,\"ts\":2}".as_bytes(),
    ];
    let bad: &[&[u8]] = &[
        b"",
        b"null",
        b"[1]",
        b"{",
        br#"{"symbol":"AAPL","price":187.25,"qty":100,"ts":1700000000123"#,
        br#"{"symbol":"AAPL","price":187.25,"qty":100,"ts":1700000000123}}"#,
        br#"{"symbol":"AAPL","price":187.25,"qty":100}"#,
        br#"{"symbol":null,"price":187.25,"qty":100,"ts":1}"#,
        br#"{"symbol":"AAPL","price":"187.25","qty":100,"ts":1}"#,
        br#"{"symbol":"AAPL","price":187.25,"qty":1.5,"ts":1}"#,
        br#"{"symbol":"AAPL","price":187.25,"qty":100,"ts":true}"#,
        b"{\"symbol\":\"\xff\",\"price\":1,\"qty\":1,\"ts\":1}",
    ];
    laminar_connector_kit::contract::decoder(&mut trades, good, bad);
}

#[test]
fn values_arrive_in_their_columns_whatever_the_order_and_spacing() {
    let mut decoder = trades();
    for text in [
        r#"{"symbol":"A","price":1.5,"qty":1,"ts":1}"#,
        r#"{"symbol":"B","price":2.5,"qty":2,"ts":2}"#,
        r#"{"symbol":"C","price":3.5,"extra":{"deep":["x"]},"qty":3,"ts":3}"#,
        r#"{"ts": 4, "symbol": "D", "qty": 4, "price": 4.5}"#,
        r#"{"ts": 5, "symbol": "E", "qty": 5, "price": 5.5}"#,
        r#"{"ts": 6, "symbol": "F", "price": 6.5}"#,
        r#"{"ts": 7, "symbol": "G", "price": 7.5}"#,
        r#"{"symbol":"H","price":8.5,"qty":8,"ts":8}"#,
    ] {
        push(decoder.as_mut(), text).unwrap();
    }
    let batch = decoder.finish().unwrap();
    let symbols: Vec<&str> = batch.column(0).as_string::<i32>().iter().map(Option::unwrap).collect();
    assert_eq!(symbols, ["A", "B", "C", "D", "E", "F", "G", "H"]);
    let prices: Vec<f64> = batch.column(1).as_primitive::<Float64Type>().values().to_vec();
    assert_eq!(prices, [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5]);
    let quantities: Vec<Option<i64>> = batch.column(2).as_primitive::<Int64Type>().iter().collect();
    assert_eq!(quantities, [Some(1), Some(2), Some(3), Some(4), Some(5), None, None, Some(8)]);
    let times: Vec<i64> = batch.column(3).as_primitive::<TimestampMicrosecondType>().values().to_vec();
    assert_eq!(times, [1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000]);
}

#[test]
fn more_white_space_than_the_learned_shape_has_is_still_white_space() {
    let mut decoder = decoder(&[("x", DataType::Int64, false), ("y", DataType::Int64, true)], &[]);
    for text in ["{\"x\": 1,\"y\":2}", "{\"x\":  1,\"y\": 2}", "{\"x\": \n1,\"y\":\t2 }", "{\"x\": 1,\"y\":2}\n"] {
        push(decoder.as_mut(), text).unwrap();
    }
    assert!(push(decoder.as_mut(), "{\"x\": 1,\"y\":2}}").is_err());
    assert!(push(decoder.as_mut(), "{\"x\": 1}}").is_err());
    push(decoder.as_mut(), "{\"x\": 1,\"y\":2}").unwrap();
    assert_eq!(decoder.finish().unwrap().column(1).as_primitive::<Int64Type>().values().to_vec(), [2; 5]);
}

#[test]
fn integers_are_range_checked_and_may_be_written_whole() {
    assert_eq!(one(DataType::Int16, "32767", &[]).unwrap(), "32767");
    assert_eq!(one(DataType::Int16, "-0", &[]).unwrap(), "0");
    assert_eq!(one(DataType::Int64, "-9223372036854775808", &[]).unwrap(), i64::MIN.to_string());
    assert_eq!(one(DataType::Int64, "1.0", &[]).unwrap(), "1");
    assert_eq!(one(DataType::Int64, "12e2", &[]).unwrap(), "1200");
    for (ty, value, part) in [
        (DataType::Int16, "32768", "range"),
        (DataType::Int32, "-2147483649", "range"),
        (DataType::Int64, "9223372036854775808", "range"),
        (DataType::Int64, "99999999999999999999999999999999999999999999", "range"),
        (DataType::Int64, "1.5", "type"),
        (DataType::Int64, "01", "type"),
        (DataType::Int64, "+1", "JSON"),
        (DataType::Int64, "\"1\"", "type"),
        (DataType::Int64, "true", "type"),
        (DataType::Int64, "{}", "type"),
    ] {
        let reason = one(ty, value, &[]).unwrap_err();
        assert!(reason.contains(part) && (reason.contains("\"x\"") || part == "JSON"), "{value}: {reason}");
    }
}

#[test]
fn floats_are_correctly_rounded() {
    for text in [
        "0.1",
        "1e23",
        "9007199254740993",
        "2.2250738585072014e-308",
        "4.9e-324",
        "1.7976931348623157e308",
        "123456789012345678901234567890",
        "0.000000000000000000000000000001",
        "-0.0",
        "5e-325",
        "179.0000000000000001",
        "8.41e21",
        "9.5e-23",
    ] {
        let mut decoder = decoder(&[("x", DataType::Float64, false)], &[]);
        push(decoder.as_mut(), &format!("{{\"x\":{text}}}")).unwrap();
        let batch = decoder.finish().unwrap();
        let got = batch.column(0).as_primitive::<Float64Type>().value(0);
        assert_eq!(got.to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
    }
    assert!(one(DataType::Float64, "1e309", &[]).unwrap_err().contains("range"));
    assert!(one(DataType::Float64, "NaN", &[]).is_err());
    let mut decoder = decoder(&[("x", DataType::Float32, false)], &[]);
    push(decoder.as_mut(), "{\"x\":16777217.0000001}").unwrap();
    assert_eq!(decoder.finish().unwrap().column(0).as_primitive::<Float32Type>().value(0), 16_777_218.0);
}

#[test]
fn decimals_are_exact() {
    let money = DataType::Decimal128(10, 2);
    assert_eq!(one(money.clone(), "12345678.90", &[]).unwrap(), "12345678.90");
    assert_eq!(one(money.clone(), "0.1", &[]).unwrap(), "0.10");
    assert_eq!(one(money.clone(), "-1.005", &[]).unwrap(), "-1.01");
    assert!(one(money.clone(), "123456789.00", &[]).unwrap_err().contains("range"));
    assert!(one(money, "99999999.999", &[]).unwrap_err().contains("range"));
    let wide = DataType::Decimal128(38, 0);
    assert_eq!(
        one(wide, "12345678901234567890123456789012345678", &[]).unwrap(),
        "12345678901234567890123456789012345678"
    );
    let mut decoder = decoder(&[("x", DataType::Decimal128(5, 3), false)], &[]);
    push(decoder.as_mut(), "{\"x\":1.5}").unwrap();
    assert_eq!(decoder.finish().unwrap().column(0).as_primitive::<Decimal128Type>().value(0), 1500);
}

#[test]
fn strings_keep_their_text() {
    assert_eq!(one(DataType::Utf8, r#""a\"b\\c\/\b\f\n\r\t\u0041""#, &[]).unwrap(), "a\"b\\c/\u{8}\u{c}\n\r\tA");
    assert_eq!(one(DataType::Utf8, r#""\ud83d\ude00 \u00e9""#, &[]).unwrap(), "😀 é");
    assert_eq!(one(DataType::Utf8View, "\"more than twelve bytes\"", &[]).unwrap(), "more than twelve bytes");
    for wrong in [r#""\ud83d""#, r#""\ude00""#, r#""\ud83d\u0041""#, r#""\x""#, r#""\u12g4""#, "\"a\nb\"", "\"a", "'a'"]
    {
        assert!(one(DataType::Utf8, wrong, &[]).is_err(), "{wrong}");
    }
    assert!(one(DataType::Utf8, "1", &[]).unwrap_err().contains("type"));
}

#[test]
fn other_types_read_their_text() {
    assert_eq!(one(DataType::Boolean, "true", &[]).unwrap(), "true");
    assert!(one(DataType::Boolean, "1", &[]).is_err());
    assert_eq!(one(DataType::Date32, "\"2024-02-29\"", &[]).unwrap(), "2024-02-29");
    assert_eq!(one(DataType::Time64(TimeUnit::Microsecond), "\"01:02:03.5\"", &[]).unwrap(), "01:02:03.500");
    let uuid = "\"0f8fad5b-d9cb-469f-a165-70867728950e\"";
    assert_eq!(one(DataType::FixedSizeBinary(16), uuid, &[]).unwrap(), "0f8fad5bd9cb469fa16570867728950e");
    assert_eq!(one(DataType::Binary, r#""\\x00ff""#, &[]).unwrap(), "00ff");
    assert_eq!(one(DataType::Int16, "null", &[]).unwrap(), "NULL");
    let mut decoder = decoder(&[("d", DataType::Date32, true), ("b", DataType::Boolean, true)], &[]);
    push(decoder.as_mut(), r#"{"d":"1969-12-31","b":false}"#).unwrap();
    push(decoder.as_mut(), r#"{"b":null}"#).unwrap();
    let batch = decoder.finish().unwrap();
    assert_eq!(batch.column(0).as_primitive::<Date32Type>().iter().collect::<Vec<_>>(), [Some(-1), None]);
    assert_eq!(batch.column(1).as_boolean().iter().collect::<Vec<_>>(), [Some(false), None]);
}

#[test]
fn epoch_numbers_need_the_option_and_take_its_unit() {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    let reason = one(micros.clone(), "1700000000", &[]).unwrap_err();
    assert!(reason.contains("json.timestamp"), "{reason}");
    for (unit, value) in [
        ("seconds", "1700000000"),
        ("millis", "1700000000000"),
        ("micros", "1700000000000000"),
        ("nanos", "1700000000000000000"),
    ] {
        let got = one(micros.clone(), value, &[("json.timestamp", unit)]).unwrap();
        assert_eq!(got, "2023-11-14T22:13:20", "{unit}");
    }
    let zoned = DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()));
    assert_eq!(one(zoned, "\"2023-11-14T23:13:20+01:00\"", &[]).unwrap(), "2023-11-14T22:13:20Z");
}

#[test]
fn options_loosen_what_is_taken() {
    let loose = &[("json.numbers_in_strings", "true"), ("json.text", "any")];
    assert_eq!(one(DataType::Int64, "\"42\"", loose).unwrap(), "42");
    assert_eq!(one(DataType::Float64, "\"4.25\"", loose).unwrap(), "4.25");
    assert_eq!(one(DataType::Decimal128(6, 2), "\"4.25\"", loose).unwrap(), "4.25");
    for wrong in ["\"\"", "\"4x\"", "\" 4\"", "\"nan\"", "\"\\u0034\""] {
        assert!(one(DataType::Int64, wrong, loose).is_err(), "{wrong}");
    }
    assert_eq!(one(DataType::Utf8, "{\"a\": [1, 2]}", loose).unwrap(), "{\"a\": [1, 2]}");
    assert_eq!(one(DataType::Utf8, "\"plain\"", loose).unwrap(), "plain");
}

#[test]
fn limits_of_depth_and_size_refuse() {
    let deep = format!("{}{}", "[".repeat(10), "]".repeat(10));
    let text = format!("{{\"y\":{deep},\"x\":1}}");
    let mut shallow = decoder(&[("x", DataType::Int64, true)], &[("json.max_depth", "9")]);
    assert!(push(shallow.as_mut(), &text).unwrap_err().contains("json.max_depth"));
    let mut enough = decoder(&[("x", DataType::Int64, true)], &[("json.max_depth", "10")]);
    push(enough.as_mut(), &text).unwrap();
    let mut short = decoder(&[("x", DataType::Int64, true)], &[("json.max_record", "10 B")]);
    assert!(push(short.as_mut(), "{\"x\":123456}").unwrap_err().contains("json.max_record"));
}

#[test]
fn last_of_a_repeated_key_counts() {
    let mut decoder = decoder(&[("x", DataType::Utf8, true), ("y", DataType::Int16, true)], &[]);
    for _ in 0..3 {
        push(decoder.as_mut(), r#"{"x":"first","y":1,"x":null,"x":"last","y":2}"#).unwrap();
        push(decoder.as_mut(), r#"{"\u0078":"a","y":1}"#).unwrap();
    }
    let batch = decoder.finish().unwrap();
    let text: Vec<_> = batch.column(0).as_string::<i32>().iter().map(Option::unwrap).collect();
    assert_eq!(text, ["last", "a", "last", "a", "last", "a"]);
    assert_eq!(batch.column(1).as_primitive::<Int16Type>().values().to_vec(), [2, 1, 2, 1, 2, 1]);
}

#[test]
fn many_columns_are_found_by_name() {
    let names: Vec<String> = (0..40).map(|n| format!("column_{n}")).collect();
    let fields: Vec<(&str, DataType, bool)> = names.iter().map(|n| (n.as_str(), DataType::Int64, true)).collect();
    let mut decoder = decoder(&fields, &[]);
    for shift in [0, 0, 13] {
        let members: Vec<String> = (0..40).map(|n| (n + shift) % 40).map(|n| format!("\"column_{n}\":{n}")).collect();
        push(decoder.as_mut(), &format!("{{{}}}", members.join(","))).unwrap();
    }
    let batch = decoder.finish().unwrap();
    for (index, column) in batch.columns().iter().enumerate() {
        assert_eq!(column.as_primitive::<Int64Type>().values().to_vec(), [index as i64; 3]);
    }
}

#[test]
fn unsupported_type_is_refused_at_create() {
    let list = DataType::List(Arc::new(Field::new("item", DataType::Int64, true)));
    let schema = Arc::new(Schema::new(vec![Field::new("x", list, true)]));
    let refused = JsonDecoderFactory.create(&["x".to_string()], schema, &Options::new()).err().unwrap();
    assert_eq!(refused.code, "LDB-6201");
}
