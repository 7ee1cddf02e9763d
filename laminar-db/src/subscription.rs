//! The queue between the engine's changes and one client.
//!
//! Invariant: the engine never waits for a client; a client that falls behind its bounded queue is
//! cut off, and told from which epoch it misses changes.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, new_null_array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use futures::StreamExt;
use laminar_core::data::Batch;
use laminar_core::engine::{EpochChanges, Offer, Subscriber};
use laminar_core::expr::{EvalError, Evaluate};
use tokio::sync::mpsc;

use crate::error::DbError;
use crate::response::RowStream;

/// Epochs that wait for a slow client before it is cut off.
const QUEUE_EPOCHS: usize = 1024;

type Item = Result<RecordBatch, DbError>;

/// What a client wants of the changes.
pub struct Selection {
    /// The needed columns of the object.
    pub input: SchemaRef,
    /// Their places in the object.
    pub columns: Vec<usize>,
    /// Only rows for which it is true; over the needed columns.
    pub filter: Option<Box<dyn Evaluate>>,
    /// The output columns; over the needed columns.
    pub project: Vec<Box<dyn Evaluate>>,
    /// Whether the client hears of epochs without changes.
    pub progress: Progress,
    /// `laminar_epoch`, `laminar_weight`, then the output columns.
    pub schema: SchemaRef,
}

/// Whether a client hears of epochs without changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Only changes.
    Silent,
    /// A row with NULL weight at the end of each epoch.
    EachEpoch,
}

/// Both ends of a subscription.
pub fn channel(selection: Selection) -> (Box<dyn Subscriber>, Queue) {
    let (send, receive) = mpsc::channel(QUEUE_EPOCHS);
    (Box::new(Feeder { selection, send, delivered: 0 }), Queue { receive })
}

/// The client's end.
pub struct Queue {
    receive: mpsc::Receiver<Vec<Item>>,
}

impl Queue {
    /// The rows as they come; `left` is called when the client goes.
    pub fn rows(self, left: impl FnOnce() + Send + 'static) -> RowStream {
        let leaving = Leaving(Some(Box::new(left)));
        let epochs = futures::stream::unfold((self.receive, leaving), |(mut receive, leaving)| async move {
            let items = receive.recv().await?;
            Some((futures::stream::iter(items), (receive, leaving)))
        });
        epochs.flatten().boxed()
    }
}

struct Leaving(Option<Box<dyn FnOnce() + Send>>);

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(left) = self.0.take() {
            left();
        }
    }
}

struct Feeder {
    selection: Selection,
    send: mpsc::Sender<Vec<Item>>,
    delivered: u64,
}

impl Subscriber for Feeder {
    fn offer(&mut self, changes: EpochChanges) -> Offer {
        let epoch = changes.epoch.as_u64();
        let rows = changes.batches.iter().map(|batch| self.selection.rows(batch, epoch));
        let mut items: Vec<Item> = rows.filter(|item| item.as_ref().map_or(true, |b| b.num_rows() > 0)).collect();
        if self.selection.progress == Progress::EachEpoch {
            items.push(self.selection.progress_row(epoch));
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
        let hint = format!("the last epoch delivered is {}; subscribe again with a snapshot", self.delivered);
        let error = DbError::new("LDB-4020", "54000", format!("the subscription ended: {reason}")).with_hint(hint);
        // A full queue drops the error; the client then sees the stream end after what it has.
        let _ = self.send.try_send(vec![Err(error)]);
    }
}

impl Selection {
    fn rows(&self, batch: &Batch, epoch: u64) -> Item {
        let needed = self.columns.iter().map(|i| batch.rows.column(*i).clone()).collect();
        let needed = RecordBatch::try_new(self.input.clone(), needed).map_err(|e| internal(&e))?;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_value(epoch.cast_signed(), batch.len())),
            Arc::new(Int64Array::from_iter_values((0..batch.len()).map(|row| batch.weight(row)))),
        ];
        let keep = self.filter.as_ref().map(|f| f.evaluate(&needed)).transpose().map_err(failed)?;
        for expr in &self.project {
            columns.push(expr.evaluate(&needed).map_err(failed)?);
        }
        let rows = RecordBatch::try_new(self.schema.clone(), columns).map_err(|e| internal(&e))?;
        match keep {
            Some(keep) => filter_record_batch(&rows, keep.as_boolean()).map_err(|e| internal(&e)),
            None => Ok(rows),
        }
    }

    fn progress_row(&self, epoch: u64) -> Item {
        let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![epoch.cast_signed()]))];
        columns.extend(self.schema.fields().iter().skip(1).map(|f| new_null_array(f.data_type(), 1)));
        RecordBatch::try_new(self.schema.clone(), columns).map_err(|e| internal(&e))
    }
}

fn failed(error: EvalError) -> DbError {
    DbError::new("LDB-4021", error.sqlstate, format!("the subscription's query: {}", error.message))
}

fn internal(error: &ArrowError) -> DbError {
    DbError::new("LDB-4099", "XX000", format!("internal: a subscription's rows do not make a batch: {error}"))
}
