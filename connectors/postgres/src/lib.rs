//! PostgreSQL as a sink: rows of a stream or view in a table, at least once or exactly once.
//!
//! Invariants: one transaction holds the rows of a commit and, with exactly-once delivery, the
//! progress row; a life that a younger one has followed commits nothing (K6); rows are what
//! PostgreSQL itself reads from the JSON records, no type is converted here.

mod applier;
mod error;
mod identifier;
mod lasting;
mod options;
mod progress;
mod rows;
mod session;
mod sink;
mod target;
#[cfg(test)]
mod tests;

pub use applier::PostgresApplier;
pub use error::Trouble;
pub use options::PostgresSinkOptions;
pub use sink::PostgresSinkFactory;
