//! The queue between the engine's changes and one client.
//!
//! Invariant: the engine never waits for a client. A batch waits until the client asks for the next one. Behind the
//! oldest epoch that waits (at first the snapshot, of any size) at most `limit` bytes wait, or those of one epoch; a
//! client for which more would wait is cut off: it gets what waits, then the reason and the epoch from which on it
//! misses changes.

use std::collections::VecDeque;
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
    /// Bytes of changes that wait for their clients, those that are being sent included.
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

/// Both ends of a subscription; behind the oldest epoch between them wait at most `limit` bytes, or those of one epoch.
pub fn channel(selection: Selection, limit: u64, all: Arc<Subscriptions>) -> (Box<dyn Subscriber>, Queue) {
    all.open.fetch_add(1, Ordering::Relaxed);
    let waiting = Arc::new(Waiting { bytes: AtomicU64::new(0), all });
    let (send, receive) = mpsc::unbounded_channel();
    let (end, ended) = oneshot::channel();
    let feeder = Feeder {
        selection,
        send,
        end: Some(end),
        waiting,
        epochs: VecDeque::new(),
        behind: 0,
        limit,
        cut_off: false,
        delivered: 0,
    };
    (Box::new(feeder), Queue { receive, ended: Some(ended) })
}

/// What lies between the two ends.
struct Waiting {
    bytes: AtomicU64,
    all: Arc<Subscriptions>,
}

/// The bytes of one item; they wait until this is dropped.
struct Held {
    bytes: u64,
    waiting: Arc<Waiting>,
}

impl Held {
    fn count(bytes: u64, waiting: Arc<Waiting>) -> Self {
        waiting.bytes.fetch_add(bytes, Ordering::Relaxed);
        waiting.all.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        Self { bytes, waiting }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.waiting.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.waiting.all.waiting_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The client's end.
pub struct Queue {
    receive: mpsc::UnboundedReceiver<(Item, Held)>,
    ended: Option<oneshot::Receiver<DbError>>,
}

impl Queue {
    /// The rows as they come, then why there are no more; `left` is called when the client goes.
    pub fn rows(self, left: impl FnOnce() + Send + 'static) -> RowStream {
        let leaving = Leaving(Some(Box::new(left)));
        let items = futures::stream::unfold((self, None, leaving), |(mut queue, taken, leaving)| async move {
            // Who asks for an item has taken the one before.
            drop(taken);
            let (item, held) = queue.next().await?;
            Some((item, (queue, held, leaving)))
        });
        items.boxed()
    }

    async fn next(&mut self) -> Option<(Item, Option<Held>)> {
        if let Some((item, held)) = self.receive.recv().await {
            return Some((item, Some(held)));
        }
        let error = self.ended.take()?.await.ok()?;
        Some((Err(error), None))
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
    send: mpsc::UnboundedSender<(Item, Held)>,
    end: Option<oneshot::Sender<DbError>>,
    waiting: Arc<Waiting>,
    /// Bytes of each epoch behind the oldest that waits, as last seen.
    epochs: VecDeque<u64>,
    /// Their sum.
    behind: u64,
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
        let sizes: Vec<u64> = items.iter().map(bytes_of).collect();
        let bytes: u64 = sizes.iter().sum();
        let behind = self.behind();
        if behind > 0 && behind + bytes > self.limit {
            self.cut_off = true;
            self.waiting.all.cut_off.fetch_add(1, Ordering::Relaxed);
            return Offer::Full;
        }
        self.epochs.push_back(bytes);
        self.behind += bytes;
        for (item, bytes) in items.into_iter().zip(sizes) {
            if self.send.send((item, Held::count(bytes, self.waiting.clone()))).is_err() {
                return Offer::Gone;
            }
        }
        self.delivered = epoch;
        Offer::Taken
    }

    fn end(&mut self, reason: String) {
        let mut hint =
            format!("the last epoch with changes before that is {}; subscribe again with a snapshot", self.delivered);
        if self.cut_off {
            let limit = self.limit;
            let _ = write!(hint, "; {limit} bytes may wait behind what a client reads (subscription_limit in [state])");
        }
        let error = DbError::new("LDB-4020", "54000", format!("the subscription ended: {reason}")).with_hint(hint);
        if let Some(end) = self.end.take() {
            // A client that has gone needs no reason.
            let _ = end.send(error);
        }
    }
}

impl Feeder {
    /// Bytes that wait behind the oldest epoch.
    fn behind(&mut self) -> u64 {
        let waiting = self.waiting.bytes.load(Ordering::Relaxed);
        // Once nothing but these waits, the first of them is the oldest.
        while self.behind >= waiting
            && let Some(oldest) = self.epochs.pop_front()
        {
            self.behind -= oldest;
        }
        self.behind
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

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use futures::FutureExt;
    use laminar_core::ids::Epoch;

    use super::*;

    const LIMIT: u64 = 64 << 10;

    fn subscription(all: &Arc<Subscriptions>) -> (Box<dyn Subscriber>, RowStream) {
        let schema = |names: &[&str]| {
            let fields: Vec<Field> = names.iter().map(|name| Field::new(*name, DataType::Int64, false)).collect();
            Arc::new(Schema::new(fields))
        };
        let selection = Selection {
            input: schema(&["n"]),
            columns: vec![0],
            filter: None,
            project: Vec::new(),
            progress: Progress::Silent,
            schema: schema(&["laminar_epoch", "laminar_weight"]),
        };
        let (feeder, queue) = channel(selection, LIMIT, all.clone());
        (feeder, queue.rows(|| ()))
    }

    /// Changes in batches of so many rows.
    fn changes(epoch: u64, batches: &[usize]) -> EpochChanges {
        let batch = |rows: &usize| {
            let numbers: ArrayRef = Arc::new(Int64Array::from_value(7, *rows));
            Batch::new(RecordBatch::try_from_iter([("n", numbers)]).unwrap())
        };
        EpochChanges {
            epoch: Epoch::from_u64(epoch),
            snapshot: epoch == 1,
            batches: batches.iter().map(batch).collect(),
        }
    }

    /// What a batch of so many rows counts: epoch and weight of each.
    fn bytes(rows: u64) -> u64 {
        16 * rows + BATCH_BYTES
    }

    fn take(rows: &mut RowStream) -> usize {
        rows.next().now_or_never().flatten().unwrap().unwrap().num_rows()
    }

    #[test]
    fn batch_waits_until_the_client_asks_for_the_next() {
        let all = Arc::<Subscriptions>::default();
        let (mut feeder, mut rows) = subscription(&all);
        assert_eq!(feeder.offer(changes(1, &[3, 2])), Offer::Taken);
        assert_eq!(all.status().waiting_bytes, bytes(3) + bytes(2));
        assert_eq!(take(&mut rows), 3);
        assert_eq!(all.status().waiting_bytes, bytes(3) + bytes(2));
        assert_eq!(take(&mut rows), 2);
        assert_eq!(all.status().waiting_bytes, bytes(2));
        assert!(rows.next().now_or_never().is_none());
        assert_eq!(all.status().waiting_bytes, 0);
    }

    #[test]
    fn client_that_goes_gives_back_all_bytes_once() {
        let all = Arc::<Subscriptions>::default();
        let (mut feeder, mut rows) = subscription(&all);
        assert_eq!(feeder.offer(changes(1, &[3, 2])), Offer::Taken);
        assert_eq!(feeder.offer(changes(2, &[1])), Offer::Taken);
        assert_eq!(take(&mut rows), 3);
        drop(rows);
        assert_eq!(all.status().waiting_bytes, 0);
        assert_eq!(feeder.offer(changes(3, &[1])), Offer::Gone);
        drop(feeder);
        let status = all.status();
        assert_eq!((status.open, status.waiting_bytes, status.cut_off), (0, 0, 0));
    }

    #[test]
    fn limit_is_of_what_waits_behind_a_snapshot_whatever_its_size() {
        let all = Arc::<Subscriptions>::default();
        let (mut feeder, mut rows) = subscription(&all);
        assert_eq!(feeder.offer(changes(1, &[100_000, 1])), Offer::Taken);
        assert_eq!(feeder.offer(changes(2, &[1])), Offer::Taken, "before the client has begun");
        assert_eq!(take(&mut rows), 100_000);
        let room = LIMIT / bytes(1);
        for epoch in 3..2 + room {
            assert_eq!(feeder.offer(changes(epoch, &[1])), Offer::Taken, "{epoch}");
        }
        assert_eq!(feeder.offer(changes(2 + room, &[1])), Offer::Full);
        feeder.end("too slow".to_owned());
        drop(feeder);
        for _ in 0..1 + room {
            assert_eq!(take(&mut rows), 1);
        }
        let error = rows.next().now_or_never().flatten().unwrap().unwrap_err();
        assert!(error.hint.is_some_and(|hint| hint.contains("65536 bytes")));
        assert!(rows.next().now_or_never().is_some_and(|end| end.is_none()));
        assert_eq!(all.status().waiting_bytes, 0);
    }

    #[test]
    fn epoch_above_the_limit_waits_alone_behind_the_oldest() {
        let all = Arc::<Subscriptions>::default();
        let (mut feeder, mut rows) = subscription(&all);
        assert_eq!(feeder.offer(changes(1, &[1])), Offer::Taken);
        assert_eq!(feeder.offer(changes(2, &[100_000])), Offer::Taken);
        assert_eq!((take(&mut rows), take(&mut rows)), (1, 100_000));
        assert_eq!(feeder.offer(changes(3, &[1])), Offer::Taken, "the large one is the oldest now");
        assert_eq!(feeder.offer(changes(4, &[100_000])), Offer::Full);
    }
}
