//! Walks the frame headers of one segment without reading payloads.
//!
//! Invariant: what it reports is contiguous from the segment's first frame on.

use super::cursor::{Found, SegmentCursor};
use super::identity::{DirectoryId, SegmentFile};
use crate::disk::Disk;
use crate::error::Result;

/// The frames of one segment, by their headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Walk {
    /// Position of the first frame.
    pub(crate) first: u64,
    /// Position after the last frame.
    pub(crate) end: u64,
    /// Offset after the last frame.
    pub(crate) end_offset: u64,
}

/// Walks frames that end at or before `to`; `None` when the segment begins with none.
pub(crate) fn walk_headers(
    disk: &mut dyn Disk,
    directory: DirectoryId,
    segment: &SegmentFile,
    to: u64,
) -> Result<Option<Walk>> {
    let mut cursor = SegmentCursor::open(disk, segment.clone(), segment.log.id(directory))?;
    let walked = walk(disk, &mut cursor, to);
    cursor.close(disk);
    walked
}

/// Position of a segment's first frame, if it begins with one.
pub(crate) fn first_position(
    disk: &mut dyn Disk,
    directory: DirectoryId,
    segment: &SegmentFile,
) -> Result<Option<u64>> {
    let cursor = SegmentCursor::open(disk, segment.clone(), segment.log.id(directory))?;
    let found = cursor.peek(disk);
    cursor.close(disk);
    Ok(match found? {
        Found::Header(header) => Some(header.position),
        Found::Nothing => None,
    })
}

fn walk(disk: &mut dyn Disk, cursor: &mut SegmentCursor, to: u64) -> Result<Option<Walk>> {
    let mut walk: Option<Walk> = None;
    while let Found::Header(header) = cursor.peek(disk)? {
        let end = header.position + u64::from(header.payload_bytes);
        let contiguous = walk.is_none_or(|walk| walk.end == header.position);
        if end > to || !contiguous {
            break;
        }
        cursor.seek(cursor.offset() + header.frame_bytes());
        let first = walk.map_or(header.position, |walk| walk.first);
        walk = Some(Walk { first, end, end_offset: cursor.offset() });
    }
    Ok(walk)
}
