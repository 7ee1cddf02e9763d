//! Reads one split: makes the rows that are due.
//!
//! Invariant: the position is the number of the next row; pacing decides when a row comes, never which.

use std::sync::Arc;

use laminar_connector_kit::ConnectorError;
use laminar_core::connector::{Budget, Ingest, Polled, Position, SplitReader};

use crate::columns::Columns;
use crate::rows::Rows;

/// Rows of one batch: what fits the second-level cache.
const BATCH_ROWS: usize = 8192;
/// Rough size of a row for the byte budget.
const ROW_BYTES: usize = 64;
/// Shortest pause between two polls of a paced reader: above 1000 rows/s rows come in small batches.
const SHORTEST_PAUSE_US: i64 = 1000;

/// One split.
pub struct GeneratorReader {
    rows: Arc<Rows>,
    columns: Arc<Columns>,
    split: u64,
    next: u64,
    end: Option<u64>,
    /// Rows per second of this split; none = unpaced.
    rate: Option<f64>,
    /// The moment and the row that pacing counts from: those of the first poll.
    origin: Option<(i64, u64)>,
    due_us: Option<i64>,
}

impl GeneratorReader {
    /// A reader from row `next` on; `rate` is the split's own.
    pub fn new(rows: Arc<Rows>, columns: Arc<Columns>, split: u64, next: u64, rate: Option<f64>) -> Self {
        let end = rows.rows_of(split);
        Self { rows, columns, split, next, end, rate, origin: None, due_us: None }
    }

    /// How many rows may be made at `now_us`.
    fn allowed(&mut self, now_us: i64) -> u64 {
        let Some(rate) = self.rate else { return u64::MAX };
        let (since, first) = *self.origin.get_or_insert((now_us, self.next));
        let elapsed_us = now_us.saturating_sub(since).max(0);
        // The first row is due at once.
        let due = (elapsed_us as f64 * rate / 1e6) as u64 + 1;
        let allowed = (first + due).saturating_sub(self.next);
        let next_row_us = since + ((self.next + allowed - first) as f64 * 1e6 / rate).ceil() as i64;
        self.due_us = Some(next_row_us.max(now_us + SHORTEST_PAUSE_US));
        allowed
    }
}

impl SplitReader for GeneratorReader {
    fn poll(&mut self, budget: Budget, into: &mut dyn Ingest) -> Result<Polled, ConnectorError> {
        let left = self.end.map_or(u64::MAX, |end| end.saturating_sub(self.next));
        if left == 0 {
            return Ok(Polled::End);
        }
        let allowed = self.allowed(budget.now_us);
        let room = budget.records.min(BATCH_ROWS).min((budget.bytes / ROW_BYTES).max(1));
        let count = left.min(allowed).min(room as u64);
        if count == 0 {
            return Ok(Polled::Pending { caught_up: true });
        }
        let batch = self.columns.build(&self.rows, self.split, self.next, count as usize)?;
        into.rows(batch, self.next);
        self.next += count;
        Ok(if count == left { Polled::End } else { Polled::Ready })
    }

    fn position(&self) -> Position {
        Position::from_offset(self.next)
    }

    fn due_us(&self) -> Option<i64> {
        self.due_us
    }

    fn lag(&self) -> Option<u64> {
        self.end.map(|end| end.saturating_sub(self.next))
    }
}
