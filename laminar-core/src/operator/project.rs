//! Project: computes columns. Bare columns are shared, not copied.

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;

use super::port::{Context, Operator, OperatorError};
use super::rows::{Column, evaluate};
use crate::data::Batch;
use crate::expr::{ExprCompiler, ScalarExpr};
use crate::ids::OperatorId;

/// Computes columns row for row; a row on which one fails is skipped and counted.
pub(super) struct Project {
    id: OperatorId,
    columns: Vec<Column>,
    output: SchemaRef,
}

impl Project {
    pub(super) fn new(
        id: OperatorId,
        exprs: &[ScalarExpr],
        output: SchemaRef,
        input: &SchemaRef,
        compiler: &dyn ExprCompiler,
    ) -> Result<Self, OperatorError> {
        let columns = exprs
            .iter()
            .map(|expr| Column::compile(expr, input, compiler))
            .collect::<Result<Vec<_>, OperatorError>>()?;
        Ok(Self { id, columns, output })
    }
}

impl Operator for Project {
    fn id(&self) -> OperatorId {
        self.id
    }

    fn on_batch(&mut self, _input: usize, batch: Batch, ctx: &mut dyn Context) -> Result<(), OperatorError> {
        let (batch, columns) = evaluate(&self.columns, batch, ctx)?;
        if !batch.is_empty() {
            let options = RecordBatchOptions::new().with_row_count(Some(batch.len()));
            let rows = RecordBatch::try_new_with_options(self.output.clone(), columns, &options)?;
            ctx.emit(batch.with_rows(rows));
        }
        Ok(())
    }
}
