//! The atomics of the wake-up protocol; the model checker's tests put their own in this place.

pub use std::sync::atomic::{AtomicBool, Ordering, fence};
