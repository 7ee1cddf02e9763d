//! From the engine's callbacks to futures.
//!
//! Invariant: a future that is dropped stops waiting; the engine's answer then falls away.

use laminar_core::engine::{EngineError, Reply};
use laminar_sql::SqlError;

use crate::error::DbError;

/// Sends a request with a reply and waits for the answer.
pub(crate) async fn ask<T: Send + 'static>(request: impl FnOnce(Reply<T>)) -> Result<T, DbError> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    request(Reply::new(move |result| {
        // The asker may have gone; then nobody waits for the answer.
        let _ = answer.send(result);
    }));
    answered.await.map_err(|_| DbError::stopped())?.map_err(DbError::from)
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
