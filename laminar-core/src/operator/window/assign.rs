//! WindowAssign: appends `window_start`, `window_end`, `window_time` to each row.
//!
//! A row comes out once per window it lies in, the earliest window first. It keeps no state: a row that
//! is late for a window is dropped there and counted.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, SchemaRef};

use super::Grid;
use crate::data::{Batch, EventTime, EventTimes, timestamp_column, unit_micros};
use crate::graph::WindowSpec;
use crate::ids::OperatorId;
use crate::operator::port::{Context, Counter, Operator, OperatorError};

/// Appends window columns.
pub(in crate::operator) struct WindowAssign {
    id: OperatorId,
    grid: Grid,
    time: usize,
    time_type: DataType,
    lateness: i64,
    output: SchemaRef,
}

impl WindowAssign {
    pub(in crate::operator) fn new(
        id: OperatorId,
        window: &WindowSpec,
        lateness: i64,
        output: SchemaRef,
        input: &SchemaRef,
    ) -> Result<Self, OperatorError> {
        let grid = Grid::of(window.kind)
            .ok_or_else(|| OperatorError::defect(format!("a window of {:?} reached the engine", window.kind)))?;
        let time_type = input.field(window.time).data_type().clone();
        timestamp_column(Vec::new(), &time_type)?;
        Ok(Self { id, grid, time: window.time, time_type, lateness, output })
    }

    /// The rows that come out, and the start of each one's window.
    fn assign(&self, batch: &Batch, ctx: &mut dyn Context) -> Result<(UInt32Array, Vec<i64>), OperatorError> {
        let column = batch.rows.column(self.time);
        let times = EventTimes::read(column.as_ref())?;
        let received = ctx.watermark();
        let (mut rows, mut starts) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        let (mut null, mut late) = (0, 0);
        for row in 0..batch.len() {
            let Some(time) = times.get(row) else {
                null += 1;
                continue;
            };
            let watermark = batch.row_watermarks.as_ref().map_or(received, |w| w[row].max(received));
            let first = starts.len();
            for start in self.grid.starts(time) {
                if is_late(&self.grid, start, self.lateness, watermark) {
                    late += 1;
                } else {
                    rows.push(row as u32);
                    starts.push(start);
                }
            }
            starts[first..].reverse();
        }
        for (counter, count) in [(Counter::NullTime, null), (Counter::LateDropped, late)] {
            if count > 0 {
                ctx.count(counter, count);
            }
        }
        Ok((UInt32Array::from(rows), starts))
    }
}

/// Whether a row that meets this watermark comes too late for a window.
pub(super) fn is_late(grid: &Grid, start: i64, lateness: i64, watermark: EventTime) -> bool {
    grid.closes_at(start, lateness) <= watermark
}

impl Operator for WindowAssign {
    fn id(&self) -> OperatorId {
        self.id
    }

    fn on_batch(&mut self, _input: usize, batch: Batch, ctx: &mut dyn Context) -> Result<(), OperatorError> {
        let (rows, starts) = self.assign(&batch, ctx)?;
        if rows.is_empty() {
            return Ok(());
        }
        let is_whole = rows.len() == batch.len() && rows.values().windows(2).all(|pair| pair[0] < pair[1]);
        let mut taken = if is_whole { batch } else { batch.take(&rows)? };
        let ends: Vec<i64> = starts.iter().map(|start| self.grid.end(*start)).collect();
        let unit = unit_micros(&self.time_type);
        let times: Vec<i64> = ends.iter().map(|end| end.saturating_sub(unit)).collect();
        let mut columns = taken.rows.columns().to_vec();
        for micros in [starts, ends, times] {
            columns.push(timestamp_column(micros, &self.time_type)?);
        }
        taken.rows = RecordBatch::try_new(self.output.clone(), columns)?;
        // Those downstream judge by our output watermark, which lies the lateness behind the input's.
        taken.row_watermarks = taken.row_watermarks.map(|w| w.iter().map(|w| w.shifted(-self.lateness)).collect());
        ctx.emit(taken);
        Ok(())
    }

    fn on_watermark(&mut self, watermark: EventTime, _ctx: &mut dyn Context) -> Result<EventTime, OperatorError> {
        Ok(watermark.shifted(-self.lateness))
    }
}
