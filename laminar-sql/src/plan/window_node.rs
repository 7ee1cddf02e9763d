//! The logical node of a window: its input's columns, then start and end of a window the row lies in.
//!
//! A row comes out once per window. Invariant: no rule moves a predicate over the new columns below
//! the node, and the time column is always among the columns it asks of its input.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, TableReference, internal_err, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

/// Name of the column with the inclusive start.
pub(crate) const START: &str = "window_start";
/// Name of the column with the exclusive end.
pub(crate) const END: &str = "window_end";

/// Assigns rows to windows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WindowNode {
    pub input: Arc<LogicalPlan>,
    pub time: Column,
    pub slide: i64,
    pub size: i64,
    pub offset: i64,
    /// Qualifies the new columns; unique in the plan.
    pub qualifier: String,
    pub schema: DFSchemaRef,
}

impl WindowNode {
    pub fn new(input: LogicalPlan, time: Column, lengths: (i64, i64, i64), qualifier: String) -> Result<Self> {
        let schema = input.schema();
        let time_field = datafusion::common::ExprSchema::field_from_column(schema.as_ref(), &time)?;
        let data_type = time_field.data_type().clone();
        let mut fields: Vec<_> = schema.iter().map(|(q, f)| (q.cloned(), f.clone())).collect();
        for name in [START, END] {
            fields.push((
                Some(TableReference::bare(qualifier.clone())),
                Arc::new(Field::new(name, data_type.clone(), false)),
            ));
        }
        let schema = Arc::new(DFSchema::new_with_metadata(fields, schema.metadata().clone())?);
        let (slide, size, offset) = lengths;
        Ok(Self { input: Arc::new(input), time, slide, size, offset, qualifier, schema })
    }

    /// The start or end column.
    pub fn column(&self, name: &str) -> Expr {
        Expr::Column(Column::new(Some(TableReference::bare(self.qualifier.clone())), name))
    }
}

impl PartialOrd for WindowNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.slide, self.size, self.offset, &self.qualifier).partial_cmp(&(
            other.slide,
            other.size,
            other.offset,
            &other.qualifier,
        ))
    }
}

impl UserDefinedLogicalNodeCore for WindowNode {
    fn name(&self) -> &str {
        "WindowAssign"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![Expr::Column(self.time.clone())]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WindowAssign: {} slide={} size={} offset={}", self.time, self.slide, self.size, self.offset)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Some(input) = inputs.pop() else { return internal_err!("WindowAssign needs an input") };
        let time = match exprs.into_iter().next() {
            Some(Expr::Column(column)) => column,
            other => return plan_err!("a window needs a time column, not {other:?}"),
        };
        Self::new(input, time, (self.slide, self.size, self.offset), self.qualifier.clone())
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.input.schema().fields().len();
        let mut needed: Vec<usize> = output_columns.iter().copied().filter(|c| *c < width).collect();
        needed.push(self.input.schema().maybe_index_of_column(&self.time)?);
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}
