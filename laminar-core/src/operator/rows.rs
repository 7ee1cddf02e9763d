//! Expressions over batches in which some rows may fail.
//!
//! Invariant: a row on which any expression fails leaves the batch whole and is counted; the others
//! come out as if it had never been there.

use std::ops::Range;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;

use super::port::{Context, Counter, OperatorError};
use crate::data::Batch;
use crate::expr::{EvalError, Evaluate, ExprCompiler, ScalarExpr};

/// One compiled expression; a bare column is not computed.
pub(crate) enum Column {
    Input(usize),
    Computed(Box<dyn Evaluate>),
}

impl Column {
    /// Compiles an expression for inputs of a schema.
    pub(crate) fn compile(
        expr: &ScalarExpr,
        input: &SchemaRef,
        compiler: &dyn ExprCompiler,
    ) -> Result<Self, OperatorError> {
        match expr {
            ScalarExpr::Column { index, .. } if *index < input.fields().len() => Ok(Self::Input(*index)),
            other => Ok(Self::Computed(compiler.compile(other, input)?)),
        }
    }

    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, EvalError> {
        match self {
            Self::Input(index) => Ok(rows.column(*index).clone()),
            Self::Computed(expr) => expr.evaluate(rows),
        }
    }
}

/// Evaluates all columns over the rows on which all succeed; returns those rows (the input itself when that is all) and the columns.
pub(crate) fn evaluate(
    columns: &[Column],
    batch: Batch,
    ctx: &mut dyn Context,
) -> Result<(Batch, Vec<ArrayRef>), OperatorError> {
    let each = |rows: &RecordBatch| columns.iter().map(|c| c.evaluate(rows)).collect::<Result<Vec<_>, _>>();
    if let Ok(arrays) = each(&batch.rows) {
        return Ok((batch, arrays));
    }
    let mut good = Vec::new();
    find_good(&|rows| each(rows).is_ok(), &batch.rows, 0..batch.len(), &mut good);
    let mut keep = vec![false; batch.len()];
    for range in good {
        keep[range].fill(true);
    }
    let keep = BooleanArray::from(keep);
    ctx.count(Counter::EvaluationFailed, (batch.len() - keep.true_count()) as u64);
    let batch = batch.filter(&keep)?;
    let arrays = each(&batch.rows)
        .map_err(|error| OperatorError::defect(format!("rows that evaluated alone fail together: {error}")))?;
    Ok((batch, arrays))
}

/// Halves until each range evaluates or is one failing row.
fn find_good(
    succeeds: &dyn Fn(&RecordBatch) -> bool,
    rows: &RecordBatch,
    range: Range<usize>,
    good: &mut Vec<Range<usize>>,
) {
    if range.is_empty() {
        return;
    }
    if succeeds(&rows.slice(range.start, range.len())) {
        good.push(range);
    } else if range.len() > 1 {
        let middle = range.start + range.len() / 2;
        find_good(succeeds, rows, range.start..middle, good);
        find_good(succeeds, rows, middle..range.end, good);
    }
}
