//! HTTP: health, metrics, and the same commands as SQL for people with `curl`.
//!
//! One file per resource; `server` owns sockets and limits, `guard` decides who may ask, `problem`
//! is the one shape of every error (RFC 9457). Invariant: every answer but `/metrics` is JSON, also
//! 404, 405 and too large.

mod checkpoint;
mod guard;
mod health;
mod metrics;
mod pipelines;
mod problem;
mod result_json;
mod router;
mod rows;
mod server;
mod sinks;
mod sources;
mod sql;
#[cfg(test)]
mod tests;

pub use server::{Limits, serve};
