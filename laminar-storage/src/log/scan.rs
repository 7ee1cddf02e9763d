//! Looks behind a bad frame: is there proof that it was once durable?
//!
//! Invariant (W2): the answer is the largest durable horizon of any frame header that verifies
//! behind the place; it is true whether or not that frame's payload survived. A file that is shorter than a
//! header in it says was cut short, and what it held is not known.

use super::cursor::SegmentCursor;
use super::frame::{FrameKind, HEADER_BYTES, Parsed, SECTOR, parse_header};
use super::identity::{DirectoryId, SegmentFile};
use crate::disk::Disk;
use crate::error::{Result, StorageError};

/// Read at once. Small enough that a scan of many short logs does not live on fresh memory.
const CHUNK: usize = 128 << 10;

/// A frame behind the bad place that knows what was durable.
pub(super) struct Proof {
    pub(super) horizon: u64,
    pub(super) file: String,
    pub(super) offset: u64,
}

/// What was found behind a place.
#[derive(Default)]
pub(super) struct Evidence {
    /// The frame that knows most.
    pub(super) best: Option<Proof>,
    /// A file that was longer.
    pub(super) short: Option<Short>,
}

/// A file that was cut short.
pub(super) struct Short {
    pub(super) file: String,
    /// Its length.
    pub(super) bytes: u64,
    /// The length that it had at least.
    pub(super) whole: u64,
}

impl Short {
    /// A WAL segment is allocated whole before its first frame is written and never cut (an outbox is, at recovery).
    pub(super) fn of(cursor: &SegmentCursor, stated_bytes: u64) -> Option<Self> {
        let bytes = cursor.len();
        let whole = stated_bytes.max(bytes.next_multiple_of(SECTOR as u64));
        let short = cursor.kind() == FrameKind::Wal && bytes < whole;
        short.then(|| Self { file: cursor.file_name(), bytes, whole })
    }
}

/// The evidence in `segment` from `offset` on and in all of `later`.
pub(super) fn evidence(
    disk: &mut dyn Disk,
    directory: DirectoryId,
    here: Option<(&SegmentCursor, u64)>,
    later: &[SegmentFile],
) -> Result<Evidence> {
    let mut found = Evidence::default();
    if let Some((cursor, offset)) = here {
        scan_segment(disk, cursor, offset, &mut found)?;
    }
    for segment in later {
        let id = segment.log.id(directory);
        let cursor = SegmentCursor::open(disk, segment.clone(), id)?;
        let scanned = scan_segment(disk, &cursor, 0, &mut found);
        cursor.close(disk);
        scanned?;
    }
    Ok(found)
}

fn scan_segment(disk: &mut dyn Disk, cursor: &SegmentCursor, from: u64, found: &mut Evidence) -> Result<()> {
    let mut chunk = vec![0; CHUNK.min(cursor.len() as usize)];
    let mut start = from;
    let mut stated_bytes = 0;
    while start < cursor.len() {
        let got = disk.read_at(cursor.file(), start, &mut chunk).map_err(StorageError::disk("scan a log segment"))?;
        if got == 0 {
            break;
        }
        for at in (0..got).step_by(SECTOR) {
            let bytes = &chunk[at..got.min(at + HEADER_BYTES)];
            let offset = start + at as u64;
            // Of a torn frame only the header may be left, so its length is not compared with the file.
            let Parsed::Header(header) = parse_header(bytes, cursor.kind(), cursor.place_at(offset), u64::MAX) else {
                continue;
            };
            stated_bytes = stated_bytes.max(header.file_bytes());
            if found.best.as_ref().is_none_or(|proof| proof.horizon < header.horizon) {
                found.best = Some(Proof { horizon: header.horizon, file: cursor.file_name(), offset });
            }
        }
        start += got as u64;
    }
    found.short = found.short.take().or_else(|| Short::of(cursor, stated_bytes));
    Ok(())
}
