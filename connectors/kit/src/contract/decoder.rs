//! What every decoder promises: whole records or none, and batches that may be cut anywhere.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use laminar_core::connector::{Decoder, RawRecord};

/// Proves a decoder: `good` records fit its schema, `bad` ones do not.
///
/// # Panics
/// On the first broken promise, saying which.
pub fn decoder(make: &mut dyn FnMut() -> Box<dyn Decoder>, good: &[&[u8]], bad: &[&[u8]]) {
    let clean = decode(make().as_mut(), good);
    let mut poisoned = make();
    let mut expected = 0;
    for (index, record) in good.iter().enumerate() {
        for poison in bad {
            let before = poisoned.rows();
            match poisoned.push(&raw(poison, index)) {
                Ok(_) => panic!("a malformed record is refused: {}", String::from_utf8_lossy(poison)),
                Err(malformed) => assert!(!malformed.reason.is_empty(), "a refusal says why"),
            }
            assert_eq!(poisoned.rows(), before, "a refused record leaves the columns as they were");
        }
        expected += push(poisoned.as_mut(), record, index);
        assert_eq!(poisoned.rows(), expected, "rows counts what was appended");
    }
    assert_eq!(finish(poisoned.as_mut()), clean, "poison between good records changes nothing");
    cuts(make().as_mut(), good, &clean);
}

/// Batches cut after each record together are the whole.
fn cuts(decoder: &mut dyn Decoder, good: &[&[u8]], clean: &RecordBatch) {
    let empty = finish(decoder);
    assert_eq!(empty.num_rows(), 0, "nothing pushed, nothing comes out");
    assert_eq!(empty.schema(), clean.schema(), "an empty batch has the schema");
    let mut parts = Vec::new();
    for (index, record) in good.iter().enumerate() {
        push(decoder, record, index);
        parts.push(finish(decoder));
        assert_eq!(decoder.rows(), 0, "finish takes the rows");
    }
    match concat_batches(&clean.schema(), &parts) {
        Ok(joined) => assert_eq!(&joined, clean, "batches may be cut anywhere"),
        Err(error) => panic!("batches of one decoder have one schema: {error}"),
    }
}

fn decode(decoder: &mut dyn Decoder, records: &[&[u8]]) -> RecordBatch {
    for (index, record) in records.iter().enumerate() {
        push(decoder, record, index);
    }
    finish(decoder)
}

fn push(decoder: &mut dyn Decoder, record: &[u8], index: usize) -> usize {
    match decoder.push(&raw(record, index)) {
        Ok(rows) => rows,
        Err(malformed) => panic!("record {} fits: {}", String::from_utf8_lossy(record), malformed.reason),
    }
}

fn finish(decoder: &mut dyn Decoder) -> RecordBatch {
    match decoder.finish() {
        Ok(batch) => batch,
        Err(error) => panic!("columns are of equal length: {error}"),
    }
}

fn raw(payload: &[u8], index: usize) -> RawRecord<'_> {
    RawRecord { payload, key: None, offset: index as u64, timestamp_ms: None }
}
