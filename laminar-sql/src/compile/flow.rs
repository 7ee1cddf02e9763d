//! A relation under compilation: a node, the plan's columns over it, and perhaps a window not yet assigned.
//!
//! A window stays pending as long as possible: an aggregate that groups by it takes it over, so
//! that group form and table form give one operator; anything else assigns it row by row.

use datafusion::logical_expr::Expr;
use laminar_core::data::StreamSchema;
use laminar_core::expr::ScalarExpr;
use laminar_core::graph::{OperatorSpec, WindowSpec};

use arrow::datatypes::{Field, Schema};
use std::sync::Arc;

use super::builder::{Builder, Facts};
use super::expr::Resolve;
use crate::error::SqlError;
use crate::plan::ClauseId;

/// Which bound of the pending window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    /// Inclusive start.
    Start,
    /// Exclusive end.
    End,
    /// The last moment inside, `window_time_of(window_end)`.
    Time,
}

/// One column of the plan.
#[derive(Clone, Debug)]
pub(crate) enum Computed {
    /// An expression over the node's columns.
    Expr(ScalarExpr),
    /// A bound of the pending window.
    Window(Edge),
}

/// A relation under compilation.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub node: usize,
    /// In the order of the plan's schema.
    pub columns: Vec<Computed>,
    pub window: Option<WindowSpec>,
}

impl Resolve for Flow {
    fn column(&self, index: usize) -> Result<ScalarExpr, SqlError> {
        match self.columns.get(index) {
            Some(Computed::Expr(e)) => Ok(e.clone()),
            Some(Computed::Window(_)) => Err(SqlError::internal("a pending window in an expression")),
            None => Err(SqlError::internal(format!("column {index} of {}", self.columns.len()))),
        }
    }
}

impl Flow {
    /// All columns of a node as they are.
    pub fn of(builder: &Builder, node: usize) -> Self {
        let columns = (0..builder.width(node)).map(|i| Computed::Expr(builder.column(node, i))).collect();
        Self { node, columns, window: None }
    }

    /// Whether an expression that is more than a bound of the pending window reads one.
    pub fn window_inside(&self, schema: &datafusion::common::DFSchema, exprs: &[Expr]) -> bool {
        exprs.iter().any(|e| self.edge(schema, e).is_none() && self.reads_window(schema, e))
    }

    /// Which bound of the pending window an expression is, if it is no more than that.
    pub fn edge(&self, schema: &datafusion::common::DFSchema, expr: &Expr) -> Option<Edge> {
        match unaliased(expr) {
            Expr::Column(column) => match self.columns.get(schema.maybe_index_of_column(column)?)? {
                Computed::Window(edge) => Some(*edge),
                Computed::Expr(_) => None,
            },
            Expr::ScalarFunction(call) if call.func.name() == crate::function::WINDOW_TIME_OF => {
                let [Expr::Column(column)] = call.args.as_slice() else { return None };
                let index = schema.maybe_index_of_column(column)?;
                matches!(self.columns.get(index)?, Computed::Window(Edge::End)).then_some(Edge::Time)
            }
            _ => None,
        }
    }

    /// Whether an expression reads a bound of the pending window.
    pub fn reads_window(&self, schema: &datafusion::common::DFSchema, expr: &Expr) -> bool {
        expr.column_refs()
            .into_iter()
            .any(|c| schema.maybe_index_of_column(c).is_some_and(|i| matches!(self.columns[i], Computed::Window(_))))
    }

    /// Whether a column is more than a copy.
    pub fn computes(&self) -> bool {
        self.columns.iter().any(|c| {
            !matches!(c, Computed::Window(_) | Computed::Expr(ScalarExpr::Column { .. } | ScalarExpr::Literal { .. }))
        })
    }

    /// Assigns the pending window row by row.
    pub fn force(self, builder: &mut Builder, lateness: i64) -> Self {
        let Some(window) = self.window else { return self };
        let input = builder.output(self.node).clone();
        let width = input.columns.fields().len();
        let time_type = input.columns.field(window.time).data_type().clone();
        let mut fields: Vec<Field> = input.columns.fields().iter().map(|f| f.as_ref().clone()).collect();
        for name in ["window_start", "window_end", "window_time"] {
            fields.push(Field::new(name, time_type.clone(), false));
        }
        let mut time = input.time.clone();
        time.extend([width, width + 1, width + 2]);
        let facts = &builder.facts[self.node];
        let facts = Facts {
            keys: facts.keys.iter().flat_map(|k| [with(k, width), with(k, width + 1)]).collect(),
            partition: facts.partition.clone(),
            updated_by: facts.updated_by.clone(),
        };
        let output = StreamSchema { columns: Arc::new(Schema::new(fields)), mode: input.mode, key: None, time };
        let node = builder.push(OperatorSpec::WindowAssign { window, lateness }, vec![self.node], output, facts);
        builder.claim(node, &[ClauseId::Window, ClauseId::Lateness]);
        let columns = self
            .columns
            .into_iter()
            .map(|c| match c {
                Computed::Window(Edge::Start) => Computed::Expr(builder.column(node, width)),
                Computed::Window(Edge::End) => Computed::Expr(builder.column(node, width + 1)),
                Computed::Window(Edge::Time) => Computed::Expr(builder.column(node, width + 2)),
                other => other,
            })
            .collect();
        Self { node, columns, window: None }
    }

    /// Makes the node's columns exactly the plan's.
    pub fn settle(self, builder: &mut Builder, names: Vec<Field>, lateness: i64) -> Result<usize, SqlError> {
        let flow = self.force(builder, lateness);
        let exprs = (0..flow.columns.len()).map(|i| flow.column(i)).collect::<Result<Vec<_>, _>>()?;
        Ok(builder.project(flow.node, exprs, super::builder::schema(names)))
    }
}

fn with(key: &[usize], column: usize) -> Vec<usize> {
    let mut key = key.to_vec();
    key.push(column);
    key
}

/// An expression without its names.
pub(crate) fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}
