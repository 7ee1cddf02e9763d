//! Looks behind a bad frame: is there proof that it was once durable?
//!
//! Invariant (W2): the answer is the largest durable horizon of any frame header that verifies
//! behind the place; it is true whether or not that frame's payload survived.

use super::cursor::SegmentCursor;
use super::frame::{HEADER_BYTES, Parsed, SECTOR, parse_header};
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

/// The strongest proof in `segment` from `offset` on and in all of `later`.
pub(super) fn strongest_proof(
    disk: &mut dyn Disk,
    directory: DirectoryId,
    here: Option<(&SegmentCursor, u64)>,
    later: &[SegmentFile],
) -> Result<Option<Proof>> {
    let mut best = None;
    if let Some((cursor, offset)) = here {
        scan_segment(disk, cursor, offset, &mut best)?;
    }
    for segment in later {
        let id = segment.log.id(directory);
        let cursor = SegmentCursor::open(disk, segment.clone(), id)?;
        let scanned = scan_segment(disk, &cursor, 0, &mut best);
        cursor.close(disk);
        scanned?;
    }
    Ok(best)
}

fn scan_segment(disk: &mut dyn Disk, cursor: &SegmentCursor, from: u64, best: &mut Option<Proof>) -> Result<()> {
    let mut chunk = vec![0; CHUNK.min(cursor.len() as usize)];
    let mut start = from;
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
            if best.as_ref().is_none_or(|proof| proof.horizon < header.horizon) {
                *best = Some(Proof { horizon: header.horizon, file: cursor.file_name(), offset });
            }
        }
        start += got as u64;
    }
    Ok(())
}
