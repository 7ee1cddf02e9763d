//! The manifest's file: frames and places.
//!
//! Invariant: the first frame is seeded with segment 0 and names the generation; all others are
//! seeded with the generation, so that a record of an earlier file never verifies in a later one.

use std::path::Path;

use super::codec::Record;
use crate::log::frame::{FrameKind, FrameNumbers, Place, close_frame, open_frame};
use crate::log::{DirectoryId, LogId};

pub(super) const PATH: &str = "MANIFEST";
pub(super) const NEXT_PATH: &str = "MANIFEST.next";
/// No manifest is larger; bounds every allocation made while reading it.
pub(super) const MAX_BYTES: u64 = 1 << 30;

pub(super) fn path() -> &'static Path {
    Path::new(PATH)
}

pub(super) fn log_id(directory: DirectoryId) -> LogId {
    LogId::of(directory, FrameKind::Manifest.magic(), [0; 3])
}

/// Where a record of a file stands.
pub(super) const fn place(log: LogId, generation: u64, offset: u64) -> Place {
    Place { log, segment: if offset == 0 { 0 } else { generation }, offset }
}

/// The frame of one record; the records before `horizon` are durable when it counts.
pub(super) fn frame(record: &Record, sequence: u64, horizon: u64, place: Place) -> Vec<u8> {
    let mut buffer = open_frame(256);
    record.encode(&mut buffer);
    let numbers = FrameNumbers { position: sequence, horizon, count: 1, file_blocks: 0 };
    close_frame(&mut buffer, FrameKind::Manifest, place, numbers);
    buffer
}
