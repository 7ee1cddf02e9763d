use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::{
    BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int8Array, Int64Array, NullArray, StringArray,
    StringViewArray, StringViewBuilder, StructArray, TimestampMillisecondArray, TimestampNanosecondArray,
};
use arrow::datatypes::{Field, Int8Type, TimeUnit};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

use super::*;

fn stream_with(options: IpcWriteOptions, batches: &[RecordBatch]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new_with_options(&mut bytes, &batches[0].schema(), options).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
    drop(writer);
    bytes
}

fn stream(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    stream_with(IpcWriteOptions::default(), &[RecordBatch::try_from_iter(columns).unwrap()])
}

/// Two batches with a column of every kind that is read in its own way.
fn batches() -> Vec<RecordBatch> {
    let texts = || [Some("short"), None, Some("a text that is too long for a view"), Some("é")];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("b", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), None]))),
        ("i", Arc::new(Int64Array::from(vec![Some(1), None, Some(-3), Some(i64::MAX)]))),
        ("f", Arc::new(Float64Array::from(vec![1.5, 2.5, 3.5, f64::NAN]))),
        ("t", Arc::new(StringArray::from(texts().to_vec()))),
        ("v", Arc::new(StringViewArray::from_iter(texts()))),
        ("d", Arc::new(texts().into_iter().collect::<DictionaryArray<Int8Type>>())),
        ("m", Arc::new(TimestampMillisecondArray::from(vec![0, 1, 2, 3]))),
        ("n", Arc::new(NullArray::new(4))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    vec![batch.clone(), batch]
}

fn wanted() -> SchemaRef {
    let types = [
        DataType::Boolean,
        DataType::Int64,
        DataType::Float64,
        DataType::Utf8,
        DataType::Utf8,
        DataType::Utf8,
        DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Int64,
    ];
    let names = ["b", "i", "f", "t", "v", "d", "m", "n"];
    Arc::new(Schema::new(names.iter().zip(types).map(|(n, t)| Field::new(*n, t, true)).collect::<Vec<_>>()))
}

fn read(bytes: &[u8], wanted: &SchemaRef) -> Result<RecordBatch, DbError> {
    ArrowBody::open(Buffer::from(bytes))?.rows(wanted)
}

#[track_caller]
fn refused(bytes: &[u8], kind: DataType, code: &str, words: &str) {
    let wanted = Arc::new(Schema::new(vec![Field::new("x", kind, true)]));
    let error = read(bytes, &wanted).unwrap_err();
    assert!(error.code == code && error.message.contains(words), "{error:?}");
}

#[test]
fn every_row_of_a_stream_is_read_and_cast() {
    let rows = read(&stream_with(IpcWriteOptions::default(), &batches()), &wanted()).unwrap();
    assert_eq!(rows.num_rows(), 8);
    assert_eq!(rows.column(3), rows.column(4));
    assert_eq!(rows.column(3), rows.column(5));
    let mut unended = stream_with(IpcWriteOptions::default(), &batches());
    unended.truncate(unended.len() - 8);
    assert_eq!(read(&unended, &wanted()).unwrap().num_rows(), 8, "the mark of the end may be missing");
}

/// A length that is believed before its bytes are there ends the process, which no test survives.
#[test]
fn any_damage_is_an_error_or_a_panic_that_can_be_caught_and_never_the_end_of_the_process() {
    let good = stream_with(IpcWriteOptions::default(), &batches());
    let (mut fine, mut refused) = (0, 0);
    for seed in 0..6000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = good.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            bytes[at] = if random.bool() { bytes[at] ^ 1 << random.u8(..8) } else { random.u8(..) };
        }
        match catch_unwind(AssertUnwindSafe(|| read(&bytes, &wanted()))) {
            Ok(Ok(rows)) => {
                assert!(rows.get_array_memory_size() < 2 * MAX_COPY_BYTES, "seed {seed}");
                fine += 1;
            }
            Ok(Err(_)) | Err(_) => refused += 1,
        }
    }
    assert!(fine > 500 && refused > 500, "{fine} read, {refused} refused");
}

#[test]
fn announced_lengths_are_not_believed() {
    let good = stream(vec![("x", Arc::new(Int64Array::from(vec![1, 2, 3])))]);
    let schema = next_message(&good).unwrap().unwrap().1;
    let (message, length) = next_message(&good[schema..]).unwrap().unwrap();
    let body = message.bodyLength().to_le_bytes();
    let head = &good[schema..schema + length];
    let at = schema + head.windows(8).position(|bytes| bytes == body).unwrap();
    for announced in [1_i64 << 46, i64::MAX, -1, i64::MIN] {
        let mut bytes = good.clone();
        bytes[at..at + 8].copy_from_slice(&announced.to_le_bytes());
        refused(&bytes, DataType::Int64, "LDB-4076", "");
    }
    let mut bytes = good.clone();
    bytes[schema + 4..schema + 8].copy_from_slice(&u32::MAX.to_le_bytes());
    refused(&bytes, DataType::Int64, "LDB-4076", "in the middle");
    refused(&good[..good.len() - 20], DataType::Int64, "LDB-4076", "in the middle");
    refused(&[&good[..], &good].concat(), DataType::Int64, "LDB-4076", "behind its end");
    refused(b"", DataType::Int64, "LDB-4076", "no schema");
}

#[test]
fn what_would_grow_without_bound_is_refused() {
    for codec in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let packed = IpcWriteOptions::default().try_with_compression(Some(codec)).unwrap();
        refused(&stream_with(packed, &batches()), DataType::Int64, "LDB-4076", "compressed");
    }
    for (rows, kind) in [(1 << 24, DataType::Int64), (1 << 40, DataType::Int64), (1 << 59, DataType::Utf8)] {
        refused(&stream(vec![("x", Arc::new(NullArray::new(rows)))]), kind, "LDB-4079", "take more than");
    }
    let long = "x".repeat(1 << 20);
    let values = Arc::new(StringArray::from(vec![long.as_str()]));
    let repeated = DictionaryArray::<Int8Type>::try_new(Int8Array::from(vec![0; 100_000]), values).unwrap();
    refused(&stream(vec![("x", Arc::new(repeated))]), DataType::Utf8, "LDB-4079", "take more than");
    let mut views = StringViewBuilder::new();
    let block = views.append_block(Buffer::from(long.as_bytes()));
    for _ in 0..100_000 {
        views.try_append_view(block, 0, 1 << 20).unwrap();
    }
    refused(&stream(vec![("x", Arc::new(views.finish()))]), DataType::Utf8, "LDB-4079", "take more than");
    let nested = StructArray::new_empty_fields(3, None);
    refused(&stream(vec![("x", Arc::new(nested))]), DataType::Int64, "LDB-4077", "flat");
}

#[test]
fn a_value_that_would_lose_a_part_is_refused_with_its_row() {
    let micros = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
    let floats = |values: &[f64]| -> ArrayRef { Arc::new(Float64Array::from(values.to_vec())) };
    let nanos = |values: &[i64]| TimestampNanosecondArray::from(values.to_vec());
    let cents: ArrayRef = Arc::new(Decimal128Array::from(vec![150, 155]).with_precision_and_scale(10, 2).unwrap());
    let zoned: ArrayRef = Arc::new(nanos(&[1000, 2000]).with_timezone("+02:00"));
    let repeated: ArrayRef =
        Arc::new(DictionaryArray::<Int8Type>::try_new(Int8Array::from(vec![0, 1]), floats(&[2.0, 0.5])).unwrap());
    let lost = [
        (floats(&[1.0, 1.5]), DataType::Int64, "1.5 in row 2 would lose a part"),
        (Arc::new(nanos(&[1000, 1001])), micros(None), "000001001 in row 2"),
        (cents.clone(), DataType::Decimal128(10, 1), "1.55 in row 2"),
        (cents, DataType::Int64, "1.50 in row 1"),
        (repeated, DataType::Int64, "0.5 in row 2"),
        (Arc::new(TimestampMillisecondArray::from(vec![86_400_000, 1])), DataType::Date32, "in row 2"),
    ];
    for (column, kind, words) in lost {
        refused(&stream(vec![("x", column)]), kind, "LDB-4077", words);
    }
    let kept = [
        (floats(&[1.0, -3.0]), DataType::Int64),
        (floats(&[0.1, f64::NAN]), DataType::Float32),
        (Arc::new(Int64Array::from(vec![None, Some(1)])), DataType::Decimal128(20, 2)),
        (Arc::new(StringArray::from(vec!["1", "-2"])), DataType::Int64),
        (zoned.clone(), micros(None)),
        (zoned, micros(Some("UTC"))),
    ];
    for (column, kind) in kept {
        let wanted = Arc::new(Schema::new(vec![Field::new("x", kind, true)]));
        let rows = read(&stream(vec![("x", column.clone())]), &wanted).unwrap();
        assert_eq!((rows.num_rows(), rows.column(0).null_count()), (2, column.null_count()));
    }
}
