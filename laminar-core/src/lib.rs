//! The engine: reactors, shards, lanes, operators, time, epochs, the pipeline graph, and the ports
//! for connectors and expressions.
//!
//! Invariant: nothing here knows DataFusion, tokio, HTTP or any connector; nothing outside
//! `reactor/` touches glommio, a clock, a thread or a random number. An operator is a synchronous
//! state machine, so the same code runs in a reactor and in a seeded simulation.

pub mod aggregate;
pub mod connector;
pub mod control;
pub mod data;
pub mod engine;
pub mod epoch;
pub mod expr;
pub mod graph;
pub mod lane;
pub mod operator;
pub mod quote;
pub mod reactor;
pub mod shard;
pub mod watermark;

pub use laminar_storage::{crash_point, ids};
