//! The primary key of a table: what exists already, and what a change takes back.
//!
//! Invariant: a key is looked up in everything accepted so far: among the changes that are not in a complete
//! epoch, then in the table's state as of the newest complete one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::concat_batches;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::EngineError;
use super::core::Engine;
use super::push::Change;
use super::request::OnConflict;
use crate::data::{Batch, KeyEncoder, StreamSchema};
use crate::ids::Epoch;
use crate::operator::OperatorError;

/// The keys of a table that were changed and are not in a complete epoch yet.
pub(super) struct TableKeys {
    columns: Vec<usize>,
    encoder: KeyEncoder,
    /// Per key: number of its last change, and its row.
    recent: BTreeMap<Vec<u8>, (u64, RecordBatch)>,
    /// Changes so far.
    accepted: u64,
    /// Changes that have entered the chains, and in which epoch they become visible.
    entered: VecDeque<(u64, Epoch)>,
}

impl TableKeys {
    /// The keys in `columns` of a table's rows.
    pub(super) fn new(schema: &StreamSchema, columns: &[usize]) -> Result<Self, OperatorError> {
        Ok(Self {
            columns: columns.to_vec(),
            encoder: KeyEncoder::new(&schema.columns, columns)?,
            recent: BTreeMap::new(),
            accepted: 0,
            entered: VecDeque::new(),
        })
    }

    /// A change has entered the chains and becomes visible with an epoch.
    pub(super) fn enter(&mut self, number: u64, epoch: Epoch) {
        self.entered.push_back((number, epoch));
    }

    /// Takes note of a change that is logged; returns its number.
    pub(super) fn accept(&mut self, rows: Vec<(Vec<u8>, RecordBatch)>) -> u64 {
        self.accepted += 1;
        self.recent.extend(rows.into_iter().map(|(key, row)| (key, (self.accepted, row))));
        self.accepted
    }

    pub(super) fn forget(&mut self, complete: Epoch) {
        let mut seen = 0;
        while let Some((number, _)) = self.entered.pop_front_if(|(_, epoch)| *epoch <= complete) {
            seen = number;
        }
        if seen > 0 {
            self.recent.retain(|_, (number, _)| *number > seen);
        }
    }
}

impl Engine {
    /// Turns rows of a keyed table into a change: what they replace is taken back.
    pub(super) fn resolve_keys(
        &mut self,
        index: usize,
        rows: RecordBatch,
        on_conflict: OnConflict,
    ) -> Result<Change, EngineError> {
        let existing = self.existing(index, &rows)?;
        let push = &mut self.pushes[index];
        let (object, table) = (push.object(), push.plan.source.name.clone());
        let Some(keys) = push.keys.as_mut() else {
            return Err(EngineError::Internal(format!("{table} has no key")));
        };
        let encoded = keys.encoder.encode(&rows).keys;
        let mut old: BTreeMap<&[u8], Option<RecordBatch>> = BTreeMap::new();
        let mut new: BTreeMap<&[u8], usize> = BTreeMap::new();
        for row in 0..rows.num_rows() {
            let key = encoded.key(row);
            let before = match (new.get(key), keys.recent.get(key)) {
                (Some(&earlier), _) => Some(rows.slice(earlier, 1)),
                (None, Some((_, recent))) => Some(recent.clone()),
                (None, None) => existing.get(key).cloned(),
            };
            match (before, on_conflict) {
                (Some(_), OnConflict::Error) => {
                    let key = text_of(&rows, &keys.columns, row);
                    return Err(EngineError::DuplicateKey { table, key });
                }
                (Some(_), OnConflict::Keep) => {}
                (before, _) => {
                    old.entry(key).or_insert(before);
                    new.insert(key, row);
                }
            }
        }
        let retracted: Vec<RecordBatch> = old.into_values().flatten().collect();
        let mut picked: Vec<u32> = new.values().map(|&row| row as u32).collect();
        picked.sort_unstable();
        let keys = new.iter().map(|(key, &row)| (key.to_vec(), rows.slice(row, 1))).collect();
        let inserted = picked.len();
        let fresh = Batch::new(rows.clone()).take(&UInt32Array::from(picked)).map_err(OperatorError::from)?;
        let changed = |batch| Change { object, batch, rows: inserted as u64, keys };
        if retracted.is_empty() {
            return Ok(changed(fresh));
        }
        let back = retracted.len();
        let all = concat_batches(&rows.schema(), retracted.iter().chain([&fresh.rows])).map_err(OperatorError::from)?;
        let weights: Arc<[i64]> = std::iter::repeat_n(-1, back).chain(std::iter::repeat_n(1, inserted)).collect();
        Ok(changed(Batch::with_weights(all, weights)))
    }

    /// The table's rows that have the keys of `rows`, as of the newest complete epoch.
    fn existing(&mut self, index: usize, rows: &RecordBatch) -> Result<BTreeMap<Vec<u8>, RecordBatch>, EngineError> {
        let push = &mut self.pushes[index];
        let (Some(keys), Some((_, fragment)), Some(feed)) = (&mut push.keys, &push.plan.table, &push.feed) else {
            return Ok(BTreeMap::new());
        };
        let Some(Some(fragment)) = self.fragments.get_mut(fragment.index()) else { return Ok(BTreeMap::new()) };
        let Some(vertex) = fragment.shape.output else { return Ok(BTreeMap::new()) };
        let Some(readable) = fragment.chains[feed.slot].readable(vertex) else { return Ok(BTreeMap::new()) };
        let wanted = rows.project(&keys.columns).map_err(OperatorError::from)?;
        let found = readable.get(readable.complete(), &wanted, &fragment.arenas[feed.slot])?;
        let encoded = keys.encoder.encode(&found).keys;
        Ok((0..found.num_rows()).map(|row| (encoded.key(row).to_vec(), found.slice(row, 1))).collect())
    }
}

/// The key of a row as text, for the error.
fn text_of(rows: &RecordBatch, columns: &[usize], row: usize) -> String {
    let options = FormatOptions::default().with_null("NULL");
    let texts: Vec<String> = columns
        .iter()
        .map(|&column| {
            ArrayFormatter::try_new(rows.column(column), &options)
                .map_or_else(|_| "?".into(), |f| f.value(row).to_string())
        })
        .collect();
    format!("({})", texts.join(", "))
}
