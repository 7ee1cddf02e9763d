//! The disk port and its worlds: the real one and the simulated one.

mod port;

pub use port::{Completion, Disk, DiskError, DiskErrorKind, DiskOp, DiskResult, FileId, Ticket};
