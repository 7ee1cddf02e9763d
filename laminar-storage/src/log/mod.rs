//! The segmented log under WAL and outbox: frames, segments, one writer, one reader.
//!
//! A log is a row of pre-allocated segment files, written once from front to back in frames (one
//! frame = one group of records). Positions count record bytes and never repeat.
//!
//! Invariant: a log is written by one incarnation only; frames of one log are contiguous in
//! position; every frame carries the durable horizon known when it was written.

mod cursor;
pub(crate) mod frame;
mod groups;
mod identity;
mod options;
mod prepare;
mod reader;
mod scan;
mod walk;
mod writer;

pub use identity::{DirectoryId, LogId};
pub(crate) use identity::{LogName, SegmentFile};
pub use options::{LogOptions, MAX_RECORD_BYTES};
pub use reader::{Known, LogEnd};
pub(crate) use reader::{LogReader, ReadFrom, Record};
pub(crate) use walk::{first_position, walk_headers};
pub(crate) use writer::{LogWriter, SyncPolicy};

/// Bytes before each record's payload: length and tag.
pub(crate) const RECORD_HEADER_BYTES: usize = 8;
