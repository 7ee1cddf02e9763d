//! The disk port and its worlds: the real one and the simulated one.

mod blocking;
#[cfg(test)]
mod contract_tests;
mod fallocate;
mod port;
mod real;
mod sim;

pub use blocking::Blocking;
pub use port::{Completion, Disk, DiskError, DiskErrorKind, DiskOp, DiskResult, FileId, Ticket};
pub use real::{DiskCounters, DiskCounts, IoMode, RealDisk, Wake};
pub use sim::{Schedule, SimDisk, SimMachine, SimOp};
