//! An answer that is owed to somebody.
//!
//! Invariant: it comes exactly once; a reply that is dropped answers [`EngineError::Stopped`].

use super::EngineError;

type Callback<T> = Box<dyn FnOnce(Result<T, EngineError>) + Send>;

/// Takes the answer to one request. The callback runs on an engine thread and must not block.
pub struct Reply<T>(Option<Callback<T>>);

impl<T> Reply<T> {
    /// A reply that calls `then`.
    pub fn new(then: impl FnOnce(Result<T, EngineError>) + Send + 'static) -> Self {
        Self(Some(Box::new(then)))
    }

    /// A reply that nobody waits for.
    pub fn ignored() -> Self {
        Self(None)
    }

    /// Answers.
    pub fn send(mut self, answer: Result<T, EngineError>) {
        if let Some(then) = self.0.take() {
            then(answer);
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(then) = self.0.take() {
            then(Err(EngineError::Stopped));
        }
    }
}

impl<T> std::fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reply")
    }
}
