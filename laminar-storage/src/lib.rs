//! Bytes that survive: the disk port, the write-ahead log, state arenas, page files, outboxes, the
//! manifest and recovery.
//!
//! Invariant: nothing here knows SQL, operators, tokio or the wall clock; every byte reaches the
//! disk through [`disk::Disk`], so the same code runs on a real and on a simulated disk.

pub mod arena;
pub mod crash_point;
#[cfg(test)]
mod crash_tests;
pub mod disk;
mod error;
pub mod ids;
pub mod incarnation;
pub mod lock;
pub mod log;
pub mod manifest;
pub mod mutant;
pub mod outbox;
pub mod page_file;
pub mod recovery;
pub mod wal;

pub use error::{Result, Retry, StorageError};
