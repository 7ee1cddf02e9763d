//! The queue between the engine's changes and one client.
//!
//! Invariant: the engine never waits for a client; a client for which more bytes of changes wait than may is cut
//! off: it gets what waits, then the reason and the epoch from which on it misses changes.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, new_null_array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use futures::StreamExt;
use laminar_core::data::Batch;
use laminar_core::engine::{EpochChanges, Offer, Subscriber};
use laminar_core::expr::{EvalError, Evaluate};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::error::DbError;
use crate::record;
use crate::response::RowStream;

/// What a batch takes beside its rows, about.
const BATCH_BYTES: u64 = 1024;

type Item = Result<RecordBatch, DbError>;

/// What one epoch changes, as the client reads it.
struct Changes {
    items: Vec<Item>,
    bytes: u64,
}

/// All subscriptions of a database.
#[derive(Debug, Default)]
pub struct Subscriptions {
    open: AtomicU64,
    waiting_bytes: AtomicU64,
    cut_off: AtomicU64,
}

/// Figures of all subscriptions together.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SubscriptionStatus {
    /// Subscriptions that the engine feeds.
    pub open: u64,
    /// Bytes of changes that wait for their clients.
    pub waiting_bytes: u64,
    /// Subscriptions that ended because their client read too slowly.
    pub cut_off: u64,
}

impl Subscriptions {
    /// How they are now.
    pub fn status(&self) -> SubscriptionStatus {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        SubscriptionStatus { open: of(&self.open), waiting_bytes: of(&self.waiting_bytes), cut_off: of(&self.cut_off) }
    }
}

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

/// Both ends of a subscription; at most `limit` bytes of changes wait between them, or those of one epoch.
pub fn channel(selection: Selection, limit: u64, all: Arc<Subscriptions>) -> (Box<dyn Subscriber>, Queue) {
    all.open.fetch_add(1, Ordering::Relaxed);
    let waiting = Arc::new(Waiting { bytes: AtomicU64::new(0), all });
    let (send, receive) = mpsc::unbounded_channel();
    let (end, ended) = oneshot::channel();
    let feeder =
        Feeder { selection, send, end: Some(end), waiting: waiting.clone(), limit, cut_off: false, delivered: 0 };
    (Box::new(feeder), Queue { receive, ended: Some(ended), waiting })
}

/// What lies between the two ends.
struct Waiting {
    bytes: AtomicU64,
    all: Arc<Subscriptions>,
}

impl Waiting {
    fn comes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.all.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn goes(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.all.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // What nobody has read waits no more.
        self.all.waiting_bytes.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

/// The client's end.
pub struct Queue {
    receive: mpsc::UnboundedReceiver<Changes>,
    ended: Option<oneshot::Receiver<DbError>>,
    waiting: Arc<Waiting>,
}

impl Queue {
    /// The rows as they come, then why there are no more; `left` is called when the client goes.
    pub fn rows(self, left: impl FnOnce() + Send + 'static) -> RowStream {
        let leaving = Leaving(Some(Box::new(left)));
        let epochs = futures::stream::unfold((self, leaving), |(mut queue, leaving)| async move {
            let items = queue.next().await?;
            Some((futures::stream::iter(items), (queue, leaving)))
        });
        epochs.flatten().boxed()
    }

    async fn next(&mut self) -> Option<Vec<Item>> {
        if let Some(changes) = self.receive.recv().await {
            self.waiting.goes(changes.bytes);
            return Some(changes.items);
        }
        let error = self.ended.take()?.await.ok()?;
        Some(vec![Err(error)])
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
    send: mpsc::UnboundedSender<Changes>,
    end: Option<oneshot::Sender<DbError>>,
    waiting: Arc<Waiting>,
    limit: u64,
    /// More waits for the client than may.
    cut_off: bool,
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
        let bytes_of = |item: &Item| item.as_ref().map_or(0, |rows| record::bytes(rows) as u64) + BATCH_BYTES;
        let bytes = items.iter().map(bytes_of).sum();
        let waiting = self.waiting.bytes.load(Ordering::Relaxed);
        if waiting > 0 && waiting + bytes > self.limit {
            self.cut_off = true;
            self.waiting.all.cut_off.fetch_add(1, Ordering::Relaxed);
            return Offer::Full;
        }
        self.waiting.comes(bytes);
        match self.send.send(Changes { items, bytes }) {
            Ok(()) => {
                self.delivered = epoch;
                Offer::Taken
            }
            Err(mpsc::error::SendError(Changes { bytes, .. })) => {
                self.waiting.goes(bytes);
                Offer::Gone
            }
        }
    }

    fn end(&mut self, reason: String) {
        let mut hint =
            format!("the last epoch with changes before that is {}; subscribe again with a snapshot", self.delivered);
        if self.cut_off {
            let _ = write!(hint, "; {} bytes may wait for a client (subscription_limit in [state])", self.limit);
        }
        let error = DbError::new("LDB-4020", "54000", format!("the subscription ended: {reason}")).with_hint(hint);
        if let Some(end) = self.end.take() {
            // A client that has gone needs no reason.
            let _ = end.send(error);
        }
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.waiting.all.open.fetch_sub(1, Ordering::Relaxed);
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
