//! Waking a sleeper without a system call while it is awake.
//!
//! Invariant: a sleeper calls [`Bell::prepare`], looks for work once more, and only then sleeps; a
//! producer publishes its work, then calls [`Bell::ring`]. Either the sleeper's second look sees
//! the work, or the producer sees the sleeper and unparks it (two sequentially consistent fences).

use std::sync::Arc;

use super::port::Unpark;
use super::sync::{AtomicBool, Ordering, fence};

/// One sleeper's bell.
pub struct Bell {
    parked: AtomicBool,
    unpark: Arc<dyn Unpark>,
}

impl Bell {
    /// A bell that ends sleeps through `unpark`.
    pub fn new(unpark: Arc<dyn Unpark>) -> Self {
        Self { parked: AtomicBool::new(false), unpark }
    }

    /// Tells the sleeper that work was published.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::AcqRel) {
            self.unpark.unpark();
        }
    }

    /// Announces that the caller is about to sleep; it must look for work once more after this.
    pub fn prepare(&self) {
        self.parked.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// The sleep is over, or did not begin.
    pub fn awake(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }
}

impl Unpark for Bell {
    fn unpark(&self) {
        self.ring();
    }
}
