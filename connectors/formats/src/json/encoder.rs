//! The JSON encoder: rows to records, by envelope.
//!
//! Invariants: of one key in one batch the deletes leave before the inserts; a change that is taken
//! back within the batch does not leave at all where records have keys.

use std::collections::HashMap;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use laminar_connector_kit::{ConnectorError, Options};
use laminar_core::connector::{EncodedRecord, Encoder, EncoderFactory};
use laminar_core::data::Batch;
use laminar_core::graph::Envelope;
use laminar_core::ids::Epoch;

use super::object::Members;
use super::write::number;

/// Makes [`JsonEncoder`]s.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonEncoderFactory;

impl EncoderFactory for JsonEncoderFactory {
    fn name(&self) -> &'static str {
        "json"
    }

    fn create(
        &self,
        schema: SchemaRef,
        envelope: Envelope,
        key: Option<&[usize]>,
        _options: &Options,
    ) -> Result<Box<dyn Encoder>, ConnectorError> {
        Ok(Box::new(JsonEncoder::new(&schema, envelope, key)?))
    }
}

/// Writes rows of one schema as JSON records.
pub struct JsonEncoder {
    envelope: Envelope,
    value: Members,
    key: Option<Members>,
    /// Buffers of the record in work.
    key_bytes: Vec<u8>,
    body: Vec<u8>,
}

/// One row of a batch that leaves, after consolidation.
struct Change {
    row: usize,
    /// Copies: positive inserts, negative deletes.
    weight: i64,
    /// Where the key has both a delete and an insert: the row of the other side.
    other: Option<usize>,
}

impl JsonEncoder {
    /// An encoder for `schema`; `key` names the columns of the message key.
    ///
    /// # Errors
    /// `LDB-6201` a type that JSON cannot hold, `LDB-6204` an envelope that needs a key and has none.
    pub fn new(schema: &SchemaRef, envelope: Envelope, key: Option<&[usize]>) -> Result<Self, ConnectorError> {
        if envelope == Envelope::Upsert && key.is_none_or(<[usize]>::is_empty) {
            let message = "envelope 'upsert' needs the columns of the message key; the stream has no key";
            return Err(ConnectorError::user("LDB-6204", message));
        }
        let value = Members::new(schema, 0..schema.fields().len())?;
        let key = key.map(|key| Members::new(schema, key.iter().copied())).transpose()?;
        Ok(Self { envelope, value, key, key_bytes: Vec::new(), body: Vec::new() })
    }

    /// Emits one record with the body in the buffer.
    fn emit(&mut self, columns: &[ArrayRef], row: usize, body: bool, into: &mut dyn FnMut(EncodedRecord<'_>)) {
        let key = self.key.as_ref().map(|key| {
            self.key_bytes.clear();
            key.write_object(columns, row, &mut self.key_bytes);
            self.key_bytes.as_slice()
        });
        into(EncodedRecord { key, value: body.then_some(self.body.as_slice()), row });
    }

    fn append(&mut self, columns: &[ArrayRef], row: usize, epoch: Epoch, into: &mut dyn FnMut(EncodedRecord<'_>)) {
        let change = Change { row, weight: 1, other: None };
        self.change(columns, &change, epoch, into);
    }

    fn change(&mut self, columns: &[ArrayRef], change: &Change, epoch: Epoch, into: &mut dyn FnMut(EncodedRecord<'_>)) {
        let Change { row, weight, other } = *change;
        self.body.clear();
        let copies = match self.envelope {
            Envelope::Plain => {
                self.value.write_object(columns, row, &mut self.body);
                weight
            }
            Envelope::Upsert => {
                if weight > 0 {
                    self.value.write_object(columns, row, &mut self.body);
                } else if other.is_some() {
                    // The insert of the same key overwrites it.
                    return;
                }
                1
            }
            Envelope::Changelog => {
                self.changelog(columns, change, epoch);
                weight.abs()
            }
            Envelope::Debezium => {
                if weight < 0 && other.is_some() {
                    // Told as `before` of the insert.
                    return;
                }
                self.debezium(columns, change);
                weight.abs()
            }
        };
        let body = weight > 0 || self.envelope != Envelope::Upsert;
        for _ in 0..copies {
            self.emit(columns, row, body, into);
        }
    }

    fn changelog(&mut self, columns: &[ArrayRef], change: &Change, epoch: Epoch) {
        self.body.push(b'{');
        self.value.write(columns, change.row, &mut self.body);
        if self.body.len() > 1 {
            self.body.push(b',');
        }
        let op: &[u8] = match (change.weight > 0, change.other.is_some()) {
            (true, false) => b"+I",
            (true, true) => b"+U",
            (false, true) => b"-U",
            (false, false) => b"-D",
        };
        self.body.extend_from_slice(b"\"_op\":\"");
        self.body.extend_from_slice(op);
        self.body.extend_from_slice(b"\",\"_epoch\":");
        number(&mut self.body, epoch.as_u64());
        self.body.push(b'}');
    }

    fn debezium(&mut self, columns: &[ArrayRef], change: &Change) {
        let (before, after, op): (_, _, &[u8]) = match (change.weight > 0, change.other) {
            (true, None) => (None, Some(change.row), b"c"),
            (true, Some(before)) => (Some(before), Some(change.row), b"u"),
            (false, _) => (Some(change.row), None, b"d"),
        };
        for (label, row) in [(&b"{\"before\":"[..], before), (&b",\"after\":"[..], after)] {
            self.body.extend_from_slice(label);
            match row {
                Some(row) => self.value.write_object(columns, row, &mut self.body),
                None => self.body.extend_from_slice(b"null"),
            }
        }
        self.body.extend_from_slice(b",\"op\":\"");
        self.body.extend_from_slice(op);
        self.body.extend_from_slice(b"\"}");
    }

    /// The changes of a batch with weights: deletes first, each row's weights summed where there is a key.
    fn consolidate(&self, batch: &Batch) -> Vec<Change> {
        let columns = batch.rows.columns();
        let weighted = (0..batch.len()).map(|row| (row, batch.weight(row)));
        let mut changes: Vec<Change> = Vec::with_capacity(batch.len());
        let Some(key) = &self.key else {
            changes.extend(weighted.filter(|(_, w)| *w != 0).map(|(row, weight)| Change { row, weight, other: None }));
            changes.sort_by_key(|change| change.weight > 0);
            return changes;
        };
        // Rows that are equal (key and all) are one change with the sum of their weights.
        let mut rows: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for (row, weight) in weighted {
            let mut whole = Vec::new();
            key.write_object(columns, row, &mut whole);
            let key_bytes = whole.clone();
            self.value.write_object(columns, row, &mut whole);
            match rows.get(&whole) {
                Some(&index) => changes[index].weight += weight,
                None => {
                    rows.insert(whole, changes.len());
                    changes.push(Change { row, weight, other: None });
                    keys.push(key_bytes);
                }
            }
        }
        pair(&mut changes, &keys);
        changes.retain(|change| change.weight != 0);
        changes.sort_by_key(|change| change.weight > 0);
        changes
    }
}

/// Notes for each key that has a delete and an insert the row of the other side.
fn pair(changes: &mut [Change], keys: &[Vec<u8>]) {
    let mut sides: HashMap<&[u8], (Option<usize>, Option<usize>)> = HashMap::new();
    for (change, key) in changes.iter().zip(keys).filter(|(change, _)| change.weight != 0) {
        let side = sides.entry(key).or_default();
        if change.weight < 0 { side.0 = Some(change.row) } else { side.1 = Some(change.row) }
    }
    for (change, key) in changes.iter_mut().zip(keys) {
        if let Some((Some(delete), Some(insert))) = sides.get(key.as_slice()) {
            change.other = Some(if change.weight < 0 { *insert } else { *delete });
        }
    }
}

impl Encoder for JsonEncoder {
    fn encode(
        &mut self,
        batch: &Batch,
        epoch: Epoch,
        into: &mut dyn FnMut(EncodedRecord<'_>),
    ) -> Result<(), ConnectorError> {
        let columns = batch.rows.columns();
        if batch.weights.is_none() {
            for row in 0..batch.len() {
                self.append(columns, row, epoch, into);
            }
            return Ok(());
        }
        let changes = self.consolidate(batch);
        if self.envelope == Envelope::Plain && changes.iter().any(|change| change.weight < 0) {
            let message =
                "a changing stream cannot be written with envelope 'plain'; choose 'upsert', 'changelog' or 'debezium'";
            return Err(ConnectorError::user("LDB-6203", message));
        }
        for change in &changes {
            self.change(columns, change, epoch, into);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
