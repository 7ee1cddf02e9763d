//! GROUP BY without a window: one table of groups; each barrier emits what changed.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::groups::{Groups, Pane};
use crate::data::Batch;
use crate::ids::OperatorId;
use crate::operator::port::{Barrier, Context, Counter, Operator, OperatorError};

/// A global aggregate's row exists in one shard only, before any input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EmptyRow {
    Here,
    NotHere,
}

/// Aggregates over all rows of each group.
pub(super) struct Total {
    groups: Groups,
    pane: Option<Pane>,
    empty_row: EmptyRow,
    output: SchemaRef,
}

impl Total {
    pub(super) fn new(groups: Groups, empty_row: EmptyRow, output: SchemaRef) -> Self {
        Self { groups, pane: None, empty_row, output }
    }
}

impl Operator for Total {
    fn id(&self) -> OperatorId {
        self.groups.id
    }

    fn on_batch(&mut self, _input: usize, batch: Batch, ctx: &mut dyn Context) -> Result<(), OperatorError> {
        let pane = match &mut self.pane {
            Some(pane) => pane,
            none => none.insert(self.groups.open(0, ctx.arena())?),
        };
        let out_of_range = self.groups.fold(pane, &batch, ctx.arena())?;
        if out_of_range > 0 {
            ctx.count(Counter::OutOfRange, out_of_range);
        }
        Ok(())
    }

    fn on_barrier(&mut self, _barrier: Barrier, ctx: &mut dyn Context) -> Result<(), OperatorError> {
        let Some(pane) = self.pane.as_mut().filter(|pane| pane.is_touched()) else { return Ok(()) };
        if let Some(rows) = self.groups.changes(pane, ctx.arena())? {
            let columns = rows.keys.into_iter().chain(rows.results).collect();
            let batch = RecordBatch::try_new(Arc::clone(&self.output), columns)?;
            ctx.emit(Batch::with_weights(batch, rows.weights.into()));
        }
        Ok(())
    }

    fn heap_bytes(&self) -> u64 {
        self.pane.as_ref().map_or(0, Pane::bytes) as u64
    }

    fn restore(&mut self, ctx: &mut dyn Context) -> Result<(), OperatorError> {
        let mut pane = self.groups.open(0, ctx.arena())?;
        if self.empty_row == EmptyRow::Here {
            self.groups.open_global(&mut pane, ctx.arena())?;
        }
        self.pane = Some(pane);
        Ok(())
    }
}
