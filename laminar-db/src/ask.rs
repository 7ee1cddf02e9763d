//! From the engine's callbacks to futures.
//!
//! Invariant: a future that is dropped stops waiting; the engine can see that, and its answer then falls away.

use laminar_core::engine::{Asker, EngineError, Reply};
use laminar_sql::SqlError;

use crate::error::DbError;

/// Sends a request with a reply and waits for the answer.
pub(crate) async fn ask<T: Send + 'static>(request: impl FnOnce(Reply<T>)) -> Result<T, DbError> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    request(Reply::to(Question(answer)));
    answered.await.map_err(|_| DbError::stopped())?.map_err(DbError::from)
}

struct Question<T>(tokio::sync::oneshot::Sender<Result<T, EngineError>>);

impl<T: Send> Asker<T> for Question<T> {
    fn answer(self: Box<Self>, answer: Result<T, EngineError>) {
        // The asker may have gone; then nobody waits for the answer.
        let _ = self.0.send(answer);
    }

    fn is_gone(&self) -> bool {
        self.0.is_closed()
    }
}

impl From<EngineError> for DbError {
    fn from(error: EngineError) -> Self {
        let text = error.to_string();
        let message = text.strip_prefix("LDB-").and_then(|t| t.split_once(": ")).map_or(text.as_str(), |(_, m)| m);
        let (message, hint) = match message.split_once("; ") {
            Some((message, hint)) => (message, Some(hint.to_owned())),
            None => (message, None),
        };
        Self {
            code: error.code().to_owned(),
            sqlstate: error.sqlstate().to_owned(),
            message: message.to_owned(),
            detail: None,
            hint,
            position: None,
        }
    }
}

impl From<SqlError> for DbError {
    fn from(error: SqlError) -> Self {
        Self {
            code: error.code.to_owned(),
            sqlstate: error.sqlstate.to_owned(),
            message: error.message,
            detail: error.detail,
            hint: error.hint,
            position: error.position,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_log_refuses_says_whether_to_send_it_again() {
        use laminar_storage::StorageError;

        let told = |error: StorageError| DbError::from(EngineError::from(error));
        let large = told(StorageError::RecordTooLarge { bytes: 17 << 20, limit: 16 << 20 });
        assert_eq!((large.code.as_str(), large.sqlstate.as_str()), ("LDB-1005", "54000"));
        assert!(large.hint.is_some_and(|hint| hint.contains("send the rows in several")));
        assert_eq!(told(StorageError::LogBusy { pending: 1, limit: 1 }).sqlstate, "53000");
        assert_eq!(told(StorageError::NoSpace { what: "write" }).sqlstate, "53100");
        let failed = StorageError::LogFailed { file: "wal".into(), cause: "io".into() };
        assert_eq!(told(failed).sqlstate, "58030");
    }

    #[tokio::test]
    async fn the_engine_sees_that_the_asker_of_a_cancelled_statement_has_gone() {
        let (send, receive) = std::sync::mpsc::channel::<Reply<()>>();
        let handle = crate::CancelHandle::default();
        let cancelling = handle.clone();
        let statement = tokio::spawn(async move { cancelling.guard(ask(|reply| drop(send.send(reply)))).await });
        let reply = loop {
            match receive.try_recv() {
                Ok(reply) => break reply,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        assert!(!reply.is_closed());
        handle.cancel();
        assert_eq!(statement.await.unwrap().unwrap_err().sqlstate, "57014");
        assert!(reply.is_closed());
    }
}
