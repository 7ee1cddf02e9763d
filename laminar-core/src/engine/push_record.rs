//! The bytes of pushed rows in the write-ahead log (docs/format.md, "Pushed rows").
//!
//! Layout, little endian: object id u64 · number of weights u32 (0 = none) · weights i64 each ·
//! the rows as one Arrow IPC stream. Invariant: what [`encode`] wrote, [`decode`] reads back equal.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use super::EngineError;
use crate::data::Batch;
use crate::ids::ObjectId;

/// Writes rows of an object.
///
/// # Errors
/// Arrow refuses the columns (a defect).
pub fn encode(object: ObjectId, batch: &Batch) -> Result<Vec<u8>, EngineError> {
    let mut bytes = Vec::with_capacity(64 + batch.rows.get_array_memory_size());
    bytes.extend_from_slice(&object.0.to_le_bytes());
    let weights: &[i64] = batch.weights.as_deref().unwrap_or(&[]);
    bytes.extend_from_slice(&(weights.len() as u32).to_le_bytes());
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
pub fn decode(record: &[u8], schema: &SchemaRef) -> Result<Batch, EngineError> {
    let short = || EngineError::Storage("LDB-3031: a record of pushed rows in the log is too short".into());
    let count = record.get(8..12).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes).ok_or_else(short)? as usize;
    let end = 12 + count * 8;
    let weights: Vec<i64> = record
        .get(12..end)
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
        return Ok(Batch::new(rows));
    }
    if count != rows.num_rows() {
        return Err(short());
    }
    Ok(Batch::with_weights(rows, Arc::from(weights)))
}

fn broken(error: &arrow::error::ArrowError) -> EngineError {
    EngineError::Storage(format!("LDB-3031: a record of pushed rows does not fit the object's columns: {error}"))
}
