//! The real binary, asked from outside: configuration, both protocols, restarts, tools.
//!
//! Each test starts its own server in its own directory on ports the system chooses.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../../../connectors/postgres/src/tests/cluster.rs"]
#[allow(dead_code, reason = "the connector's own tests share a server")]
mod cluster;
mod conserved;
mod consistency;
mod crash_points;
mod demo;
mod durable;
mod exact;
mod freed;
mod ingest;
mod memory;
mod pause;
mod process;
mod protocol;
mod random_bytes;
mod slt;
mod spill;
mod start;
mod tools;
mod traffic;
mod tried;
mod watermark;
