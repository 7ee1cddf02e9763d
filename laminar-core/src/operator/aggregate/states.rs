//! States of groups copied side by side: merged across slices, and turned into result columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Float64Array, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, i256};

use super::fold::{DECIMAL_LIMIT, add_i64, add_i128, array, blob_at, edge_wins, read_order, wins};
use super::plan::{Cell, CellKind, Finish, NULL_ORDER, NULL_VALUE, Outcome, PRESENT, Plan};
use super::value::{ValueKind, column_of_blobs, column_of_wides, column_of_words};
use laminar_storage::arena::Arena;

/// States side by side. Blobs stay in the arena and must live as long.
#[derive(Clone, Debug, Default)]
pub(super) struct States {
    bytes: Vec<u8>,
    width: usize,
    len: usize,
}

impl States {
    pub(super) fn new(plan: &Plan) -> Self {
        Self { bytes: Vec::new(), width: plan.width, len: 0 }
    }

    pub(super) fn push(&mut self, state: &[u8]) {
        self.bytes.extend_from_slice(state);
        self.len += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn byte_size(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn get(&self, at: usize) -> &[u8] {
        &self.bytes[at * self.width..(at + 1) * self.width]
    }

    fn get_mut(&mut self, at: usize) -> &mut [u8] {
        &mut self.bytes[at * self.width..(at + 1) * self.width]
    }

    fn i64_at(&self, row: usize, at: usize) -> i64 {
        i64::from_le_bytes(array(&self.get(row)[at..at + 8]))
    }

    fn i128_at(&self, row: usize, at: usize) -> i128 {
        i128::from_le_bytes(array(&self.get(row)[at..at + 16]))
    }

    /// Merges a later slice's state of the same group into one here; false when a decimal sum would leave its range.
    pub(super) fn merge(&mut self, plan: &Plan, at: usize, later: &[u8], arena: &Arena) -> bool {
        let state = self.get_mut(at);
        let outside = plan.cells.iter().filter(|cell| !merge_cell(cell, state, later, arena));
        outside.count() == 0
    }

    /// Takes a state that was merged into one here back out of it; only for cells that allow it
    /// ([`Plan::takes_back`]). False when a decimal sum would leave its range.
    pub(super) fn take_back(&mut self, plan: &Plan, at: usize, earlier: &[u8]) -> bool {
        let state = self.get_mut(at);
        let outside = plan.cells.iter().filter(|cell| !take_back_cell(cell, state, earlier));
        outside.count() == 0
    }

    /// The number of rows in a group by weight; 1 where it is not kept, for then every group has some.
    pub(super) fn rows(&self, plan: &Plan, at: usize) -> i64 {
        plan.rows.map_or(1, |cell| self.i64_at(at, cell))
    }

    /// The result columns, in the order of the aggregates.
    pub(super) fn finish(&self, plan: &Plan, arena: &Arena) -> Vec<ArrayRef> {
        plan.results.iter().map(|result| self.finish_one(result, arena)).collect()
    }

    fn nulls(&self, is_null: impl Fn(usize) -> bool) -> Option<NullBuffer> {
        let nulls: NullBuffer = (0..self.len).map(|row| !is_null(row)).collect();
        (nulls.null_count() > 0).then_some(nulls)
    }

    fn finish_one(&self, result: &Finish, arena: &Arena) -> ArrayRef {
        let rows = 0..self.len;
        match result.outcome {
            Outcome::Count { count } => {
                let values: Vec<i64> = rows.map(|row| self.i64_at(row, count)).collect();
                Arc::new(Int64Array::from(values))
            }
            Outcome::Sum { sum, kind: CellKind::SumFloat, count } => {
                let nulls = count.and_then(|count| self.nulls(|row| self.i64_at(row, count) == 0));
                let sums: Vec<f64> = rows.map(|row| f64::from_bits(self.i64_at(row, sum) as u64)).collect();
                Arc::new(Float64Array::new(sums.into(), nulls))
            }
            Outcome::Sum { sum, count, .. } => {
                let nulls = count.and_then(|count| self.nulls(|row| self.i64_at(row, count) == 0));
                let sums: Vec<i128> = rows.map(|row| self.i128_at(row, sum)).collect();
                Arc::new(Decimal128Array::new(sums.into(), nulls).with_data_type(result.returns.clone()))
            }
            Outcome::Avg { sum, kind, count, scale } => self.average((sum, kind, scale), count, &result.returns),
            Outcome::Value { at, kind } => self.value(at, kind, &result.returns, arena),
        }
    }

    fn average(&self, (sum, kind, scale): (usize, CellKind, i8), count: usize, returns: &DataType) -> ArrayRef {
        let rows = 0..self.len;
        let nulls = self.nulls(|row| self.i64_at(row, count) == 0);
        if let (CellKind::SumDecimal, DataType::Decimal128(_, to)) = (kind, returns) {
            let averages: Vec<i128> = rows
                .map(|row| {
                    decimal_average(self.i128_at(row, sum), self.i64_at(row, count), i32::from(*to) - i32::from(scale))
                })
                .collect();
            return Arc::new(Decimal128Array::new(averages.into(), nulls).with_data_type(returns.clone()));
        }
        let averages: Vec<f64> = rows
            .map(|row| {
                let total = match kind {
                    CellKind::SumFloat => f64::from_bits(self.i64_at(row, sum) as u64),
                    CellKind::SumDecimal => self.i128_at(row, sum) as f64 / 10_f64.powi(scale.into()),
                    _ => self.i128_at(row, sum) as f64,
                };
                total / self.i64_at(row, count) as f64
            })
            .collect();
        Arc::new(Float64Array::new(averages.into(), nulls))
    }

    fn value(&self, at: usize, kind: CellKind, returns: &DataType, arena: &Arena) -> ArrayRef {
        let value = match kind {
            CellKind::Extreme(_, value) | CellKind::Edge(_, value, _) => value,
            _ => unreachable!("sums and counts have outcomes of their own"),
        };
        let is_null = |row: usize| {
            let flags = self.get(row)[at + value.width()];
            u64::from(flags) & PRESENT == 0 || u64::from(flags) & NULL_VALUE != 0
        };
        match value {
            ValueKind::Word => {
                let words: Vec<i64> = (0..self.len).map(|row| self.i64_at(row, at)).collect();
                column_of_words(returns, &words, self.nulls(is_null))
            }
            ValueKind::Wide => {
                let wides = (0..self.len).map(|row| self.i128_at(row, at)).collect();
                column_of_wides(returns, wides, self.nulls(is_null))
            }
            ValueKind::Blob => {
                let blob = |row: usize| (!is_null(row)).then(|| arena.blob(blob_at(self.get(row), at).0));
                column_of_blobs(returns, (0..self.len).map(blob))
            }
        }
    }
}

/// sum / count with `more` further digits after the point, rounded half away from zero as PostgreSQL does.
fn decimal_average(sum: i128, count: i64, more: i32) -> i128 {
    if count == 0 {
        return 0;
    }
    let count = i256::from_i128(i128::from(count));
    let scaled = i256::from_i128(sum).wrapping_mul(i256::from_i128(10_i128.pow(more.clamp(0, 38) as u32)));
    let (quotient, rest) = (scaled.wrapping_div(count), scaled.wrapping_rem(count));
    let twice = rest.wrapping_abs().wrapping_add(rest.wrapping_abs());
    let away = if twice < count.wrapping_abs() {
        i256::ZERO
    } else if (sum < 0) == (count < i256::ZERO) {
        i256::ONE
    } else {
        i256::MINUS_ONE
    };
    // An average lies between the values, whose type has room for the further digits.
    quotient.wrapping_add(away).to_i128().unwrap_or(if sum < 0 { -DECIMAL_LIMIT } else { DECIMAL_LIMIT })
}

fn merge_cell(cell: &Cell, state: &mut [u8], later: &[u8], arena: &Arena) -> bool {
    let at = cell.at;
    match cell.kind {
        CellKind::Count => add_i64(&mut state[at..at + 8], i64::from_le_bytes(array(&later[at..at + 8]))),
        CellKind::SumInteger => add_i128(&mut state[at..at + 16], i128::from_le_bytes(array(&later[at..at + 16]))),
        CellKind::SumDecimal => {
            let held = i128::from_le_bytes(array(&state[at..at + 16]));
            let sum = held.checked_add(i128::from_le_bytes(array(&later[at..at + 16])));
            match sum.filter(|sum| sum.abs() <= DECIMAL_LIMIT) {
                Some(sum) => state[at..at + 16].copy_from_slice(&sum.to_le_bytes()),
                None => return false,
            }
        }
        CellKind::SumFloat => {
            let sum = f64::from_le_bytes(array(&state[at..at + 8])) + f64::from_le_bytes(array(&later[at..at + 8]));
            state[at..at + 8].copy_from_slice(&sum.to_le_bytes());
        }
        CellKind::Extreme(which, value) => {
            let flag = at + value.width();
            if later[flag] != 0
                && (state[flag] == 0 || wins(which, compare_values(value, &later[at..flag], &state[at..flag], arena)))
            {
                state[at..flag + 8].copy_from_slice(&later[at..flag + 8]);
            }
        }
        CellKind::Edge(which, value, order) => {
            let flag = at + value.width();
            let end = flag + 8 + order.map_or(0, ValueKind::width);
            let rank = |state: &[u8]| (u64::from(state[flag]) & NULL_ORDER != 0, read_order(state, flag + 8, order));
            if later[flag] != 0 && (state[flag] == 0 || edge_wins(which, rank(later).cmp(&rank(state)))) {
                state[at..end].copy_from_slice(&later[at..end]);
            }
        }
    }
    true
}

fn take_back_cell(cell: &Cell, state: &mut [u8], earlier: &[u8]) -> bool {
    let at = cell.at;
    match cell.kind {
        CellKind::Count => {
            let held = i64::from_le_bytes(array(&earlier[at..at + 8]));
            add_i64(&mut state[at..at + 8], held.wrapping_neg());
        }
        _ => {
            let held = i128::from_le_bytes(array(&earlier[at..at + 16]));
            let left = i128::from_le_bytes(array(&state[at..at + 16])).wrapping_sub(held);
            if cell.kind == CellKind::SumDecimal && left.abs() > DECIMAL_LIMIT {
                return false;
            }
            state[at..at + 16].copy_from_slice(&left.to_le_bytes());
        }
    }
    true
}

fn compare_values(kind: ValueKind, a: &[u8], b: &[u8], arena: &Arena) -> std::cmp::Ordering {
    match kind {
        ValueKind::Word => i64::from_le_bytes(array(a)).cmp(&i64::from_le_bytes(array(b))),
        ValueKind::Wide => i128::from_le_bytes(array(a)).cmp(&i128::from_le_bytes(array(b))),
        ValueKind::Blob => {
            let blob = |bytes: &[u8]| laminar_storage::arena::BlobRef::from_u64(u64::from_le_bytes(array(bytes)));
            arena.blob(blob(a)).cmp(arena.blob(blob(b)))
        }
    }
}
