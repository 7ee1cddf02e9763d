//! The groups of one pane (or of a query without window): a table of states, and what changed this epoch.
//!
//! Invariant: `touched` names each group that a row of this epoch met, with the result row it had at the
//! last barrier; it is empty at every barrier, so nothing of it needs to survive a restart.

use arrow::array::{Array, ArrayRef, DynComparator, RecordBatch, UInt32Array, make_comparator};
use arrow::compute::{SortOptions, concat, interleave, take};
use hashbrown::HashSet;

use super::fold::{Fold, array};
use super::merged::{Direction, Merged};
use super::plan::Plan;
use super::states::States;
use crate::data::{Batch, KeyBuffer, KeyEncoder, Keys};
use crate::ids::OperatorId;
use crate::operator::port::OperatorError;
use laminar_storage::arena::{Arena, ScanCursor, Slot, TableId, TableKey, TableShape};

/// Rows in an emitted batch, about.
pub(super) const EMIT_ROWS: usize = 16_384;

/// Whether the changes of an epoch are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follow {
    Changes,
    Nothing,
}

/// One table of groups.
pub(super) struct Pane {
    pub(super) table: TableId,
    touched: Touched,
}

impl Pane {
    pub(super) fn is_touched(&self) -> bool {
        !self.touched.slots.is_empty()
    }

    /// Bytes held for the epoch's changes, about: 32 for each group beside its key and its row.
    pub(super) fn bytes(&self) -> usize {
        self.touched.keys.byte_size() + self.touched.old_bytes + 32 * self.touched.slots.len()
    }
}

#[derive(Default)]
struct Touched {
    seen: HashSet<Slot>,
    slots: Vec<Slot>,
    hashes: Vec<u64>,
    keys: KeyBuffer,
    /// Row of `old` that the group had at the last barrier.
    before: Vec<Option<u32>>,
    old: Vec<Vec<ArrayRef>>,
    old_rows: u32,
    old_bytes: usize,
}

/// Columns of groups: keys and results.
pub(super) struct GroupRows {
    pub(super) keys: Vec<ArrayRef>,
    pub(super) results: Vec<ArrayRef>,
    /// Weights, where they are changes.
    pub(super) weights: Vec<i64>,
    pub(super) len: usize,
}

/// What all panes of an operator share.
pub(super) struct Groups {
    pub(super) id: OperatorId,
    encoder: KeyEncoder,
    pub(super) plan: Plan,
    follow: Follow,
    /// Without key columns there is always one group.
    is_global: bool,
    slots: Vec<Slot>,
    inserted: Vec<u32>,
}

impl Groups {
    pub(super) fn new(id: OperatorId, encoder: KeyEncoder, plan: Plan, follow: Follow, is_global: bool) -> Self {
        Self { id, encoder, plan, follow, is_global, slots: Vec::new(), inserted: Vec::new() }
    }

    /// Opens the table of a part, creating it empty when there is none.
    pub(super) fn open(&self, part: i64, arena: &mut Arena) -> Result<Pane, OperatorError> {
        let table = arena.open_table(TableKey { operator: self.id, part }, shape(&self.encoder, &self.plan))?;
        Ok(Pane { table, touched: Touched::default() })
    }

    /// Makes the one group of a global aggregate, so that it has a row before any input.
    pub(super) fn open_global(&mut self, pane: &mut Pane, arena: &mut Arena) -> Result<(), OperatorError> {
        let empty = RecordBatch::new_empty(arrow::datatypes::Schema::empty().into());
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(1));
        let row = RecordBatch::try_new_with_options(empty.schema(), Vec::new(), &options)?;
        let Keys { keys, hashes } = self.encoder.encode(&row);
        arena.upsert_batch(pane.table, hashes, keys, &mut self.slots, &mut self.inserted)?;
        if !self.inserted.is_empty() {
            pane.touched.add(self.slots[0], hashes[0], keys.key(0), None);
        }
        Ok(())
    }

    /// Folds rows into their groups; returns how many were taken out because a sum would have left its range.
    pub(super) fn fold(&mut self, pane: &mut Pane, batch: &Batch, arena: &mut Arena) -> Result<u64, OperatorError> {
        let keys = self.encoder.encode(&batch.rows);
        arena.upsert_batch(pane.table, keys.hashes, keys.keys, &mut self.slots, &mut self.inserted)?;
        if self.follow == Follow::Changes {
            touch(&mut pane.touched, pane.table, (&self.slots, keys), (&self.plan, self.is_global), arena);
        }
        Fold { plan: &self.plan, batch, slots: &self.slots, table: pane.table }.run(arena)
    }

    /// The changes of an epoch: −1 the old row, +1 the new one, for each group whose row changed.
    pub(super) fn changes(&self, pane: &mut Pane, arena: &mut Arena) -> Result<Option<GroupRows>, OperatorError> {
        let touched = std::mem::take(&mut pane.touched);
        let mut states = States::new(&self.plan);
        touched.slots.iter().for_each(|slot| states.push(arena.value(pane.table, *slot)));
        let new = states.finish(&self.plan, arena);
        let old = concat_chunks(&touched.old, &new)?;
        let compare = comparators(&old, &new)?;
        // (0, row) picks an old row, (1, row) a new one; `groups` names the key.
        let (mut picks, mut groups, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for (at, before) in touched.before.iter().enumerate() {
            let rows = row_count(&self.plan, states.get(at));
            let is_alive = self.is_global || rows > 0;
            if let Some(before) = *before {
                let is_same = is_alive && compare.iter().all(|compare| compare(before as usize, at).is_eq());
                if is_same {
                    continue;
                }
                picks.push((0, before as usize));
                groups.push(at as u32);
                weights.push(-1);
            }
            if is_alive {
                picks.push((1, at));
                groups.push(at as u32);
                weights.push(1);
            } else if rows == 0 {
                arena.remove(pane.table, touched.hashes[at], touched.keys.get(at));
            }
        }
        if picks.is_empty() {
            return Ok(None);
        }
        let pick = |(old, new): (&ArrayRef, &ArrayRef)| interleave(&[old.as_ref(), new.as_ref()], &picks);
        let results = old.iter().zip(&new).map(pick).collect::<Result<Vec<_>, _>>()?;
        let groups = UInt32Array::from(groups);
        let keys = self.encoder.decode(&touched.keys);
        let keys = keys.iter().map(|key| take(key.as_ref(), &groups, None)).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(GroupRows { keys, results, len: weights.len(), weights }))
    }

    /// All groups of a pane in pieces.
    pub(super) fn all(
        &self,
        pane: &Pane,
        arena: &Arena,
        mut emit: impl FnMut(GroupRows) -> Result<(), OperatorError>,
    ) -> Result<(), OperatorError> {
        let mut cursor = Some(ScanCursor::default());
        while let Some(from) = cursor {
            let (mut keys, mut states) = (KeyBuffer::default(), States::new(&self.plan));
            cursor = arena.scan(pane.table, from, EMIT_ROWS, |_, key, state| {
                if row_count(&self.plan, state) > 0 {
                    keys.push(key);
                    states.push(state);
                }
            });
            if states.len() > 0 {
                emit(self.rows(&keys, &states, arena))?;
            }
        }
        Ok(())
    }

    /// All groups of several panes, each group merged over them; and how many sums left their range.
    pub(super) fn merged(&self, panes: &[&Pane], arena: &Arena) -> (Option<GroupRows>, u64) {
        let mut merged = Merged::new(&self.plan);
        let mut out_of_range = 0;
        for pane in panes {
            out_of_range += merged.apply(&self.plan, pane.table, Direction::In, arena);
        }
        (self.merged_rows(&mut merged, arena), out_of_range)
    }

    /// The groups that are merged now.
    pub(super) fn merged_rows(&self, merged: &mut Merged, arena: &Arena) -> Option<GroupRows> {
        let rows = match merged.alive(&self.plan) {
            None => self.rows(&merged.keys, &merged.states, arena),
            Some((keys, states)) => self.rows(&keys, &states, arena),
        };
        (rows.len > 0).then_some(rows)
    }

    fn rows(&self, keys: &KeyBuffer, states: &States, arena: &Arena) -> GroupRows {
        let (keys, results) = (self.encoder.decode(keys), states.finish(&self.plan, arena));
        GroupRows { keys, results, weights: Vec::new(), len: states.len() }
    }
}

/// How a table keeps groups.
pub(super) fn shape(encoder: &KeyEncoder, plan: &Plan) -> TableShape {
    TableShape { value_len: plan.width as u32, key: encoder.shape() }
}

/// Rows in a group by weight; 1 where it is not kept, for then every group has some.
fn row_count(plan: &Plan, state: &[u8]) -> i64 {
    plan.rows.map_or(1, |at| i64::from_le_bytes(array(&state[at..at + 8])))
}

impl Touched {
    fn add(&mut self, slot: Slot, hash: u64, key: &[u8], before: Option<u32>) {
        self.seen.insert(slot);
        self.slots.push(slot);
        self.hashes.push(hash);
        self.keys.push(key);
        self.before.push(before);
    }
}

/// Notes groups met for the first time this epoch, with the row they had; called before the fold.
fn touch(
    touched: &mut Touched,
    table: TableId,
    (slots, keys): (&[Slot], Keys<'_>),
    (plan, is_global): (&Plan, bool),
    arena: &Arena,
) {
    let mut old = States::new(plan);
    for (row, slot) in slots.iter().enumerate() {
        if touched.seen.contains(slot) {
            continue;
        }
        let state = arena.value(table, *slot);
        let before = (is_global || row_count(plan, state) > 0).then(|| {
            old.push(state);
            touched.old_rows + old.len() as u32 - 1
        });
        touched.add(*slot, keys.hashes[row], keys.keys.key(row), before);
    }
    if old.len() > 0 {
        touched.old_rows += old.len() as u32;
        let rows = old.finish(plan, arena);
        touched.old_bytes += rows.iter().map(|column| column.get_array_memory_size()).sum::<usize>();
        touched.old.push(rows);
    }
}

/// The chunks of old rows as one; none gives empty columns of the types of `like`.
fn concat_chunks(chunks: &[Vec<ArrayRef>], like: &[ArrayRef]) -> Result<Vec<ArrayRef>, OperatorError> {
    let column = |at: usize| -> Result<ArrayRef, OperatorError> {
        match chunks {
            [] => Ok(like[at].slice(0, 0)),
            [only] => Ok(only[at].clone()),
            many => Ok(concat(&many.iter().map(|chunk| chunk[at].as_ref()).collect::<Vec<&dyn Array>>())?),
        }
    };
    (0..like.len()).map(column).collect()
}

fn comparators(old: &[ArrayRef], new: &[ArrayRef]) -> Result<Vec<DynComparator>, OperatorError> {
    let pairs = old.iter().zip(new);
    Ok(pairs.map(|(old, new)| make_comparator(old, new, SortOptions::default())).collect::<Result<_, _>>()?)
}
