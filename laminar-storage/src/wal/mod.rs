//! The write-ahead log: pushed rows and table changes, one log per reactor and incarnation.
//!
//! Invariant (W1): a record whose position is at or below [`Wal::durable`] is returned by every later
//! [`Reader`] of that incarnation, in order, once; what a reader returns is a prefix, never with a gap.

mod reader;
mod truncate;
mod writer;

pub use reader::{Reader, WalRecord};
pub(crate) use truncate::sync;
pub use truncate::{WalLog, list, remove};
pub use writer::Wal;

#[cfg(test)]
mod tests;
