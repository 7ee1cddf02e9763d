//! Epochs: when barriers are injected, when an epoch is complete, when a checkpoint is published.
//!
//! Invariant: everything here is a pure state machine; time and reports come in, actions go out.

mod coordinator;

pub use coordinator::{Action, Coordinator, Pace, Wanted};
