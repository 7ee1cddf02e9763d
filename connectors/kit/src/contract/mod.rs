//! The contract that every connector and format passes, as functions for their tests.
//!
//! Invariant: a breach panics with the sentence that was broken; nothing here sleeps, waiting is for
//! a wake with a deadline, and paced readers are given a virtual clock.

mod collect;
mod decoder;
mod exact_sink;
mod sink;
mod source;

use laminar_core::ids::CheckpointNumber;

pub use collect::{Collected, Item, drain, drain_from};
pub use decoder::decoder;
pub use exact_sink::exact_sink;
pub use sink::{Written, sink};
pub use source::source;

/// What a data directory knows that is behind no target.
pub const NEWEST: CheckpointNumber = CheckpointNumber(u64::MAX);
