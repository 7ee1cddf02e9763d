//! Seeded simulation of the whole engine under SQL: one thread, virtual time, a simulated disk.
//!
//! Today it is the [`World`]: a database without threads, sockets and clocks, that a test feeds, crashes
//! and reads, and the property tests over it (`tests/`). Connectors, network and a model broker are
//! not simulated yet.
//!
//! Invariant: a world with one seed and one sequence of calls does the same every time.

mod broker;
mod error;
mod world;

pub use broker::{Broker, Fate};
pub use error::SimError;
pub use world::{Restart, World, WorldOptions};
