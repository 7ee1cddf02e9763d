//! What values look like to a client.

use arrow::array::*;
use arrow::datatypes::{IntervalMonthDayNano, TimeUnit};

use super::*;

fn encode(column: ArrayRef, formats: &[i16]) -> Vec<Option<Vec<u8>>> {
    let schema = Schema::new(vec![Field::new("c", column.data_type().clone(), true)]);
    let batch = RecordBatch::try_new(Arc::new(schema.clone()), vec![column]).unwrap();
    let mut encoder = RowEncoder::new(&schema, formats).unwrap();
    let batch = encoder.prepare(&batch).unwrap();
    (0..batch.num_rows()).map(|i| cells(&encoder.row(&batch, i).unwrap())[0].map(<[u8]>::to_vec)).collect()
}

fn text(column: impl Array + 'static) -> Vec<Option<String>> {
    encode(Arc::new(column), &[]).into_iter().map(|c| c.map(|b| String::from_utf8(b).unwrap())).collect()
}

fn some(words: &[&str]) -> Vec<Option<String>> {
    words.iter().map(|w| Some((*w).to_owned())).collect()
}

#[test]
fn text_values_look_as_in_postgresql() {
    assert_eq!(text(BooleanArray::from(vec![true, false])), some(&["t", "f"]));
    assert_eq!(text(Int64Array::from(vec![i64::MIN])), some(&["-9223372036854775808"]));
    assert_eq!(
        text(Float64Array::from(vec![1.0, 0.1, 1e300, f64::NAN, f64::NEG_INFINITY])),
        some(&["1", "0.1", "1e+300", "NaN", "-Infinity"])
    );
    assert_eq!(text(StringArray::from(vec!["", "ä"])), some(&["", "ä"]));
    assert_eq!(text(BinaryArray::from(vec![&[0_u8, 255][..]])), some(&["\\x00ff"]));
    assert_eq!(text(Date32Array::from(vec![0])), some(&["1970-01-01"]));
    let utc = TimestampMillisecondArray::from(vec![1_500]).with_timezone("UTC");
    assert_eq!(text(utc), some(&["1970-01-01 00:00:01.5+00"]));
    let india = TimestampSecondArray::from(vec![0]).with_timezone("+05:30");
    assert_eq!(text(india), some(&["1970-01-01 05:30:00+05:30"]));
    assert_eq!(text(Time64MicrosecondArray::from(vec![1_200_000])), some(&["00:00:01.2"]));
    assert_eq!(
        text(TimestampMicrosecondArray::from(vec![1_000_000, 1_000_001])),
        some(&["1970-01-01 00:00:01", "1970-01-01 00:00:01.000001"])
    );
}

#[test]
fn decimals_keep_all_38_digits_in_both_formats() {
    let widest = || Decimal128Array::from(vec![10_i128.pow(38) - 1, -1]).with_precision_and_scale(38, 2).unwrap();
    let expected = ["999999999999999999999999999999999999.99", "-0.01"];
    assert_eq!(text(widest()), some(&expected));
    for (cell, expected) in encode(Arc::new(widest()), &[1]).iter().zip(expected) {
        assert_eq!(numeric::decode(cell.as_ref().unwrap()).as_deref(), Some(expected));
    }
}

#[test]
fn null_of_every_type_is_null_in_both_formats() {
    let field = || Arc::new(Field::new("item", DataType::Int64, true));
    for kind in [
        DataType::Null,
        DataType::Boolean,
        DataType::Int16,
        DataType::UInt64,
        DataType::Float64,
        DataType::Utf8View,
        DataType::Binary,
        DataType::Date32,
        DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano),
        DataType::Duration(TimeUnit::Millisecond),
        DataType::Decimal128(10, 2),
        DataType::Decimal256(70, 2),
        DataType::List(field()),
        DataType::Struct(vec![Field::new("a", DataType::Int64, true)].into()),
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
    ] {
        for formats in [&[0][..], &[1]] {
            assert_eq!(encode(new_null_array(&kind, 1), formats), [None], "{kind}");
        }
    }
}

#[test]
fn binary_values_have_the_width_of_their_type() {
    assert_eq!(encode(Arc::new(Int64Array::from(vec![5])), &[1]), [Some(5_i64.to_be_bytes().to_vec())]);
    assert_eq!(encode(Arc::new(BooleanArray::from(vec![true])), &[1]), [Some(vec![1])]);
    // Microseconds since 2000-01-01.
    let zero = Arc::new(TimestampMicrosecondArray::from(vec![946_684_800_000_000]));
    assert_eq!(encode(zero, &[1]), [Some(vec![0; 8])]);
    let interval = IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(1, 2, 3_000)]);
    assert_eq!(encode(Arc::new(interval), &[1]), [Some(vec![0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1])]);
}

#[test]
fn arrays_look_as_in_postgresql() {
    let list = ListArray::from_iter_primitive::<arrow::datatypes::Int64Type, _, _>([Some(vec![Some(1), None])]);
    assert_eq!(text(list), some(&["{1,NULL}"]));
}

#[test]
fn type_without_a_postgresql_form_is_refused_by_name() {
    let kind = DataType::Duration(TimeUnit::Second);
    assert!(RowEncoder::new(&Schema::new(vec![Field::new("d", kind, true)]), &[]).is_ok());
    let map = Field::new_map(
        "m",
        "e",
        Field::new("k", DataType::Utf8, false),
        Field::new("v", DataType::Int64, true),
        false,
        true,
    );
    let Err(Fault::Sql(error)) = RowEncoder::new(&Schema::new(vec![map]), &[]) else { panic!("refused") };
    assert!(error.message.contains("column \"m\"") && error.hint.is_some(), "{error:?}");
}
