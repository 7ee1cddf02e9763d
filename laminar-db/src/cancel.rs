//! Cancelling the running statement of a session from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::error::DbError;

/// Cancels whatever its session is doing now; a session that is idle does not notice. Cheap to clone.
#[derive(Clone, Default)]
pub struct CancelHandle {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Counts cancellations; a statement notices one that comes after its start.
    cancelled: AtomicU64,
    notify: Notify,
}

impl CancelHandle {
    /// Cancels the running statement.
    pub fn cancel(&self) {
        self.inner.cancelled.fetch_add(1, Ordering::AcqRel);
        self.inner.notify.notify_waiters();
    }

    /// Runs `work`, or ends with 57014 when it is cancelled meanwhile.
    pub(crate) async fn guard<T>(&self, work: impl Future<Output = Result<T, DbError>>) -> Result<T, DbError> {
        let before = self.inner.cancelled.load(Ordering::Acquire);
        let cancelled = async {
            loop {
                let notified = self.inner.notify.notified();
                if self.inner.cancelled.load(Ordering::Acquire) != before {
                    return;
                }
                notified.await;
            }
        };
        tokio::select! {
            done = work => done,
            () = cancelled => Err(DbError::cancelled()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_running_statement_is_cancelled_and_an_idle_session_is_not() {
        let handle = CancelHandle::default();
        handle.cancel();
        assert_eq!(handle.guard(async { Ok(7) }).await, Ok(7));
        let running = handle.clone();
        let forever = tokio::spawn(async move { running.guard(std::future::pending::<Result<(), DbError>>()).await });
        while !forever.is_finished() {
            handle.cancel();
            tokio::task::yield_now().await;
        }
        assert_eq!(forever.await.unwrap().unwrap_err().sqlstate, "57014");
    }
}
