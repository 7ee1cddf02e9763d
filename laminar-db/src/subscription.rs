//! A subscription: an engine's changes as rows for one client.
//!
//! Invariant: the engine never waits for a client; a client that falls behind its bounded queue is
//! cut off with the epoch from which it can go on.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::StreamExt;
use laminar_core::data::Batch;
use laminar_core::engine::{EpochChanges, Offer, Subscriber};
use laminar_core::expr::Evaluate;
use tokio::sync::mpsc;

use crate::error::DbError;
use crate::response::RowStream;

/// Epochs that wait for a slow client before it is cut off.
const QUEUE_EPOCHS: usize = 1024;

type Item = Result<RecordBatch, DbError>;

/// What a client wants of the changes.
pub struct Selection {
    /// Columns of the object, in the order wanted.
    pub columns: Vec<usize>,
    /// Only rows for which it is true.
    pub filter: Option<Box<dyn Evaluate>>,
    /// Whether an empty epoch is told by a row without weight.
    pub progress: Progress,
}

/// Whether a client wants to hear of epochs without changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Only changes.
    Silent,
    /// A row with NULL weight at the end of each epoch.
    EachEpoch,
}

/// The columns of a subscription to an object: `laminar_epoch`, `laminar_weight`, then the selected ones.
pub fn subscription_schema(object: &SchemaRef, columns: &[usize]) -> SchemaRef {
    let mut fields = vec![
        Arc::new(Field::new("laminar_epoch", DataType::Int64, false)),
        Arc::new(Field::new("laminar_weight", DataType::Int64, true)),
    ];
    fields.extend(columns.iter().map(|i| Arc::new(object.field(*i).clone().with_nullable(true))));
    Arc::new(Schema::new(fields))
}

/// Both ends of a subscription's queue.
pub fn channel(object: &SchemaRef, selection: Selection) -> (Box<dyn Subscriber>, RowStream) {
    let (send, receive) = mpsc::channel(QUEUE_EPOCHS);
    let schema = subscription_schema(object, &selection.columns);
    let queue = Queue { schema, selection, send, delivered: 0 };
    let rows = futures::stream::unfold(receive, |mut receive| async move {
        let item: Vec<Item> = receive.recv().await?;
        Some((futures::stream::iter(item), receive))
    });
    (Box::new(queue), rows.flatten().boxed())
}

struct Queue {
    schema: SchemaRef,
    selection: Selection,
    send: mpsc::Sender<Vec<Item>>,
    delivered: u64,
}

impl Subscriber for Queue {
    fn offer(&mut self, changes: EpochChanges) -> Offer {
        let epoch = changes.epoch.as_u64();
        let mut items: Vec<Item> =
            changes.batches.iter().map(|b| self.rows(b, epoch)).filter(|i| !matches!(i, Ok(b) if b.num_rows() == 0)).collect();
        if self.selection.progress == Progress::EachEpoch {
            items.push(Ok(self.progress_row(epoch)));
        }
        if items.is_empty() {
            return if self.send.is_closed() { Offer::Gone } else { Offer::Taken };
        }
        match self.send.try_send(items) {
            Ok(()) => {
                self.delivered = epoch;
                Offer::Taken
            }
            Err(mpsc::error::TrySendError::Full(_)) => Offer::Full,
            Err(mpsc::error::TrySendError::Closed(_)) => Offer::Gone,
        }
    }

    fn end(&mut self, reason: String) {
        let hint = format!("subscribe again AS OF EPOCH {}", self.delivered);
        let error = DbError::new("LDB-4020", "54000", format!("the subscription ended: {reason}")).with_hint(hint);
        // A full queue drops the error; the client then sees the stream end after what it has.
        let _ = self.send.try_send(vec![Err(error)]);
    }
}

impl Queue {
    fn rows(&self, batch: &Batch, epoch: u64) -> Item {
        let weights = Int64Array::from_iter_values((0..batch.len()).map(|row| batch.weight(row)));
        let epochs = Int64Array::from_value(epoch.cast_signed(), batch.len());
        let mut columns: Vec<ArrayRef> = vec![Arc::new(epochs), Arc::new(weights)];
        columns.extend(self.selection.columns.iter().map(|i| batch.rows.column(*i).clone()));
        let rows = RecordBatch::try_new(self.schema.clone(), columns).map_err(|e| internal(&e))?;
        let Some(filter) = &self.selection.filter else { return Ok(rows) };
        let keep = filter
            .evaluate(&batch.rows)
            .map_err(|e| DbError::new("LDB-4021", e.sqlstate, format!("WHERE of the subscription: {}", e.message)))?;
        let keep = arrow::array::AsArray::as_boolean(&keep);
        filter_record_batch(&rows, keep).map_err(|e| internal(&e))
    }

    fn progress_row(&self, epoch: u64) -> RecordBatch {
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(vec![epoch.cast_signed()])), Arc::new(Int64Array::from(vec![None::<i64>]))];
        let rest = self.schema.fields().iter().skip(2);
        columns.extend(rest.map(|f| arrow::array::new_null_array(f.data_type(), 1)));
        RecordBatch::try_new(self.schema.clone(), columns).unwrap_or_else(|_| RecordBatch::new_empty(self.schema.clone()))
    }
}

fn internal(error: &arrow::error::ArrowError) -> DbError {
    DbError::new("LDB-4099", "XX000", format!("a subscription's rows do not make a batch: {error}"))
}
