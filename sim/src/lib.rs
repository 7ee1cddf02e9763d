//! Seeded simulation of the whole engine under SQL: one thread, virtual time, a simulated disk.
//!
//! The [`World`] is a database without threads, sockets and clocks beside a model broker, that a test feeds,
//! crashes and reads. A [`Scenario`] is what one seed makes of it: a pipeline, random rows and faults; [`run`]
//! plays it and checks what the database promises.
//!
//! Invariant: a world with one seed and one sequence of calls does the same every time.

mod boot;
mod broker;
mod error;
mod run;
mod scenario;
mod shrink;
mod world;

pub use broker::{Broker, Fate};
pub use error::SimError;
pub use laminar_storage::mutant;
pub use run::{Report, run};
pub use scenario::{Pushed, Query, Row, Scenario, Size, Step};
pub use shrink::shrink;
pub use world::{Restart, World, WorldOptions};
