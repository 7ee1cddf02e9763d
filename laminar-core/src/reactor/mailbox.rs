//! Commands from many threads to one reactor or to the control thread.
//!
//! Invariants: order is kept per sender; an empty mailbox costs its owner one plain load. The lock
//! is held for a push or a swap only, and rows of sources never pass here: lanes carry those.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Unpark;

/// A mailbox with the wake-up of its owner.
pub struct Mailbox<T> {
    letters: Mutex<VecDeque<T>>,
    filled: AtomicBool,
    closed: AtomicBool,
    owner: Arc<dyn Unpark>,
}

impl<T> Mailbox<T> {
    /// An empty mailbox whose owner is woken through `owner`.
    pub fn new(owner: Arc<dyn Unpark>) -> Self {
        Self {
            letters: Mutex::new(VecDeque::new()),
            filled: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            owner,
        }
    }

    /// Adds a letter and wakes the owner. After [`Mailbox::close`] the letter is dropped, which
    /// answers whoever waits for a reply in it.
    pub fn post(&self, letter: T) {
        {
            let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
            if self.closed.load(Ordering::Acquire) {
                return;
            }
            letters.push_back(letter);
            self.filled.store(true, Ordering::Release);
        }
        self.owner.unpark();
    }

    /// Whether a letter waits.
    pub fn waiting(&self) -> bool {
        self.filled.load(Ordering::Acquire)
    }

    /// Moves all letters to `into`, in order.
    pub fn take(&self, into: &mut VecDeque<T>) {
        if !self.waiting() {
            return;
        }
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        self.filled.store(false, Ordering::Release);
        into.append(&mut letters);
    }

    /// Refuses further letters and drops those that wait.
    pub fn close(&self) {
        let dropped = {
            let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
            self.closed.store(true, Ordering::Release);
            self.filled.store(false, Ordering::Release);
            std::mem::take(&mut *letters)
        };
        drop(dropped);
    }
}
