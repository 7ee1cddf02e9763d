//! GROUP BY with a tumbling or hopping window.
//!
//! Rows are folded into *panes*, one small table each. A pane is a window; for hopping windows whose
//! results leave once, it is a slice (as long as the gcd of size and slide) and a window is merged from
//! its slices when it closes, so that a row is folded once however many windows it lies in.
//! Invariants: a window whose closing time is at or before `closed_to` has emitted its last; a pane that no
//! open window needs is dropped whole; `closed_to` lies in the arena at every barrier.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, SchemaRef};

use super::fold::array;
use super::groups::{Follow, GroupRows, Groups, Pane};
use super::merged::{Direction, Merged};
use crate::data::{Batch, EventTime, EventTimes, timestamp_column};
use crate::ids::OperatorId;
use crate::operator::port::{Barrier, Context, Counter, Operator, OperatorError};
use crate::operator::window::Grid;
use laminar_storage::arena::{Arena, Slot, TableId, TableKey, TableShape};

/// The part that holds `closed_to`; no pane starts there.
const CLOCK_PART: i64 = i64::MIN;

/// What a pane is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PaneIs {
    Window,
    Slice,
}

/// What a windowed aggregate is made from.
pub(super) struct WindowedParts {
    pub(super) groups: Groups,
    pub(super) follow: Follow,
    pub(super) grid: Grid,
    pub(super) time: usize,
    pub(super) time_type: DataType,
    pub(super) lateness: i64,
    pub(super) output: SchemaRef,
}

/// Aggregates over the rows of each group and window.
pub(super) struct Windowed {
    parts: WindowedParts,
    pane_is: PaneIs,
    /// The grid of panes.
    cell: Grid,
    panes: BTreeMap<i64, Pane>,
    /// The groups of the last window over slices, where they can be taken along to the next.
    sliding: Option<Merged>,
    closed_to: EventTime,
    clock: Option<(TableId, Slot)>,
    /// What panes hold beside the arena since the last barrier, in bytes.
    touched_bytes: usize,
}

/// Rows of a batch by pane.
#[derive(Default)]
struct Routed {
    panes: Vec<(i64, Vec<u32>)>,
    last: usize,
}

impl Routed {
    #[inline]
    fn push(&mut self, start: i64, row: u32) {
        if let Some((pane, rows)) = self.panes.get_mut(self.last)
            && *pane == start
        {
            rows.push(row);
            return;
        }
        self.last = self.panes.iter().position(|(pane, _)| *pane == start).unwrap_or_else(|| {
            self.panes.push((start, Vec::new()));
            self.panes.len() - 1
        });
        self.panes[self.last].1.push(row);
    }
}

/// What the panes of windows are, and where they lie.
pub(super) fn pane_of(grid: Grid, follow: Follow) -> (PaneIs, Grid) {
    let is_sliced = follow == Follow::Nothing && grid.size != grid.slide;
    if is_sliced { (PaneIs::Slice, grid.cell()) } else { (PaneIs::Window, grid) }
}

impl Windowed {
    pub(super) fn new(parts: WindowedParts) -> Self {
        let (pane_is, cell) = pane_of(parts.grid, parts.follow);
        Self {
            parts,
            pane_is,
            cell,
            panes: BTreeMap::new(),
            sliding: None,
            closed_to: EventTime::MIN,
            clock: None,
            touched_bytes: 0,
        }
    }

    fn closes_at(&self, window: i64) -> EventTime {
        self.parts.grid.closes_at(window, self.parts.lateness)
    }

    /// The pane all rows lie in, where that is one and none can be late or without time.
    fn only_pane(&self, batch: &Batch, times: &EventTimes<'_>, received: EventTime) -> Option<i64> {
        if batch.row_watermarks.is_some() || times.nulls.is_some() {
            return None;
        }
        let (least, greatest) = times.bounds()?;
        let start = self.cell.last_start(least);
        let is_one = greatest.0 < self.cell.end(start) && self.cell.size == self.cell.slide;
        let first_window = self.parts.grid.starts(least).last()?;
        (is_one && self.closes_at(first_window) > received).then_some(start)
    }

    /// Sends each row to its panes; folds what came before a row that finds some of its windows closed.
    fn route(&mut self, batch: &Batch, received: EventTime, ctx: &mut dyn Context) -> Result<(), OperatorError> {
        let column = Arc::clone(batch.rows.column(self.parts.time));
        let times = EventTimes::read(column.as_ref())?;
        let mut routed = Routed::default();
        let (mut null, mut late) = (0, 0);
        for row in 0..batch.len() {
            let Some(time) = times.get(row) else {
                null += 1;
                continue;
            };
            let watermark = batch.row_watermarks.as_ref().map_or(received, |w| w[row].max(received));
            match self.pane_is {
                PaneIs::Window => {
                    for start in self.parts.grid.starts(time) {
                        if self.closes_at(start) <= watermark {
                            late += 1;
                        } else {
                            routed.push(start, row as u32);
                        }
                    }
                }
                PaneIs::Slice => {
                    let missed = self.parts.grid.starts(time).filter(|start| self.closes_at(*start) <= watermark);
                    let missed = missed.count() as u64;
                    late += missed;
                    if missed == self.parts.grid.starts(time).count() as u64 {
                        continue;
                    }
                    if missed > 0 && watermark > self.closed_to {
                        // The slice serves open windows too, so those that the row misses must leave first.
                        self.fold_routed(batch, std::mem::take(&mut routed), ctx)?;
                        self.close(watermark, ctx)?;
                    }
                    routed.push(self.cell.last_start(time), row as u32);
                }
            }
        }
        for (counter, rows) in [(Counter::NullTime, null), (Counter::LateDropped, late)] {
            if rows > 0 {
                ctx.count(counter, rows);
            }
        }
        self.fold_routed(batch, routed, ctx)
    }

    fn fold_routed(&mut self, batch: &Batch, routed: Routed, ctx: &mut dyn Context) -> Result<(), OperatorError> {
        for (start, rows) in routed.panes {
            if rows.len() == batch.len() {
                self.fold(start, batch, ctx)?;
            } else {
                self.fold(start, &batch.take(&UInt32Array::from(rows))?, ctx)?;
            }
        }
        Ok(())
    }

    fn fold(&mut self, start: i64, batch: &Batch, ctx: &mut dyn Context) -> Result<(), OperatorError> {
        self.uncover(start, ctx.arena());
        let pane = match self.panes.entry(start) {
            std::collections::btree_map::Entry::Occupied(pane) => pane.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(self.parts.groups.open(start, ctx.arena())?)
            }
        };
        let before = pane.bytes();
        let out_of_range = self.parts.groups.fold(pane, batch, ctx.arena())?;
        self.touched_bytes += pane.bytes() - before;
        if out_of_range > 0 {
            ctx.count(Counter::OutOfRange, out_of_range);
        }
        Ok(())
    }

    /// Emits the last of every window that closes at or before `to`, in the order of windows, and drops panes.
    fn close(&mut self, to: EventTime, ctx: &mut dyn Context) -> Result<(), OperatorError> {
        if to <= self.closed_to {
            return Ok(());
        }
        match self.pane_is {
            PaneIs::Window => {
                while let Some((&start, _)) = self.panes.first_key_value()
                    && self.closes_at(start) <= to
                {
                    let Some((_, pane)) = self.panes.pop_first() else { break };
                    self.emit_last(start, pane, ctx)?;
                }
            }
            PaneIs::Slice => self.close_slices(to, ctx)?,
        }
        self.closed_to = to;
        Ok(())
    }

    fn emit_last(&self, start: i64, mut pane: Pane, ctx: &mut dyn Context) -> Result<(), OperatorError> {
        match self.parts.follow {
            Follow::Changes => self.emit_changes(start, &mut pane, ctx)?,
            Follow::Nothing => {
                let mut batches = Vec::new();
                self.parts.groups.all(&pane, ctx.arena(), |rows| {
                    batches.push(self.batch(start, rows)?);
                    Ok(())
                })?;
                batches.into_iter().for_each(|batch| ctx.emit(batch));
            }
        }
        Ok(ctx.arena().drop_table(pane.table)?)
    }

    fn close_slices(&mut self, to: EventTime, ctx: &mut dyn Context) -> Result<(), OperatorError> {
        let grid = self.parts.grid;
        let mut next = self.panes.keys().next().and_then(|first| self.first_open_window(*first));
        while let Some(start) = next.filter(|start| self.closes_at(*start) <= to) {
            if let Some(rows) = self.window_over_slices(start, ctx) {
                ctx.emit(self.batch(start, rows)?);
            }
            let following = start.saturating_add(grid.slide);
            let pane_ahead = self.panes.range(following..).next().map(|(pane, _)| *pane);
            // Skip the windows between here and the next pane: they hold nothing.
            next = pane_ahead.and_then(|pane| grid.starts(EventTime(pane)).last()).map(|first| first.max(following));
        }
        while let Some((&first, _)) = self.panes.first_key_value()
            && self.closes_at(grid.last_start(EventTime(first))) <= to
        {
            self.uncover(first, ctx.arena());
            let Some((_, pane)) = self.panes.pop_first() else { break };
            ctx.arena().drop_table(pane.table)?;
        }
        Ok(())
    }

    /// The groups of a window, merged from its slices.
    fn window_over_slices(&mut self, start: i64, ctx: &mut dyn Context) -> Option<GroupRows> {
        let window = start..self.parts.grid.end(start);
        self.panes.range(window.clone()).next()?;
        if self.parts.groups.plan.takes_back() {
            let left: Vec<i64> = match &self.sliding {
                Some(sliding) => sliding.covered.range(..start).copied().collect(),
                None => Vec::new(),
            };
            left.into_iter().for_each(|pane| self.uncover(pane, ctx.arena()));
            let plan = &self.parts.groups.plan;
            let sliding = self.sliding.get_or_insert_with(|| Merged::new(plan));
            let mut fits = true;
            for (at, pane) in self.panes.range(window.clone()) {
                if sliding.covered.insert(*at) {
                    fits &= sliding.apply(plan, pane.table, Direction::In, ctx.arena()) == 0;
                }
            }
            if fits {
                return self.parts.groups.merged_rows(sliding, ctx.arena());
            }
            self.sliding = None;
        }
        let panes: Vec<&Pane> = self.panes.range(window).map(|(_, pane)| pane).collect();
        let (rows, out_of_range) = self.parts.groups.merged(&panes, ctx.arena());
        if out_of_range > 0 {
            ctx.count(Counter::OutOfRange, out_of_range);
        }
        rows
    }

    /// Takes a slice back from the groups carried along: it leaves the window, or is about to change.
    fn uncover(&mut self, start: i64, arena: &Arena) {
        let (Some(sliding), Some(pane)) = (&mut self.sliding, self.panes.get(&start)) else { return };
        if sliding.covered.remove(&start)
            && sliding.apply(&self.parts.groups.plan, pane.table, Direction::Out, arena) > 0
        {
            self.sliding = None;
        }
    }

    /// The first window over a slice that has not emitted yet.
    fn first_open_window(&self, slice: i64) -> Option<i64> {
        self.parts.grid.starts(EventTime(slice)).filter(|start| self.closes_at(*start) > self.closed_to).last()
    }

    fn emit_changes(&self, start: i64, pane: &mut Pane, ctx: &mut dyn Context) -> Result<(), OperatorError> {
        if pane.is_touched()
            && let Some(rows) = self.parts.groups.changes(pane, ctx.arena())?
        {
            ctx.emit(self.batch(start, rows)?);
        }
        Ok(())
    }

    fn batch(&self, start: i64, rows: GroupRows) -> Result<Batch, OperatorError> {
        let bound = |micros: i64| timestamp_column(vec![micros; rows.len], &self.parts.time_type);
        let bounds: [ArrayRef; 2] = [bound(start)?, bound(self.parts.grid.end(start))?];
        let columns = rows.keys.into_iter().chain(bounds).chain(rows.results).collect();
        let batch = RecordBatch::try_new(Arc::clone(&self.parts.output), columns)?;
        Ok(match self.parts.follow {
            Follow::Changes => Batch::with_weights(batch, rows.weights.into()),
            Follow::Nothing => Batch::new(batch),
        })
    }
}

impl Operator for Windowed {
    fn id(&self) -> OperatorId {
        self.parts.groups.id
    }

    fn on_batch(&mut self, _input: usize, batch: Batch, ctx: &mut dyn Context) -> Result<(), OperatorError> {
        let received = ctx.watermark().max(self.closed_to);
        let column = Arc::clone(batch.rows.column(self.parts.time));
        match self.only_pane(&batch, &EventTimes::read(column.as_ref())?, received) {
            Some(start) => self.fold(start, &batch, ctx),
            None => self.route(&batch, received, ctx),
        }
    }

    fn on_watermark(&mut self, watermark: EventTime, ctx: &mut dyn Context) -> Result<EventTime, OperatorError> {
        self.close(watermark, ctx)?;
        Ok(watermark.shifted(-self.parts.lateness))
    }

    fn on_barrier(&mut self, _barrier: Barrier, ctx: &mut dyn Context) -> Result<(), OperatorError> {
        if self.parts.follow == Follow::Changes {
            let mut panes = std::mem::take(&mut self.panes);
            let emitted = panes.iter_mut().try_for_each(|(start, pane)| self.emit_changes(*start, pane, ctx));
            self.panes = panes;
            emitted?;
            self.touched_bytes = 0;
        }
        if let Some((table, slot)) = self.clock {
            let now = self.closed_to.0.to_le_bytes();
            if ctx.arena().value(table, slot) != now {
                ctx.arena().value_mut(table, slot).copy_from_slice(&now);
            }
        }
        Ok(())
    }

    fn heap_bytes(&self) -> u64 {
        (self.touched_bytes + self.sliding.as_ref().map_or(0, Merged::bytes)) as u64
    }

    fn restore(&mut self, ctx: &mut dyn Context) -> Result<(), OperatorError> {
        let key = TableKey { operator: self.id(), part: CLOCK_PART };
        let table = ctx.arena().open_table(key, TableShape::fixed(8, 8))?;
        let (slot, is_new) = ctx.arena().upsert(table, 0, &[0; 8])?;
        if is_new {
            ctx.arena().value_mut(table, slot).copy_from_slice(&EventTime::MIN.0.to_le_bytes());
        }
        self.closed_to = EventTime(i64::from_le_bytes(array(ctx.arena().value(table, slot))));
        self.clock = Some((table, slot));
        for (part, _) in ctx.arena().tables(self.id()) {
            if part != CLOCK_PART {
                self.panes.insert(part, self.parts.groups.open(part, ctx.arena())?);
            }
        }
        Ok(())
    }
}
