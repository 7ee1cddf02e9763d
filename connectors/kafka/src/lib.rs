//! Kafka: a source that reads partitions on the reactors, a sink that writes at least once or in
//! transactions exactly once, and an embedded broker for trying out.
//!
//! Invariant: no group ever rebalances us (partitions are assigned by the engine), offsets live in
//! checkpoints, and an offset that is gone is an error, never a jump.

mod acks;
mod bootstrap;
mod client;
mod embedded;
mod error;
mod logging;
mod options;
mod progress;
mod properties;
mod queue;
mod sink;
mod source;
mod split;
#[cfg(test)]
mod tests;
mod transactions;

pub use bootstrap::Bootstrap;
pub use embedded::EmbeddedBroker;
pub use error::Trouble;
pub use sink::{KafkaApplier, KafkaSinkFactory};
pub use source::{KafkaSource, KafkaSourceFactory};
pub use transactions::KafkaTransactions;
