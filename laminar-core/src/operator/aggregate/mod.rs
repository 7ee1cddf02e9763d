//! Aggregates: groups with native accumulators, with and without windows.
//!
//! `plan` lays out a group's state, `fold` brings rows into it, `states` turns states into columns,
//! `merged` joins panes, `groups` keeps the table of one pane and the changes of an epoch, `total` and `windowed` are the operators.

mod fold;
mod groups;
mod layout;
mod merged;
mod plan;
mod states;
#[cfg(test)]
mod tests;
mod total;
mod value;
mod windowed;

use super::build::Place;
use super::port::{Operator, OperatorError};
use super::window::Grid;
use crate::aggregate::AggregateSpec;
use crate::data::{ChangeMode, KeyEncoder, StreamSchema, timestamp_column};
use crate::graph::{EmitMode, NodeSpec, WindowKind, WindowSpec};
use groups::{Follow, Groups};
pub(super) use layout::layout;
use plan::{Plan, RowCount};
use total::{EmptyRow, Total};
use windowed::{Windowed, WindowedParts};

/// What a spec says of an aggregate.
pub(super) struct AggregateParts<'a> {
    pub(super) keys: &'a [usize],
    pub(super) window: Option<&'a WindowSpec>,
    pub(super) aggregates: &'a [AggregateSpec],
    pub(super) emit: EmitMode,
    pub(super) lateness: i64,
}

/// Whether changes are followed, how keys are written, and how states lie.
fn planned(parts: &AggregateParts<'_>, input: &StreamSchema) -> Result<(Follow, KeyEncoder, Plan), OperatorError> {
    let is_changelog = input.mode == ChangeMode::Changelog;
    let follow = if parts.emit == EmitMode::Changes { Follow::Changes } else { Follow::Nothing };
    let is_hop = matches!(parts.window.map(|window| window.kind), Some(WindowKind::Hop { .. }));
    // A sliding window must know when a group has left it.
    let must_count = is_changelog || follow == Follow::Changes || is_hop;
    let rows = if must_count { RowCount::Kept } else { RowCount::NotKept };
    let plan = Plan::new(&ordered(parts, input), &input.columns, rows)?;
    if is_changelog && !plan.retracts() {
        return Err(OperatorError::defect("min, max, first or last over a changelog reached the engine"));
    }
    Ok((follow, KeyEncoder::new(&input.columns, parts.keys)?, plan))
}

/// Builds the operator of a GROUP BY.
pub(super) fn build(
    node: &NodeSpec,
    parts: &AggregateParts<'_>,
    input: &StreamSchema,
    place: Place,
) -> Result<Box<dyn Operator>, OperatorError> {
    let (follow, encoder, plan) = planned(parts, input)?;
    let is_global = parts.window.is_none() && parts.keys.is_empty();
    let groups = Groups::new(node.id, encoder, plan, follow, is_global);
    let output = node.output.columns.clone();
    let Some(window) = parts.window else {
        if follow == Follow::Nothing {
            return Err(OperatorError::defect("EMIT ON WINDOW CLOSE without a window reached the engine"));
        }
        let empty_row = if is_global && place.is_home() { EmptyRow::Here } else { EmptyRow::NotHere };
        return Ok(Box::new(Total::new(groups, empty_row, output)));
    };
    let grid = Grid::of(window.kind)
        .ok_or_else(|| OperatorError::defect(format!("a window of {:?} reached the engine", window.kind)))?;
    let time_type = input.columns.field(window.time).data_type().clone();
    timestamp_column(Vec::new(), &time_type)?;
    let (time, lateness) = (window.time, parts.lateness);
    Ok(Box::new(Windowed::new(WindowedParts { groups, follow, grid, time, time_type, lateness, output })))
}

/// first and last without ORDER BY go by the time attribute, if there is one.
fn ordered(parts: &AggregateParts<'_>, input: &StreamSchema) -> Vec<AggregateSpec> {
    let default = parts.window.map(|window| window.time).or(input.time.first().copied());
    let with_order = |spec: &AggregateSpec| AggregateSpec { order: spec.order.or(default), ..spec.clone() };
    parts.aggregates.iter().map(with_order).collect()
}
