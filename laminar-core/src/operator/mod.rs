//! Operators: synchronous state machines, message in, messages out.
//!
//! One file per operator, families in folders; [`build`] makes each from its spec. Invariant: whatever
//! must survive a restart lies in the arena; after [`Operator::restore`] from the arena of a barrier the
//! output goes on exactly as if there had been no restart.

mod aggregate;
mod build;
mod checked;
mod filter;
#[cfg(test)]
mod harness;
mod layout;
mod materialize;
mod metrics;
mod port;
mod project;
mod rows;
#[cfg(test)]
mod tests;
mod union;
mod window;

pub use build::{Place, build};
pub use checked::Checked;
pub use layout::{Match, StateLayout, difference, layout};
pub use metrics::OperatorMetrics;
pub use port::{Barrier, Context, Counter, Operator, OperatorError, ReadCursor, Readable};
