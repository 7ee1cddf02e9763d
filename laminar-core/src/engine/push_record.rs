//! The bytes of pushed rows in the write-ahead log (docs/format.md, "Pushed rows").
//!
//! Layout, little endian: object id u64 · head u32: number of weights (0 = none), the highest bit says that a request
//! follows · request, if there is one: digests of its key and its body, 16 bytes each, and the rows that it is told u64 ·
//! weights i64 each · the rows as one Arrow IPC stream. Invariant: what [`encode`] wrote, [`decode`] reads back equal.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use super::EngineError;
use super::request_key::RequestKey;
use crate::data::Batch;
use crate::ids::ObjectId;

/// In the head: a request follows.
const HAS_REQUEST: u32 = 1 << 31;

/// What a record holds.
#[derive(Debug)]
pub struct Record {
    /// The rows.
    pub batch: Batch,
    /// The request that brought them, and the rows that it is told.
    pub request: Option<(RequestKey, u64)>,
}

/// Writes rows of an object, and the request that they come of.
///
/// # Errors
/// Arrow refuses the columns (a defect).
pub fn encode(object: ObjectId, batch: &Batch, request: Option<(RequestKey, u64)>) -> Result<Vec<u8>, EngineError> {
    let mut bytes = Vec::with_capacity(64 + batch.rows.get_array_memory_size());
    bytes.extend_from_slice(&object.0.to_le_bytes());
    let weights: &[i64] = batch.weights.as_deref().unwrap_or(&[]);
    let head = weights.len() as u32 | if request.is_some() { HAS_REQUEST } else { 0 };
    bytes.extend_from_slice(&head.to_le_bytes());
    if let Some((request, rows)) = request {
        bytes.extend_from_slice(&request.to_bytes());
        bytes.extend_from_slice(&rows.to_le_bytes());
    }
    for weight in weights {
        bytes.extend_from_slice(&weight.to_le_bytes());
    }
    let mut writer = StreamWriter::try_new(&mut bytes, &batch.rows.schema()).map_err(|error| broken(&error))?;
    writer.write(&batch.rows).and_then(|()| writer.finish()).map_err(|error| broken(&error))?;
    drop(writer);
    Ok(bytes)
}

/// The object that a record belongs to.
pub fn object(record: &[u8]) -> Option<ObjectId> {
    Some(ObjectId(u64::from_le_bytes(record.get(..8)?.try_into().ok()?)))
}

/// Reads rows of an object of this schema.
///
/// # Errors
/// The record is not what [`encode`] writes, or the object's columns have changed.
pub fn decode(record: &[u8], schema: &SchemaRef) -> Result<Record, EngineError> {
    let short = || EngineError::Storage("LDB-3031: a record of pushed rows in the log is too short".into());
    let word = |at: usize| Some(u64::from_le_bytes(record.get(at..at + 8)?.try_into().ok()?));
    let head = record.get(8..12).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes).ok_or_else(short)?;
    let (mut at, mut request) = (12, None);
    if head & HAS_REQUEST != 0 {
        let end = at + RequestKey::BYTES;
        let key = record.get(at..end).and_then(RequestKey::from_bytes).ok_or_else(short)?;
        request = Some((key, word(end).ok_or_else(short)?));
        at = end + 8;
    }
    let count = (head & !HAS_REQUEST) as usize;
    let end = at + count * 8;
    let weights: Vec<i64> = record
        .get(at..end)
        .ok_or_else(short)?
        .chunks_exact(8)
        .map(|b| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
        .collect();
    let reader = StreamReader::try_new(&record[end..], None).map_err(|error| broken(&error))?;
    let batches = reader.collect::<Result<Vec<RecordBatch>, _>>().map_err(|error| broken(&error))?;
    let rows = concat_batches(&batches.first().map_or_else(|| schema.clone(), RecordBatch::schema), &batches)
        .and_then(|rows| RecordBatch::try_new(schema.clone(), rows.columns().to_vec()))
        .map_err(|error| broken(&error))?;
    if count == 0 {
        return Ok(Record { batch: Batch::new(rows), request });
    }
    if count != rows.num_rows() {
        return Err(short());
    }
    Ok(Record { batch: Batch::with_weights(rows, Arc::from(weights)), request })
}

fn broken(error: &arrow::error::ArrowError) -> EngineError {
    EngineError::Storage(format!("LDB-3031: a record of pushed rows does not fit the object's columns: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};

    fn rows(values: Vec<i64>) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("x", DataType::Int64, false)]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int64Array::from(values))]).unwrap()
    }

    const REQUEST: (RequestKey, u64) = (RequestKey { key: 0x0102, body: 0x0304 }, 2);

    /// The vector of docs/format.md; what comes behind it is Arrow's.
    #[test]
    fn the_bytes_before_the_rows_are_frozen() {
        let weighted = Batch::with_weights(rows(vec![5, 6]), Arc::from([-1, 1]));
        let record = encode(ObjectId(9), &weighted, Some(REQUEST)).unwrap();
        let head = concat!("0900000000000000", "02000080");
        let request =
            concat!("02010000000000000000000000000000", "04030000000000000000000000000000", "0200000000000000");
        let weights = concat!("ffffffffffffffff", "0100000000000000");
        let hex: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(hex.starts_with(&[head, request, weights, "ffffffff"].concat()), "{hex}");
        let plain = encode(ObjectId(9), &Batch::new(rows(vec![5])), None).unwrap();
        let hex: String = plain.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(hex.starts_with(concat!("0900000000000000", "00000000", "ffffffff")), "{hex}");
    }

    #[test]
    fn a_record_comes_back_with_its_request_also_without_rows_and_any_cut_is_refused() {
        let schema = rows(Vec::new()).schema();
        for (batch, request) in [
            (Batch::new(rows(vec![1, 2, 3])), None),
            (Batch::new(rows(Vec::new())), Some(REQUEST)),
            (Batch::with_weights(rows(vec![5, 6]), Arc::from([-1, 1])), Some(REQUEST)),
        ] {
            let record = encode(ObjectId(9), &batch, request).unwrap();
            let found = decode(&record, &schema).unwrap();
            assert_eq!((&found.batch.rows, &found.batch.weights), (&batch.rows, &batch.weights));
            assert_eq!((found.request, object(&record)), (request, Some(ObjectId(9))));
            let before_rows = 12 + request.map_or(0, |_| 40) + batch.weights.as_ref().map_or(0, |w| w.len() * 8);
            for end in 8..before_rows {
                assert!(decode(&record[..end], &schema).is_err(), "{end} of {}", record.len());
            }
        }
    }
}
