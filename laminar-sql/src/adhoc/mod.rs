//! Ad-hoc SELECT: full DataFusion over rows that the caller has read at one epoch.
//!
//! Invariant: an ad-hoc query never touches the engine; it names the relations it needs, the caller
//! hands their rows over, and everything runs on tokio within a memory limit.

pub mod pg_catalog;
mod query;
mod relation;
mod session;
mod stoppable;

pub use query::{AdhocQuery, QueryRows, RelationRows, RelationUse};
pub use session::{memory_bytes, state};
pub use stoppable::{Stop, StopOnDrop};
