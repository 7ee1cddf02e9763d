//! The reading side of the WAL: one finished log, from a position.
//!
//! Invariant: the log's incarnation is over; nobody writes it any more.

use crate::disk::Disk;
use crate::error::Result;
use crate::ids::{Incarnation, Lsn, ReactorId, ShardId};
use crate::log::{DirectoryId, Known, LogEnd, LogName, LogReader, ReadFrom, SegmentFile};

/// One record of the WAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalRecord {
    /// Position after the record; replay from here starts behind it.
    pub lsn: Lsn,
    /// The shard it belongs to.
    pub shard: ShardId,
    /// The bytes that were appended.
    pub payload: Vec<u8>,
}

/// Reads one finished log in order.
pub struct Reader {
    log: LogReader,
}

impl Reader {
    /// Opens the log of a finished incarnation. Records that end at or before `from` are skipped.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(
        disk: &mut dyn Disk,
        directory: DirectoryId,
        (incarnation, reactor): (Incarnation, ReactorId),
        from: Lsn,
        known: Known,
    ) -> Result<Self> {
        let name = LogName::Wal { incarnation, reactor };
        let mut segments = SegmentFile::list(disk, name.directory())?;
        segments.retain(|segment| segment.log == name);
        let wanted = ReadFrom { origin: 0, position: from.0, known };
        Ok(Self { log: LogReader::open(disk, directory, name, segments, wanted)? })
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// [`crate::StorageError::Rot`] when something durable does not verify, [`crate::StorageError::Malformed`],
    /// the disk's.
    pub fn next(&mut self, disk: &mut dyn Disk) -> Result<Option<WalRecord>> {
        Ok(self.log.next(disk)?.map(|record| WalRecord {
            lsn: Lsn(record.end),
            shard: ShardId(record.tag as u16),
            payload: record.payload.to_vec(),
        }))
    }

    /// Where and how the log ended, after [`Reader::next`] has returned `None`.
    pub fn end(&self) -> Option<&LogEnd> {
        self.log.end()
    }
}
