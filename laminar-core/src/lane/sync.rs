//! The atomics and cells of the ring; the model checker's tests put their own in this place.

pub use std::sync::Arc;
pub use std::sync::atomic::{AtomicUsize, Ordering};

/// `std::cell::UnsafeCell` with the access style of the model checker.
pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    /// A cell.
    pub fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Lends the cell's address for a read.
    pub fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    /// Lends the cell's address for a write.
    pub fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}
