//! Filter: keeps the rows for which a BOOLEAN is true.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, SchemaRef};

use super::port::{Context, Counter, Operator, OperatorError};
use super::rows::{Column, evaluate};
use crate::data::Batch;
use crate::expr::{ExprCompiler, ScalarExpr};
use crate::ids::OperatorId;

/// Keeps rows; weights and hidden column stay with their rows.
pub(super) struct Filter {
    id: OperatorId,
    predicate: [Column; 1],
}

impl Filter {
    pub(super) fn new(
        id: OperatorId,
        predicate: &ScalarExpr,
        input: &SchemaRef,
        compiler: &dyn ExprCompiler,
    ) -> Result<Self, OperatorError> {
        Ok(Self { id, predicate: [Column::compile(predicate, input, compiler)?] })
    }
}

impl Operator for Filter {
    fn id(&self) -> OperatorId {
        self.id
    }

    fn on_batch(&mut self, _input: usize, batch: Batch, ctx: &mut dyn Context) -> Result<(), OperatorError> {
        let (batch, columns) = evaluate(&self.predicate, batch, ctx)?;
        if columns[0].data_type() != &DataType::Boolean {
            return Err(OperatorError::defect(format!("a filter's condition is {}", columns[0].data_type())));
        }
        let keep = columns[0].as_boolean();
        let dropped = keep.len() - keep.true_count();
        if dropped > 0 {
            ctx.count(Counter::Filtered, dropped as u64);
        }
        if dropped < batch.len() {
            ctx.emit(batch.filter(keep)?);
        }
        Ok(())
    }
}
