//! UNION ALL and the output of a stream: pass rows on under the node's own schema.

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;

use super::port::{Context, Operator, OperatorError};
use crate::data::Batch;
use crate::ids::OperatorId;

/// Passes the rows of all inputs on, with the output's column names.
pub(super) struct Pass {
    id: OperatorId,
    output: SchemaRef,
}

impl Pass {
    pub(super) fn new(id: OperatorId, output: SchemaRef) -> Self {
        Self { id, output }
    }
}

impl Operator for Pass {
    fn id(&self) -> OperatorId {
        self.id
    }

    fn on_batch(&mut self, _input: usize, batch: Batch, ctx: &mut dyn Context) -> Result<(), OperatorError> {
        if batch.schema() == self.output {
            ctx.emit(batch);
        } else {
            let options = RecordBatchOptions::new().with_row_count(Some(batch.len()));
            let columns = batch.rows.columns().to_vec();
            ctx.emit(batch.with_rows(RecordBatch::try_new_with_options(self.output.clone(), columns, &options)?));
        }
        Ok(())
    }
}
