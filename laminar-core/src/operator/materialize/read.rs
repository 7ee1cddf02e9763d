//! Reads of a view: walks and point reads as of an epoch.

use arrow::array::RecordBatch;

use super::Materialize;
use super::store::{Content, PlaceOf};
use crate::ids::Epoch;
use crate::operator::port::{OperatorError, ReadCursor, Readable};
use laminar_storage::arena::{Arena, ScanCursor};

/// A row of a walk: its part, hash, key and content.
type Found = (i64, u64, Box<[u8]>, Content);

/// Rows collected for an answer, as bytes.
#[derive(Default)]
struct Answer {
    rows: Vec<Vec<u8>>,
}

impl Answer {
    fn add(&mut self, key: &[u8], content: Content) {
        match content {
            Content::Row(row) => self.rows.push(row),
            Content::Count(count) => (0..count).for_each(|_| self.rows.push(key.to_vec())),
        }
    }
}

impl Materialize {
    fn answer(&self, answer: &Answer) -> Result<RecordBatch, OperatorError> {
        let rows: Vec<&[u8]> = answer.rows.iter().map(Vec::as_slice).collect();
        Ok(self.store.codec.decode(&rows)?)
    }

    /// Where a walk over all buckets may stop so that each has delivered all before: the nearest of their ends.
    fn walk(&self, from: ScanCursor, max_rows: usize, arena: &Arena) -> (Vec<Found>, Option<ScanCursor>) {
        let mut found = Vec::new();
        let mut stop: Option<ScanCursor> = None;
        let parts: Vec<i64> = self.store.parts().collect();
        let each = (max_rows / parts.len().max(1)).max(64).min(max_rows.max(1));
        for part in parts {
            let next = self.store.scan(part, from, each, arena, |hash, key, content| {
                found.push((part, hash, key.into(), content));
            });
            stop = match (stop, next) {
                (Some(stop), Some(next)) => Some(stop.min(next)),
                (one, other) => one.or(other),
            };
        }
        if let Some(stop) = stop {
            found.retain(|(_, hash, _, _)| stop.has_passed(*hash));
        }
        (found, stop)
    }
}

impl Readable for Materialize {
    fn complete(&self) -> Option<Epoch> {
        self.undo.complete()
    }

    fn epoch_complete(&mut self, epoch: Epoch) {
        self.undo.set_complete(epoch);
    }

    fn pin(&mut self) -> Option<Epoch> {
        self.undo.pin()
    }

    fn unpin(&mut self, epoch: Option<Epoch>) {
        self.undo.unpin(epoch);
    }

    fn key(&self) -> Option<&[usize]> {
        self.key.as_deref()
    }

    fn hashes(&mut self, rows: &RecordBatch) -> Vec<u64> {
        self.store.hashes(rows)
    }

    fn scan(
        &mut self,
        at: Option<Epoch>,
        from: ReadCursor,
        max_rows: usize,
        arena: &Arena,
    ) -> Result<(RecordBatch, Option<ReadCursor>), OperatorError> {
        let (found, stop) = self.walk(from.0, max_rows, arena);
        let mut answer = Answer::default();
        for (part, hash, key, content) in found {
            // What was touched since is added below as it was.
            if self.undo.at(at, PlaceOf { part, hash, key: &key }).is_none() {
                answer.add(&key, content);
            }
        }
        let is_here = |hash: u64| !from.0.has_passed(hash) && stop.is_none_or(|stop| stop.has_passed(hash));
        for before in self.undo.all_at(at).filter(|before| is_here(before.hash)) {
            if let Some(content) = &before.content {
                answer.add(&before.key, content.clone());
            }
        }
        Ok((self.answer(&answer)?, stop.map(ReadCursor)))
    }

    fn get(&mut self, at: Option<Epoch>, keys: &RecordBatch, arena: &Arena) -> Result<RecordBatch, OperatorError> {
        let parts: Vec<i64> = self.store.parts().collect();
        let Some(encoded) = self.store.encode_keys(keys) else {
            return Err(OperatorError::new("LDB-3206", "a view without a key has no point reads; use a scan"));
        };
        let owned: Vec<(u64, Box<[u8]>)> =
            (0..keys.num_rows()).map(|row| (encoded.hashes[row], encoded.keys.key(row).into())).collect();
        let mut answer = Answer::default();
        for (hash, key) in &owned {
            // A key lies in one bucket at most at one epoch; a dropped bucket's rows are gone.
            for part in &parts {
                let place = PlaceOf { part: *part, hash: *hash, key };
                let content = match self.undo.at(at, place) {
                    Some(before) => before.content.clone(),
                    None => self.store.get(place, arena),
                };
                if let Some(content) = content {
                    answer.add(key, content);
                }
            }
        }
        self.answer(&answer)
    }
}
