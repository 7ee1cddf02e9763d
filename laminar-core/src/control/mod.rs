//! The control thread: catalog, deployments, epochs, reads, subscriptions, publication.
//!
//! Invariants: one [`Control`] per engine, stepped as a task; its commands reach every reactor in one
//! order; nothing here is on the way of a row.

mod applier_task;
mod boot;
mod catalog;
mod core;
mod deploy;
mod guarded;
mod memory;
mod pause;
mod planner;
mod pressure;
mod publish;
mod query;
mod sealed;
mod source_task;
mod spill;
mod start_progress;
mod status;
mod stop;

pub use core::{Control, ControlParts};
pub use planner::{home_of, table_pipeline};
pub use start_progress::{StartPhase, StartProgress, StartState};
