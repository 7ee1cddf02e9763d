//! An answer that is owed to somebody.
//!
//! Invariant: it comes exactly once; a reply that is dropped answers [`EngineError::Stopped`].

use super::EngineError;

/// Who waits for an answer. It comes on an engine thread, which must not be blocked.
pub trait Asker<T>: Send {
    /// Takes the answer.
    fn answer(self: Box<Self>, answer: Result<T, EngineError>);

    /// Whether it has gone, so that nobody learns the answer; it does not come back.
    fn is_gone(&self) -> bool;
}

/// Takes the answer to one request.
pub struct Reply<T>(Option<Box<dyn Asker<T>>>);

impl<T> Reply<T> {
    /// A reply that calls `then`, which never goes away. The callback runs on an engine thread and must not block.
    pub fn new(then: impl FnOnce(Result<T, EngineError>) + Send + 'static) -> Self {
        Self::to(Stays(then))
    }

    /// A reply to somebody who may go before it comes.
    pub fn to(asker: impl Asker<T> + 'static) -> Self {
        Self(Some(Box::new(asker)))
    }

    /// A reply that nobody waits for.
    pub fn ignored() -> Self {
        Self(None)
    }

    /// Whether somebody has asked and has gone: what was not begun for it need not be begun.
    pub fn is_closed(&self) -> bool {
        self.0.as_ref().is_some_and(|asker| asker.is_gone())
    }

    /// Answers.
    pub fn send(mut self, answer: Result<T, EngineError>) {
        if let Some(asker) = self.0.take() {
            asker.answer(answer);
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(asker) = self.0.take() {
            asker.answer(Err(EngineError::Stopped));
        }
    }
}

impl<T> std::fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reply")
    }
}

struct Stays<F>(F);

impl<T, F: FnOnce(Result<T, EngineError>) + Send> Asker<T> for Stays<F> {
    fn answer(self: Box<Self>, answer: Result<T, EngineError>) {
        (self.0)(answer);
    }

    fn is_gone(&self) -> bool {
        false
    }
}
