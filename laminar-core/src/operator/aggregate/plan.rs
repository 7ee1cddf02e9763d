//! The layout of a group's state: which cells the aggregates need, and where each lies.
//!
//! Cells that several aggregates need (a sum, a count of the same argument) are kept once.
//! Invariant: a state is a fixed number of bytes, all zero for a group that has seen nothing; the layout
//! follows from the spec alone, so a restart finds what it left.

use arrow::datatypes::{DataType, Schema};

use super::value::ValueKind;
use crate::aggregate::{AggregateFunction, AggregateSpec};
use crate::operator::port::OperatorError;

/// Smaller or greater wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extreme {
    Min,
    Max,
}

/// First or last wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    First,
    Last,
}

/// What a cell holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CellKind {
    /// i64: rows by weight.
    Count,
    /// i128, of integers: 2^64 rows cannot leave DECIMAL(38).
    SumInteger,
    /// i128, unscaled decimals, kept within DECIMAL(38).
    SumDecimal,
    /// f64.
    SumFloat,
    /// A value and a flag (u64, 0 = none yet).
    Extreme(Extreme, ValueKind),
    /// A value, flags (u64) and, if ordered, the order's value.
    Edge(Edge, ValueKind, Option<ValueKind>),
}

impl CellKind {
    fn width(self) -> usize {
        match self {
            Self::Count | Self::SumFloat => 8,
            Self::SumInteger | Self::SumDecimal => 16,
            Self::Extreme(_, value) => value.width() + 8,
            Self::Edge(_, value, order) => value.width() + 8 + order.map_or(0, ValueKind::width),
        }
    }
}

/// Flags of an [`CellKind::Edge`].
pub(super) const PRESENT: u64 = 1;
/// The value is NULL.
pub(super) const NULL_VALUE: u64 = 2;
/// The order's value is NULL, which sorts behind all others.
pub(super) const NULL_ORDER: u64 = 4;

/// One cell of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) kind: CellKind,
    /// Input column; none counts rows.
    pub(super) argument: Option<usize>,
    /// BOOLEAN input column.
    pub(super) filter: Option<usize>,
    /// Input column that orders first and last.
    pub(super) order: Option<usize>,
    /// Offset in the state.
    pub(super) at: usize,
}

/// How an aggregate's result comes out of a state. Numbers are offsets in the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Count { count: usize },
    Sum { sum: usize, kind: CellKind, count: Option<usize> },
    Avg { sum: usize, kind: CellKind, count: usize, scale: i8 },
    Value { at: usize, kind: CellKind },
}

/// One result column.
#[derive(Clone, Debug)]
pub(super) struct Finish {
    pub(super) outcome: Outcome,
    pub(super) returns: DataType,
}

/// Cells and results of one aggregate operator.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub(super) cells: Vec<Cell>,
    pub(super) results: Vec<Finish>,
    /// Offset of the number of rows in the group by weight, where it is kept.
    pub(super) rows: Option<usize>,
    /// Bytes of a state.
    pub(super) width: usize,
}

/// Whether a state must know how many rows its group has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowCount {
    Kept,
    NotKept,
}

impl Plan {
    /// Lays out the aggregates over inputs of a schema.
    pub(super) fn new(aggregates: &[AggregateSpec], input: &Schema, rows: RowCount) -> Result<Self, OperatorError> {
        let mut plan = Self::default();
        if rows == RowCount::Kept {
            plan.rows = Some(plan.cell(CellKind::Count, None, None, None));
        }
        for aggregate in aggregates {
            let outcome = plan.lay_out(aggregate, input)?;
            plan.results.push(Finish { outcome, returns: aggregate.returns.clone() });
        }
        Ok(plan)
    }

    fn lay_out(&mut self, spec: &AggregateSpec, input: &Schema) -> Result<Outcome, OperatorError> {
        let argument = spec.argument.map(|at| input.field(at));
        let Some(argument) = argument else {
            if spec.function != AggregateFunction::Count {
                return Err(OperatorError::defect(format!("{spec} has no argument")));
            }
            return Ok(Outcome::Count { count: self.cell(CellKind::Count, None, spec.filter, None) });
        };
        let data_type = argument.data_type();
        let refused = || {
            let name = spec.function.name();
            OperatorError::new(
                "LDB-3204",
                format!("{name}({data_type}) is not built; cast the argument to a number or text"),
            )
        };
        // Without NULLs every row counts, and the count of rows serves.
        let counted = spec.argument.filter(|_| argument.is_nullable());
        Ok(match spec.function {
            AggregateFunction::Count => {
                Outcome::Count { count: self.cell(CellKind::Count, counted, spec.filter, None) }
            }
            AggregateFunction::Sum | AggregateFunction::Avg => {
                let (kind, scale) = sum_kind(data_type).ok_or_else(refused)?;
                let sum = self.cell(kind, spec.argument, spec.filter, None);
                let must_count = spec.function == AggregateFunction::Avg
                    || self.rows.is_some()
                    || counted.is_some()
                    || spec.filter.is_some();
                let count = must_count.then(|| self.cell(CellKind::Count, counted, spec.filter, None));
                match (spec.function, count) {
                    (AggregateFunction::Avg, Some(count)) => Outcome::Avg { sum, kind, count, scale },
                    (_, count) => Outcome::Sum { sum, kind, count },
                }
            }
            AggregateFunction::Min | AggregateFunction::Max => {
                let value =
                    ValueKind::of(data_type).filter(|_| ValueKind::is_ordered(data_type)).ok_or_else(refused)?;
                let which = if spec.function == AggregateFunction::Min { Extreme::Min } else { Extreme::Max };
                let kind = CellKind::Extreme(which, value);
                Outcome::Value { at: self.cell(kind, spec.argument, spec.filter, None), kind }
            }
            AggregateFunction::First | AggregateFunction::Last => {
                let value = ValueKind::of(data_type).ok_or_else(refused)?;
                let which = if spec.function == AggregateFunction::First { Edge::First } else { Edge::Last };
                let order = spec.order.map(|at| order_kind(spec, input.field(at).data_type())).transpose()?;
                let kind = CellKind::Edge(which, value, order);
                Outcome::Value { at: self.cell(kind, spec.argument, spec.filter, spec.order), kind }
            }
        })
    }

    /// The offset of a cell; one that is there already is shared.
    fn cell(&mut self, kind: CellKind, argument: Option<usize>, filter: Option<usize>, order: Option<usize>) -> usize {
        let same = |cell: &&Cell| {
            cell.kind == kind && cell.argument == argument && cell.filter == filter && cell.order == order
        };
        if let Some(cell) = self.cells.iter().find(same) {
            return cell.at;
        }
        let at = self.width;
        self.cells.push(Cell { kind, argument, filter, order, at });
        self.width += kind.width();
        at
    }

    /// Whether a merged state can be taken back exactly, and groups that become empty are known.
    pub(super) fn takes_back(&self) -> bool {
        let exact = |cell: &Cell| matches!(cell.kind, CellKind::Count | CellKind::SumInteger | CellKind::SumDecimal);
        self.rows.is_some() && self.cells.iter().all(exact)
    }

    /// Whether all cells can take rows back.
    pub(super) fn retracts(&self) -> bool {
        self.cells.iter().all(|cell| !matches!(cell.kind, CellKind::Extreme(..) | CellKind::Edge(..)))
    }
}

/// How sums of a type are kept, and the scale of its values.
fn sum_kind(data_type: &DataType) -> Option<(CellKind, i8)> {
    Some(match data_type {
        DataType::Float32 | DataType::Float64 => (CellKind::SumFloat, 0),
        DataType::Decimal128(_, scale) => (CellKind::SumDecimal, *scale),
        integer if integer.is_integer() => (CellKind::SumInteger, 0),
        _ => return None,
    })
}

fn order_kind(spec: &AggregateSpec, data_type: &DataType) -> Result<ValueKind, OperatorError> {
    match ValueKind::of(data_type).filter(|_| ValueKind::is_ordered(data_type)) {
        Some(kind @ (ValueKind::Word | ValueKind::Wide)) => Ok(kind),
        _ => Err(OperatorError::new(
            "LDB-3205",
            format!("{}(… ORDER BY {data_type}) is not built; order by a number or a timestamp", spec.function.name()),
        )),
    }
}
