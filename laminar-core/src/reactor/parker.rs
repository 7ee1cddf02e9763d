//! A place for a plain thread to sleep.
//!
//! Invariant: an unpark that comes before the sleep makes the sleep return at once.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::Unpark;

/// One sleeper's place; made before its thread.
#[derive(Default)]
pub struct Parker {
    woken: Mutex<bool>,
    bell: Condvar,
}

impl Parker {
    /// Sleeps until it is unparked, at most for `wait` if given.
    pub fn park(&self, wait: Option<Duration>) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        if !*woken {
            woken = match wait {
                None => self.bell.wait_while(woken, |woken| !*woken).unwrap_or_else(PoisonError::into_inner),
                Some(wait) => {
                    self.bell.wait_timeout_while(woken, wait, |woken| !*woken).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        *woken = false;
    }

    /// Whether an unpark waits.
    pub fn is_woken(&self) -> bool {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a waiting unpark without sleeping.
    pub fn take(&self) -> bool {
        std::mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Unpark for Parker {
    fn unpark(&self) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        if !*woken {
            *woken = true;
            self.bell.notify_one();
        }
    }
}
