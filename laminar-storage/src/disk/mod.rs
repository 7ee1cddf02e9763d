//! The disk port and its worlds: the real one and the simulated one.

mod blocking;
mod buffer;
#[cfg(test)]
mod contract_tests;
mod port;
mod real;
mod scratch;
mod sim;
mod volume;

pub use blocking::Blocking;
pub use buffer::IoBuffer;
pub use port::{Completion, Disk, DiskError, DiskErrorKind, DiskOp, DiskResult, FileId, ReadAt, Scratch, Ticket};
pub use real::{DiskCounters, DiskCounts, IoMode, RealDisk, Wake};
pub use sim::{Kept, Schedule, SimDisk, SimMachine, SimOp};
pub use volume::volume_bytes;
