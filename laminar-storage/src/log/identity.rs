//! Names and identities of logs: directory id, log id, segment file names.
//!
//! Invariant: two different logs never share a log id input or a file name; a file name says kind,
//! owner, incarnation and segment, so that a directory listing is enough to find every log.

use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::frame::FrameKind;
use crate::disk::Disk;
use crate::error::{Result, StorageError};
use crate::ids::{Incarnation, ObjectId, ReactorId, ShardId};

/// Random number given to a data directory when it is created; tells its files from another's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DirectoryId(pub u64);

/// Identity of one log; seeds all checksums of its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogId(pub u64);

impl LogId {
    /// The id of a log: a hash of the data directory and of what the log is.
    pub fn of(directory: DirectoryId, kind: [u8; 4], numbers: [u64; 3]) -> Self {
        let mut bytes = [0; 36];
        bytes[..8].copy_from_slice(&directory.0.to_le_bytes());
        bytes[8..12].copy_from_slice(&kind);
        for (at, number) in numbers.iter().enumerate() {
            bytes[12 + at * 8..20 + at * 8].copy_from_slice(&number.to_le_bytes());
        }
        Self(xxh3_64(&bytes))
    }
}

/// Which log: the part of a segment's file name before the segment number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum LogName {
    Wal { incarnation: Incarnation, reactor: ReactorId },
    Outbox { sink: ObjectId, shard: ShardId, incarnation: Incarnation },
}

/// One segment file found on disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentFile {
    pub(crate) log: LogName,
    pub(crate) segment: u64,
}

impl LogName {
    pub(crate) const fn kind(self) -> FrameKind {
        match self {
            Self::Wal { .. } => FrameKind::Wal,
            Self::Outbox { .. } => FrameKind::Outbox,
        }
    }

    pub(crate) fn directory(self) -> &'static Path {
        match self {
            Self::Wal { .. } => Path::new("wal"),
            Self::Outbox { .. } => Path::new("outbox"),
        }
    }

    pub(crate) fn id(self, directory: DirectoryId) -> LogId {
        let numbers = match self {
            Self::Wal { incarnation, reactor } => [u64::from(incarnation.0), u64::from(reactor.0), 0],
            Self::Outbox { sink, shard, incarnation } => [sink.0, u64::from(shard.0), u64::from(incarnation.0)],
        };
        LogId::of(directory, self.kind().magic(), numbers)
    }

    pub(crate) fn segment_path(self, segment: u64) -> PathBuf {
        let name = match self {
            Self::Wal { incarnation, reactor } => format!("i{:010}-r{:05}-{segment:010}.wal", incarnation.0, reactor.0),
            Self::Outbox { sink, shard, incarnation } => {
                format!("k{:020}-h{:05}-i{:010}-{segment:010}.out", sink.0, shard.0, incarnation.0)
            }
        };
        self.directory().join(name)
    }

    fn parse(name: &str) -> Option<SegmentFile> {
        let (stem, kind) = name.rsplit_once('.')?;
        let fields: Vec<&str> = stem.split('-').collect();
        let number = |text: &str, prefix: char| text.strip_prefix(prefix)?.parse::<u64>().ok();
        let (log, segment) = match (kind, fields.as_slice()) {
            ("wal", [incarnation, reactor, segment]) => {
                let incarnation = Incarnation(u32::try_from(number(incarnation, 'i')?).ok()?);
                let reactor = ReactorId(u16::try_from(number(reactor, 'r')?).ok()?);
                (Self::Wal { incarnation, reactor }, *segment)
            }
            ("out", [sink, shard, incarnation, segment]) => {
                let sink = ObjectId(number(sink, 'k')?);
                let shard = ShardId(u16::try_from(number(shard, 'h')?).ok()?);
                let incarnation = Incarnation(u32::try_from(number(incarnation, 'i')?).ok()?);
                (Self::Outbox { sink, shard, incarnation }, *segment)
            }
            _ => return None,
        };
        let file = SegmentFile { log, segment: segment.parse().ok()? };
        // Only the one spelling that we write is ours.
        (file.path().file_name()?.to_str()? == name).then_some(file)
    }
}

impl SegmentFile {
    pub(crate) fn path(&self) -> PathBuf {
        self.log.segment_path(self.segment)
    }

    /// All segment files in a log directory, sorted by log and segment; other names are left alone.
    pub(crate) fn list(disk: &mut dyn Disk, directory: &Path) -> Result<Vec<Self>> {
        let names = disk.list(directory).map_err(StorageError::disk("list log segments"))?;
        let mut found: Vec<Self> = names.iter().filter_map(|name| LogName::parse(name)).collect();
        found.sort();
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_names_read_back_and_foreign_names_do_not() {
        let wal = LogName::Wal { incarnation: Incarnation(7), reactor: ReactorId(3) };
        let outbox = LogName::Outbox { sink: ObjectId(u64::MAX), shard: ShardId(4095), incarnation: Incarnation(1) };
        for log in [wal, outbox] {
            let path = log.segment_path(12);
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            assert_eq!(LogName::parse(&name), Some(SegmentFile { log, segment: 12 }));
            assert_eq!(LogName::parse(&format!("{name}.old")), None);
            assert_eq!(LogName::parse(&name.replace("0000012", "12")), None);
        }
        assert_eq!(wal.segment_path(0).to_str(), Some("wal/i0000000007-r00003-0000000000.wal"));
    }

    #[test]
    fn log_ids_are_frozen_and_differ() {
        let directory = DirectoryId(0xABCD);
        let wal = LogName::Wal { incarnation: Incarnation(7), reactor: ReactorId(3) }.id(directory);
        let other = LogName::Wal { incarnation: Incarnation(3), reactor: ReactorId(7) }.id(directory);
        assert_ne!(wal, other);
        assert_eq!(format!("{:016x}", wal.0), FROZEN_LOG_ID);
    }
    const FROZEN_LOG_ID: &str = "87bc7bf6c4e65a33";
}
