//! Folds the rows of a batch into the states of their groups, cell by cell.
//!
//! Invariant: a row counts in all cells of its group or in none; a sum that would leave DECIMAL(38) takes
//! the row out of all of them.

use arrow::array::{Array, AsArray, BooleanBufferBuilder};
use arrow::buffer::BooleanBuffer;

use super::plan::{Cell, CellKind, Edge, Extreme, NULL_ORDER, NULL_VALUE, PRESENT, Plan};
use super::value::{ValueKind, bytes_at, floats, wides, words};
use crate::data::Batch;
use crate::operator::port::OperatorError;
use laminar_storage::arena::{Arena, ArenaError, BlobRef, Folder, Slot, TableId};

/// The greatest magnitude of a DECIMAL(38).
pub(super) const DECIMAL_LIMIT: i128 = 10_i128.pow(38) - 1;

/// Rows on their way into groups: row `i` belongs to the group at `slots[i]`.
pub(super) struct Fold<'a> {
    pub(super) plan: &'a Plan,
    pub(super) batch: &'a Batch,
    pub(super) slots: &'a [Slot],
    pub(super) table: TableId,
}

impl Fold<'_> {
    /// Folds all rows; returns how many were taken out because a sum would have left its range.
    pub(super) fn run(&self, arena: &mut Arena) -> Result<u64, OperatorError> {
        let failed = self.fold_decimals(arena)?;
        let cells = &self.plan.cells;
        let mut at = 0;
        while at < cells.len() {
            if failed.is_empty() && self.fold_count_and_sum(at, arena)? {
                at += 2;
                continue;
            }
            if cells[at].kind != CellKind::SumDecimal {
                let mask = without(self.mask(&cells[at]), &failed, self.batch.len());
                self.fold_cell(&cells[at], mask.as_ref(), arena)?;
            }
            at += 1;
        }
        Ok(failed.len() as u64)
    }

    /// The rows that count in a cell; none = all.
    fn mask(&self, cell: &Cell) -> Option<BooleanBuffer> {
        let valid = |at: usize| {
            let column = self.batch.rows.column(at);
            column.nulls().filter(|nulls| nulls.null_count() > 0).map(|nulls| nulls.inner().clone())
        };
        // A NULL is a value that first and last may pick.
        let argument = cell.argument.filter(|_| !matches!(cell.kind, CellKind::Edge(..))).and_then(valid);
        let filter = cell.filter.map(|at| {
            let wanted = self.batch.rows.column(at).as_boolean().values().clone();
            valid(at).map_or(wanted.clone(), |valid| &wanted & &valid)
        });
        match (argument, filter) {
            (Some(argument), Some(filter)) => Some(&argument & &filter),
            (one, other) => one.or(other),
        }
    }

    #[inline(always)]
    fn weight(&self, row: usize) -> i64 {
        self.batch.weights.as_ref().map_or(1, |weights| weights[row])
    }

    fn column(&self, at: Option<usize>) -> Result<&dyn Array, OperatorError> {
        let at = at.ok_or_else(|| OperatorError::defect("a cell without an argument has no column"))?;
        Ok(self.batch.rows.column(at).as_ref())
    }

    /// Sums that can leave their range come first; a row that fails in one is taken back from those before it.
    fn fold_decimals(&self, arena: &mut Arena) -> Result<Vec<u32>, OperatorError> {
        let mut failed: Vec<u32> = Vec::new();
        let decimals: Vec<&Cell> = self.plan.cells.iter().filter(|cell| cell.kind == CellKind::SumDecimal).collect();
        for (nth, cell) in decimals.iter().enumerate() {
            let mask = without(self.mask(cell), &failed, self.batch.len());
            let values = wides(self.column(cell.argument)?);
            let mut folder = arena.fold(self.table)?;
            let mut refused = Vec::new();
            each_row(mask.as_ref(), self.slots, |row, slot| {
                let field = folder.field_mut::<16>(slot, cell.at);
                let sum = values[row].checked_mul(i128::from(self.weight(row)));
                let sum = sum.and_then(|value| value.checked_add(i128::from_le_bytes(*field)));
                match sum.filter(|sum| sum.abs() <= DECIMAL_LIMIT) {
                    Some(sum) => *field = sum.to_le_bytes(),
                    None => refused.push(row as u32),
                }
            });
            for earlier in &decimals[..nth] {
                self.take_back(earlier, &refused, arena)?;
            }
            failed.append(&mut refused);
        }
        Ok(failed)
    }

    fn take_back(&self, cell: &Cell, rows: &[u32], arena: &mut Arena) -> Result<(), OperatorError> {
        let mask = self.mask(cell);
        let values = wides(self.column(cell.argument)?);
        let mut folder = arena.fold(self.table)?;
        for row in rows.iter().map(|row| *row as usize) {
            if mask.as_ref().is_none_or(|mask| mask.value(row)) {
                let field = folder.field_mut::<16>(self.slots[row], cell.at);
                let value = values[row] * i128::from(self.weight(row));
                *field = (i128::from_le_bytes(*field) - value).to_le_bytes();
            }
        }
        Ok(())
    }

    /// The most frequent pair, a count of rows and an integer sum beside it, in one pass.
    fn fold_count_and_sum(&self, at: usize, arena: &mut Arena) -> Result<bool, OperatorError> {
        let [count, sum, ..] = &self.plan.cells[at..] else { return Ok(false) };
        let fits = count.kind == CellKind::Count && sum.kind == CellKind::SumInteger && self.batch.weights.is_none();
        if !fits || sum.at != count.at + 8 {
            return Ok(false);
        }
        let column = self.column(sum.argument)?;
        if column.data_type() == &arrow::datatypes::DataType::UInt64
            || self.mask(count).is_some()
            || self.mask(sum).is_some()
        {
            return Ok(false);
        }
        let values = words(column);
        let mut folder = arena.fold(self.table)?;
        for (slot, value) in self.slots.iter().zip(values.iter()) {
            let field = folder.field_mut::<24>(*slot, count.at);
            let (count, sum) = field.split_at_mut(8);
            add_i64(count, 1);
            add_i128(sum, i128::from(*value));
        }
        Ok(true)
    }

    fn fold_cell(&self, cell: &Cell, mask: Option<&BooleanBuffer>, arena: &mut Arena) -> Result<(), OperatorError> {
        match cell.kind {
            CellKind::Count => {
                let mut folder = arena.fold(self.table)?;
                each_row(mask, self.slots, |row, slot| {
                    add_i64(folder.field_mut::<8>(slot, cell.at), self.weight(row));
                });
            }
            CellKind::SumInteger | CellKind::SumDecimal => {
                let values = wides(self.column(cell.argument)?);
                let mut folder = arena.fold(self.table)?;
                each_row(mask, self.slots, |row, slot| {
                    add_i128(folder.field_mut::<16>(slot, cell.at), values[row] * i128::from(self.weight(row)));
                });
            }
            CellKind::SumFloat => {
                let values = floats(self.column(cell.argument)?);
                let mut folder = arena.fold(self.table)?;
                each_row(mask, self.slots, |row, slot| {
                    let field = folder.field_mut::<8>(slot, cell.at);
                    let value =
                        if self.batch.weights.is_none() { values[row] } else { values[row] * self.weight(row) as f64 };
                    *field = (f64::from_le_bytes(*field) + value).to_le_bytes();
                });
            }
            CellKind::Extreme(which, ValueKind::Word) => {
                let values = words(self.column(cell.argument)?);
                let mut folder = arena.fold(self.table)?;
                each_row(mask, self.slots, |row, slot| {
                    extreme_word(&mut folder, slot, cell.at, which, values[row]);
                });
            }
            CellKind::Extreme(which, ValueKind::Wide) => {
                let values = wides(self.column(cell.argument)?);
                let mut folder = arena.fold(self.table)?;
                each_row(mask, self.slots, |row, slot| {
                    let field = folder.field_mut::<24>(slot, cell.at);
                    let held = i128::from_le_bytes(array(&field[..16]));
                    if field[16] == 0 || wins(which, values[row].cmp(&held)) {
                        field[..16].copy_from_slice(&values[row].to_le_bytes());
                        field[16] = 1;
                    }
                });
            }
            CellKind::Extreme(which, ValueKind::Blob) => {
                let column = self.column(cell.argument)?;
                return try_each_row(mask, self.slots, |row, slot| {
                    let value = bytes_at(column, row);
                    let (held, present) = blob_at(arena.value(self.table, slot), cell.at);
                    if !present || wins(which, value.cmp(arena.blob(held))) {
                        replace_blob(arena, self.table, slot, cell.at, value, PRESENT)?;
                    }
                    Ok(())
                });
            }
            CellKind::Edge(which, value, order) => return self.fold_edge(cell, (which, value, order), mask, arena),
        }
        Ok(())
    }

    fn fold_edge(
        &self,
        cell: &Cell,
        (which, kind, order): (Edge, ValueKind, Option<ValueKind>),
        mask: Option<&BooleanBuffer>,
        arena: &mut Arena,
    ) -> Result<(), OperatorError> {
        let column = self.column(cell.argument)?;
        let order_column = order.map(|_| self.column(cell.order)).transpose()?;
        let orders = match (order, order_column) {
            (Some(ValueKind::Word), Some(column)) => Some(words(column).iter().map(|word| i128::from(*word)).collect()),
            (Some(_), Some(column)) => Some(wides(column).into_owned()),
            _ => None::<Vec<i128>>,
        };
        let is_null = |column: &dyn Array, row: usize| column.nulls().is_some_and(|nulls| nulls.is_null(row));
        let flags_at = cell.at + kind.width();
        let word_values = if kind == ValueKind::Word { words(column) } else { Default::default() };
        let wide_values = if kind == ValueKind::Wide { wides(column) } else { Default::default() };
        try_each_row(mask, self.slots, |row, slot| {
            let null_order = order_column.is_some_and(|column| is_null(column, row));
            let order_value = orders.as_ref().map_or(0, |orders| if null_order { 0 } else { orders[row] });
            let state = arena.value(self.table, slot);
            let flags = u64::from_le_bytes(array(&state[flags_at..flags_at + 8]));
            let held = (flags & NULL_ORDER != 0, read_order(state, flags_at + 8, order));
            if flags & PRESENT != 0 && !edge_wins(which, (null_order, order_value).cmp(&held)) {
                return Ok(());
            }
            let null_value = is_null(column, row);
            let mut flags = PRESENT;
            flags |= if null_value { NULL_VALUE } else { 0 };
            flags |= if null_order { NULL_ORDER } else { 0 };
            if kind == ValueKind::Blob {
                let value = if null_value { &[] } else { bytes_at(column, row) };
                replace_blob(arena, self.table, slot, cell.at, value, flags)?;
            }
            let state = arena.value_mut(self.table, slot);
            match kind {
                ValueKind::Word => state[cell.at..cell.at + 8].copy_from_slice(&word_values[row].to_le_bytes()),
                ValueKind::Wide => state[cell.at..cell.at + 16].copy_from_slice(&wide_values[row].to_le_bytes()),
                ValueKind::Blob => {}
            }
            state[flags_at..flags_at + 8].copy_from_slice(&flags.to_le_bytes());
            write_order(state, flags_at + 8, order, order_value);
            Ok(())
        })
    }
}

pub(super) fn wins(which: Extreme, ordering: std::cmp::Ordering) -> bool {
    match which {
        Extreme::Min => ordering.is_lt(),
        Extreme::Max => ordering.is_gt(),
    }
}

/// Of equal ones the first that arrived is first and the last that arrived is last.
pub(super) fn edge_wins(which: Edge, ordering: std::cmp::Ordering) -> bool {
    match which {
        Edge::First => ordering.is_lt(),
        Edge::Last => ordering.is_ge(),
    }
}

pub(super) fn read_order(state: &[u8], at: usize, order: Option<ValueKind>) -> i128 {
    match order {
        Some(ValueKind::Word) => i128::from(i64::from_le_bytes(array(&state[at..at + 8]))),
        Some(_) => i128::from_le_bytes(array(&state[at..at + 16])),
        None => 0,
    }
}

fn write_order(state: &mut [u8], at: usize, order: Option<ValueKind>, value: i128) {
    match order {
        Some(ValueKind::Word) => state[at..at + 8].copy_from_slice(&(value as i64).to_le_bytes()),
        Some(_) => state[at..at + 16].copy_from_slice(&value.to_le_bytes()),
        None => {}
    }
}

#[inline(always)]
fn extreme_word(folder: &mut Folder<'_>, slot: Slot, at: usize, which: Extreme, value: i64) {
    // Reading first keeps a block clean when the value does not win.
    let held = &folder.value(slot)[at..at + 16];
    if held[8] == 0 || wins(which, value.cmp(&i64::from_le_bytes(array(&held[..8])))) {
        let field = folder.field_mut::<16>(slot, at);
        field[..8].copy_from_slice(&value.to_le_bytes());
        field[8] = 1;
    }
}

/// The blob of a cell and whether it has one.
pub(super) fn blob_at(state: &[u8], at: usize) -> (BlobRef, bool) {
    let blob = BlobRef::from_u64(u64::from_le_bytes(array(&state[at..at + 8])));
    (blob, state[at + 8] & PRESENT as u8 != 0)
}

fn replace_blob(
    arena: &mut Arena,
    table: TableId,
    slot: Slot,
    at: usize,
    value: &[u8],
    flags: u64,
) -> Result<(), ArenaError> {
    let (held, _) = blob_at(arena.value(table, slot), at);
    let blob = arena.put_blob(table, value)?;
    arena.free_blob(table, held);
    let state = arena.value_mut(table, slot);
    state[at..at + 8].copy_from_slice(&blob.as_u64().to_le_bytes());
    state[at + 8..at + 16].copy_from_slice(&flags.to_le_bytes());
    Ok(())
}

#[inline(always)]
pub(super) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

#[inline(always)]
pub(super) fn add_i64(field: &mut [u8], value: i64) {
    let sum = i64::from_le_bytes(array(field)).wrapping_add(value);
    field.copy_from_slice(&sum.to_le_bytes());
}

#[inline(always)]
pub(super) fn add_i128(field: &mut [u8], value: i128) {
    let sum = i128::from_le_bytes(array(field)).wrapping_add(value);
    field.copy_from_slice(&sum.to_le_bytes());
}

#[inline(always)]
fn each_row(mask: Option<&BooleanBuffer>, slots: &[Slot], mut fold: impl FnMut(usize, Slot)) {
    match mask {
        None => slots.iter().enumerate().for_each(|(row, slot)| fold(row, *slot)),
        Some(mask) => mask.set_indices().for_each(|row| fold(row, slots[row])),
    }
}

fn try_each_row(
    mask: Option<&BooleanBuffer>,
    slots: &[Slot],
    mut fold: impl FnMut(usize, Slot) -> Result<(), ArenaError>,
) -> Result<(), OperatorError> {
    let counts = |row: &usize| mask.is_none_or(|mask| mask.value(*row));
    for row in (0..slots.len()).filter(counts) {
        fold(row, slots[row])?;
    }
    Ok(())
}

fn without(mask: Option<BooleanBuffer>, failed: &[u32], rows: usize) -> Option<BooleanBuffer> {
    if failed.is_empty() {
        return mask;
    }
    let mut builder = BooleanBufferBuilder::new(rows);
    builder.append_n(rows, true);
    failed.iter().for_each(|row| builder.set_bit(*row as usize, false));
    let kept = builder.finish();
    Some(mask.map_or(kept.clone(), |mask| &mask & &kept))
}
