//! Reads frames of one segment file, one after the other.
//!
//! Invariant: a payload is handed out only after both checksums have verified; no buffer is larger
//! than the file.

use super::frame::{FrameHeader, FrameKind, HEADER_BYTES, Parsed, Place, parse_header};
use super::identity::{LogId, SegmentFile};
use crate::disk::{Disk, FileId};
use crate::error::{Result, StorageError};

/// What stands at the cursor.
pub(super) enum Found {
    /// A frame whose header verifies; the payload is not read yet.
    Header(FrameHeader),
    /// No frame: end of what was written, a torn write, or rot.
    Nothing,
}

/// A position in one open segment file.
pub(super) struct SegmentCursor {
    segment: SegmentFile,
    id: LogId,
    file: FileId,
    len: u64,
    offset: u64,
}

impl SegmentCursor {
    pub(super) fn open(disk: &mut dyn Disk, segment: SegmentFile, id: LogId) -> Result<Self> {
        let file = disk.open(&segment.path()).map_err(StorageError::disk("open a log segment"))?;
        match disk.len(file) {
            Ok(len) => Ok(Self { segment, id, file, len, offset: 0 }),
            Err(error) => {
                disk.close(file);
                Err(StorageError::disk("length of a log segment")(error))
            }
        }
    }

    pub(super) fn close(self, disk: &mut dyn Disk) {
        disk.close(self.file);
    }

    pub(super) fn file(&self) -> FileId {
        self.file
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn segment(&self) -> u64 {
        self.segment.segment
    }

    pub(super) fn file_name(&self) -> String {
        self.segment.path().display().to_string()
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn seek(&mut self, offset: u64) {
        self.offset = offset;
    }

    pub(super) fn kind(&self) -> FrameKind {
        self.segment.log.kind()
    }

    pub(super) fn place_at(&self, offset: u64) -> Place {
        Place { log: self.id, segment: self.segment.segment, offset }
    }

    fn place(&self) -> Place {
        self.place_at(self.offset)
    }

    /// Looks at the header under the cursor.
    pub(super) fn peek(&self, disk: &mut dyn Disk) -> Result<Found> {
        let room = self.len.saturating_sub(self.offset);
        if room < HEADER_BYTES as u64 {
            return Ok(Found::Nothing);
        }
        let mut bytes = [0; HEADER_BYTES];
        let got = disk.read_at(self.file, self.offset, &mut bytes).map_err(StorageError::disk("read a log segment"))?;
        match parse_header(&bytes[..got], self.kind(), self.place(), room - HEADER_BYTES as u64) {
            Parsed::Header(header) => Ok(Found::Header(header)),
            Parsed::Nothing => Ok(Found::Nothing),
            Parsed::Newer(version) => Err(StorageError::Version {
                file: self.file_name(),
                found: u32::from(version),
                supported: u32::from(super::frame::FRAME_VERSION),
            }),
        }
    }

    /// Reads the payload of a header that [`SegmentCursor::peek`] found here; false if it does not verify.
    pub(super) fn payload(&self, disk: &mut dyn Disk, header: &FrameHeader, into: &mut Vec<u8>) -> Result<bool> {
        into.clear();
        into.resize(header.payload_bytes as usize, 0);
        let at = self.offset + HEADER_BYTES as u64;
        let got = disk.read_at(self.file, at, into).map_err(StorageError::disk("read a log segment"))?;
        into.truncate(got);
        Ok(header.verifies(into, self.place()))
    }
}
