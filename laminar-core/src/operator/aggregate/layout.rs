//! What an aggregate keeps, described from the plan that its operator runs.

use arrow::datatypes::{DataType, Field, Schema};

use super::plan::{Cell, CellKind, Edge, Extreme};
use super::windowed::pane_of;
use super::{AggregateParts, planned};
use crate::data::StreamSchema;
use crate::operator::layout::{Kept, fields};
use crate::operator::port::OperatorError;
use crate::operator::window::Grid;

/// What the operator of a GROUP BY keeps.
pub(in crate::operator) fn layout(parts: &AggregateParts<'_>, input: &StreamSchema) -> Result<Kept, OperatorError> {
    let (follow, encoder, plan) = planned(parts, input)?;
    let windows = parts.window.and_then(|window| Grid::of(window.kind)).map(|grid| pane_of(grid, follow).1);
    Ok(Kept {
        keeps: if windows.is_some() { "groups of windows".into() } else { "groups".into() },
        key: fields(&input.columns, parts.keys),
        values: plan.cells.iter().map(|cell| cell.described(&input.columns)).collect(),
        windows: windows
            .map(|cell| format!("{} us long, {} us apart, shifted by {} us", cell.size, cell.slide, cell.offset)),
        shape: super::groups::shape(&encoder, &plan),
    })
}

impl Cell {
    /// Its name says what it is of what, its type is that of what it holds.
    fn described(&self, input: &Schema) -> Field {
        let what = match self.kind {
            CellKind::Count => "count",
            CellKind::SumInteger => "integer sum",
            CellKind::SumDecimal => "decimal sum",
            CellKind::SumFloat => "float sum",
            CellKind::Extreme(Extreme::Min, _) => "min",
            CellKind::Extreme(Extreme::Max, _) => "max",
            CellKind::Edge(Edge::First, ..) => "first",
            CellKind::Edge(Edge::Last, ..) => "last",
        };
        let name = |column: usize| input.field(column).name().as_str();
        let of = self.argument.map_or("*", name);
        let order = self.order.map(|column| format!(" by {}", name(column))).unwrap_or_default();
        let filter = self.filter.map(|column| format!(" where {}", name(column))).unwrap_or_default();
        let argument = self.argument.map(|column| input.field(column).data_type().clone());
        let data_type = match self.kind {
            CellKind::Count => DataType::Int64,
            _ => argument.unwrap_or(DataType::Null),
        };
        Field::new(format!("{what}({of}{order}){filter}"), data_type, self.kind != CellKind::Count)
    }
}
