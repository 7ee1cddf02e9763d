//! Key encoding: injective, canonical, decodable.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, IntervalUnit, Schema, TimeUnit};
use proptest::prelude::*;

use super::*;

fn batch(columns: Vec<ArrayRef>, nullable: bool) -> RecordBatch {
    let fields: Vec<Field> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| Field::new(format!("c{at}"), column.data_type().clone(), nullable))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn encoder(rows: &RecordBatch) -> KeyEncoder {
    KeyEncoder::new(&rows.schema(), &(0..rows.num_columns()).collect::<Vec<_>>()).unwrap()
}

fn encoded(rows: &RecordBatch) -> (Vec<Vec<u8>>, Vec<u64>) {
    let mut encoder = encoder(rows);
    let keys = encoder.encode(rows);
    ((0..rows.num_rows()).map(|row| keys.keys.key(row).to_vec()).collect(), keys.hashes.to_vec())
}

fn round_trip(rows: &RecordBatch) {
    let (keys, _) = encoded(rows);
    let mut buffer = KeyBuffer::default();
    keys.iter().for_each(|key| buffer.push(key));
    let columns = encoder(rows).decode(&buffer);
    for (decoded, original) in columns.iter().zip(rows.columns()) {
        assert_eq!(decoded, original);
    }
}

fn every_type() -> Vec<ArrayRef> {
    vec![
        Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        Arc::new(Int8Array::from(vec![Some(-1), None, Some(7)])),
        Arc::new(Int16Array::from(vec![Some(-1), None, Some(7)])),
        Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(7)])),
        Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)])),
        Arc::new(UInt64Array::from(vec![Some(u64::MAX), None, Some(0)])),
        Arc::new(Float32Array::from(vec![Some(1.5), None, Some(f32::INFINITY)])),
        Arc::new(Float64Array::from(vec![Some(0.1), None, Some(f64::MIN)])),
        Arc::new(Decimal128Array::from(vec![Some(1200), None, Some(-7)]).with_precision_and_scale(20, 2).unwrap()),
        Arc::new(Date32Array::from(vec![Some(-1), None, Some(1)])),
        Arc::new(Time64MicrosecondArray::from(vec![Some(5), None, Some(1)])),
        Arc::new(TimestampNanosecondArray::from(vec![Some(-5), None, Some(1)]).with_timezone("UTC")),
        Arc::new(IntervalMonthDayNanoArray::from(vec![
            Some(IntervalMonthDayNano::new(-1, 2, -3)),
            None,
            Some(IntervalMonthDayNano::new(1, -2, 3)),
        ])),
        Arc::new(
            FixedSizeBinaryArray::try_from_sparse_iter_with_size(
                vec![Some([1u8; 16]), None, Some([2; 16])].into_iter(),
                16,
            )
            .unwrap(),
        ),
        Arc::new(StringArray::from(vec![Some("ä"), None, Some("")])),
        Arc::new(LargeStringArray::from(vec![Some("ä"), None, Some("")])),
        Arc::new(StringViewArray::from(vec![Some("a text longer than twelve bytes"), None, Some("")])),
        Arc::new(BinaryArray::from(vec![Some(&b"\xff"[..]), None, Some(b"")])),
    ]
}

#[test]
fn every_type_decodes_to_what_it_was() {
    for column in every_type() {
        round_trip(&batch(vec![column], true));
    }
    round_trip(&batch(every_type(), true));
    round_trip(&batch(every_type().into_iter().take(14).collect(), true));
}

#[test]
fn null_is_a_key_of_its_own_for_every_type() {
    for column in every_type() {
        let name = column.data_type().to_string();
        let (keys, hashes) = encoded(&batch(vec![column], true));
        assert_ne!(keys[0], keys[1], "{name}");
        assert_ne!(keys[2], keys[1], "{name}");
        assert_ne!(hashes[0], hashes[1], "{name}");
        assert_ne!(hashes[2], hashes[1], "{name}");
    }
}

#[test]
fn zero_has_one_sign_and_nan_one_form() {
    let floats = Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN, f64::from_bits(0x7ff0_0000_0000_0001)]);
    let (keys, hashes) = encoded(&batch(vec![Arc::new(floats)], false));
    assert_eq!(keys[0], keys[1]);
    assert_eq!(hashes[0], hashes[1]);
    assert!(keys[2] == keys[3] && keys[3] == keys[4] && keys[2] != keys[0]);
}

#[test]
fn decimals_of_different_scale_hash_alike() {
    let at = |value: i128, scale: i8| {
        let column = Decimal128Array::from(vec![value]).with_precision_and_scale(38, scale).unwrap();
        encoded(&batch(vec![Arc::new(column)], false)).1[0]
    };
    assert_eq!(at(12, 0), at(12_000, 3));
    assert_eq!(at(0, 0), at(0, 5));
    assert_ne!(at(12, 0), at(12, 1));
    assert_eq!(at(i128::from(i64::MAX) * 100, 2), at(i128::from(i64::MAX), 0));
}

#[test]
fn the_hash_does_not_depend_on_nullability_or_width() {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![42]));
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![42]));
    let (_, plain) = encoded(&batch(vec![column.clone()], false));
    assert_eq!(encoded(&batch(vec![column], true)).1, plain);
    assert_eq!(encoded(&batch(vec![narrow], false)).1, plain);
    assert_eq!(plain[0], crate::shard::hash_word(42));
}

#[test]
fn text_of_all_three_kinds_hashes_alike() {
    let columns: [ArrayRef; 3] = [
        Arc::new(StringArray::from(vec!["EURUSD"])),
        Arc::new(LargeStringArray::from(vec!["EURUSD"])),
        Arc::new(StringViewArray::from(vec!["EURUSD"])),
    ];
    for column in columns {
        assert_eq!(encoded(&batch(vec![column], true)).1[0], crate::shard::hash_bytes(b"EURUSD"));
    }
}

#[test]
fn no_key_column_means_one_empty_key() {
    let rows = batch(vec![Arc::new(Int64Array::from(vec![1, 2]))], false);
    let mut encoder = KeyEncoder::new(&rows.schema(), &[]).unwrap();
    let keys = encoder.encode(&rows);
    assert_eq!(keys.hashes, [crate::shard::hash_bytes(b""); 2]);
    assert_eq!(keys.keys.key(0), keys.keys.key(1));
    assert!(encoder.decode(&KeyBuffer::default()).is_empty());
}

#[test]
fn a_list_is_refused_by_name() {
    let field = Field::new("tags", DataType::new_list(DataType::Utf8, true), true);
    let error = KeyEncoder::new(&Schema::new(vec![field]), &[0]).unwrap_err();
    assert!(error.to_string().contains("\"tags\""), "{error}");
    assert!(KeyColumn::of(&DataType::Interval(IntervalUnit::DayTime)).is_some());
    assert!(KeyColumn::of(&DataType::Time32(TimeUnit::Second)).is_some());
}

proptest! {
    /// Bytes are equal exactly if all values are, over mixes of fixed and variable columns.
    #[test]
    fn encoding_is_injective_across_columns(
        rows in prop::collection::vec(
            (prop::option::of("[ab]{0,3}"), prop::option::of(-2i64..2), prop::option::of(prop::collection::vec(0u8..3, 0..3)), prop::option::of(any::<bool>())),
            1..40,
        )
    ) {
        let text: ArrayRef = Arc::new(rows.iter().map(|row| row.0.clone()).collect::<StringArray>());
        let number: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>());
        let bytes: ArrayRef = Arc::new(rows.iter().map(|row| row.2.clone()).collect::<BinaryArray>());
        let flag: ArrayRef = Arc::new(rows.iter().map(|row| row.3).collect::<BooleanArray>());
        for columns in [vec![text.clone(), number.clone(), bytes.clone(), flag.clone()], vec![bytes.clone(), text], vec![number.clone(), flag.clone()], vec![bytes]] {
            let batch = batch(columns, true);
            round_trip(&batch);
            let (keys, hashes) = encoded(&batch);
            for a in 0..rows.len() {
                for b in 0..a {
                    let same = batch.columns().iter().all(|column| column.slice(a, 1) == column.slice(b, 1));
                    prop_assert_eq!(keys[a] == keys[b], same);
                    if same {
                        prop_assert_eq!(hashes[a], hashes[b]);
                    }
                }
            }
        }
    }
}

/// The vectors of docs/format.md: canonical bytes and hash of one key.
#[test]
fn key_bytes_and_hashes_are_frozen() {
    let int = |value| Arc::new(Int64Array::from(vec![value])) as ArrayRef;
    let text = |value| Arc::new(StringArray::from(vec![value])) as ArrayRef;
    let cases: Vec<(Vec<ArrayRef>, &[u8], u64)> = vec![
        (vec![int(Some(1))], &[1, 0, 0, 0, 0, 0, 0, 0], 0x2fbc_5935_64db_792e),
        (vec![int(None)], &[0, 0, 0, 0, 0, 0, 0, 0, 1], 0x0a5b_e5ad_ced8_fe58),
        (vec![text(Some("EURUSD"))], b"EURUSD", 0xaefa_04be_0597_cb3e),
        (vec![text(None)], &[0xff], 0xd6bc_ec3c_6b29_d72e),
        (vec![text(Some("ab")), int(Some(-1))], b"\x02\0\0\0ab\xff\xff\xff\xff\xff\xff\xff\xff", 0x7385_84da_9c03_0e18),
        (vec![text(None), int(None)], b"\xff\xff\xff\xff\0\0\0\0\0\0\0\0\x01", 0xba5d_c97f_fd69_c2a2),
        (vec![Arc::new(Float64Array::from(vec![-0.0]))], &[0; 8], 0xc77b_3abb_6f87_acd9),
        (
            vec![Arc::new(Decimal128Array::from(vec![1200]).with_precision_and_scale(10, 2).unwrap())],
            &[12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            0x6de7_701f_dfdd_d227,
        ),
    ];
    for (columns, bytes, hash) in cases {
        let (keys, hashes) = encoded(&batch(columns, true));
        assert!(keys[0].starts_with(bytes), "{:02x?}", keys[0]);
        assert!(keys[0][bytes.len()..].iter().all(|byte| *byte == 0), "only padding follows: {:02x?}", keys[0]);
        assert_eq!(hashes[0], hash, "{bytes:02x?}");
    }
}
