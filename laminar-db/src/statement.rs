//! What runs: each statement from its start until its answer is complete, or nobody wants it any more.
//!
//! Invariant: what a statement holds (rows that are not sent yet, data of a COPY that is not complete yet) is dropped
//! with its [`Running`], and never later: the number of those is what metrics show.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use serde::Serialize;

use crate::error::DbError;
use crate::response::RowStream;

/// All statements of a database that run.
#[derive(Debug, Default)]
pub(crate) struct Statements {
    running: AtomicU64,
}

/// Figures of all statements together.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct StatementStatus {
    /// Statements whose answer is not complete, subscriptions included.
    pub running: u64,
    /// Bytes that queries hold for joins, sorts and groups.
    pub memory_bytes: u64,
}

impl Statements {
    /// How they are now.
    pub fn status(&self) -> StatementStatus {
        let running = self.running.load(Ordering::Relaxed);
        StatementStatus { running, memory_bytes: laminar_sql::adhoc::memory_bytes() }
    }
}

/// One statement that runs, and the time that it has left.
pub(crate) struct Running {
    all: Arc<Statements>,
    limit: Option<Duration>,
    used: Duration,
}

impl Running {
    /// A statement begins that may run so long.
    pub fn begin(all: &Arc<Statements>, limit: Option<Duration>) -> Self {
        all.running.fetch_add(1, Ordering::Relaxed);
        Self { all: all.clone(), limit, used: Duration::ZERO }
    }

    /// The same, as long as its client wants.
    pub fn without_limit(mut self) -> Self {
        self.limit = None;
        self
    }

    /// Waits for a part of its work, unless its time ends before. Only what is waited for here counts.
    ///
    /// # Errors
    /// Those of the work; 57014 when the time has ended.
    pub async fn within<T>(&mut self, work: impl Future<Output = Result<T, DbError>>) -> Result<T, DbError> {
        let Some(limit) = self.limit else { return work.await };
        let began = Instant::now();
        let done = tokio::time::timeout(limit.saturating_sub(self.used), work).await;
        self.used += began.elapsed();
        done.unwrap_or_else(|_| Err(timed_out(limit)))
    }

    /// Its rows, while it has time.
    pub fn rows(self, batches: RowStream) -> RowStream {
        let next = |state: Option<(Self, RowStream)>| async {
            let (mut running, mut batches) = state?;
            match running.within(async { batches.next().await.transpose() }).await {
                Ok(batch) => batch.map(|batch| (Ok(batch), Some((running, batches)))),
                Err(error) => Some((Err(error), None)),
            }
        };
        stream::unfold(Some((self, batches)), next).boxed()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.all.running.fetch_sub(1, Ordering::Relaxed);
    }
}

fn timed_out(limit: Duration) -> DbError {
    let message = format!("canceling statement due to statement timeout of {} ms", limit.as_millis());
    DbError::new("LDB-4041", "57014", message).with_hint("raise [server] statement_timeout")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use arrow::array::RecordBatch;
    use arrow::datatypes::Schema;

    use super::*;

    fn batch() -> Result<RecordBatch, DbError> {
        Ok(RecordBatch::new_empty(Arc::new(Schema::empty())))
    }

    #[tokio::test]
    async fn it_runs_until_its_last_row_is_taken_or_it_is_dropped() {
        let all = Arc::new(Statements::default());
        let mut rows = Running::begin(&all, None).rows(stream::iter([batch(), batch()]).boxed());
        assert_eq!(all.status().running, 1);
        assert!(rows.next().await.is_some() && rows.next().await.is_some());
        assert_eq!(all.status().running, 1);
        assert!(rows.next().await.is_none());
        assert_eq!(all.status().running, 0);
        let rows = Running::begin(&all, None).rows(stream::pending().boxed());
        assert_eq!(all.status().running, 1);
        drop(rows);
        assert_eq!(all.status().running, 0);
    }

    #[tokio::test]
    async fn rows_that_do_not_come_in_time_are_dropped_with_the_reason() {
        struct Held(Arc<AtomicBool>);
        impl Drop for Held {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let (all, dropped) = (Arc::new(Statements::default()), Arc::new(AtomicBool::new(false)));
        let held = Held(dropped.clone());
        let never = stream::once(async move {
            std::future::pending::<()>().await;
            drop(held);
            batch()
        });
        let mut rows = Running::begin(&all, Some(Duration::from_millis(1))).rows(never.boxed());
        let error = rows.next().await.unwrap().unwrap_err();
        assert_eq!((error.code.as_ref(), error.sqlstate.as_ref()), ("LDB-4041", "57014"));
        assert!(dropped.load(Ordering::SeqCst), "before anybody looks for another row");
        assert_eq!(all.status().running, 0);
        assert!(rows.next().await.is_none());
    }

    #[tokio::test]
    async fn time_that_the_client_takes_does_not_count() {
        let all = Arc::new(Statements::default());
        // One that comes at the second look: a time-out that has passed would be noticed at the first.
        let late = stream::once(async {
            tokio::task::yield_now().await;
            batch()
        });
        let limit = Duration::from_millis(500);
        let mut rows = Running::begin(&all, Some(limit)).rows(late.boxed());
        tokio::time::sleep(limit + Duration::from_millis(50)).await;
        assert!(rows.next().await.unwrap().is_ok());
    }
}
