//! Recovery of an outbox: keeps what the manifest covers, removes what came after it.
//!
//! Invariant: afterwards the kept segments are contiguous, begin at or before the position that the
//! target may still need, and end exactly at the manifest's position.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::disk::{Blocking, Disk, DiskOp};
use crate::error::{Result, StorageError};
use crate::ids::{Incarnation, ObjectId, OutboxPosition, ShardId};
use crate::log::{DirectoryId, LogName, SegmentFile, walk_headers};

/// A segment of a former incarnation that still holds frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSegment {
    /// Position of its first frame.
    pub first: OutboxPosition,
    /// Position after its last frame.
    pub end: OutboxPosition,
    pub(crate) file: SegmentFile,
}

impl KeptSegment {
    pub(crate) fn path(&self) -> PathBuf {
        self.file.path()
    }
}

/// The segment files of all outboxes, by sink and shard.
pub type OutboxFiles = BTreeMap<(ObjectId, ShardId), Vec<PathBuf>>;

/// All outboxes that have a file in the data directory.
///
/// # Errors
/// The disk's.
pub fn list(disk: &mut dyn Disk) -> Result<OutboxFiles> {
    let mut found = OutboxFiles::new();
    for segment in segments(disk)? {
        if let LogName::Outbox { sink, shard, .. } = segment.log {
            found.entry((sink, shard)).or_default().push(segment.path());
        }
    }
    Ok(found)
}

fn segments(disk: &mut dyn Disk) -> Result<Vec<SegmentFile>> {
    let any = LogName::Outbox { sink: ObjectId(0), shard: ShardId(0), incarnation: Incarnation(0) };
    SegmentFile::list(disk, any.directory())
}

/// The segments of one outbox, oldest first.
pub(super) fn segments_of(disk: &mut dyn Disk, owner: (ObjectId, ShardId)) -> Result<Vec<SegmentFile>> {
    let mut found = segments(disk)?;
    found.retain(|segment| matches!(segment.log, LogName::Outbox { sink, shard, .. } if (sink, shard) == owner));
    Ok(found)
}

/// Cuts one outbox to the manifest's position `to`; frames from `held_from` on must be there. Blocks.
///
/// # Errors
/// [`StorageError::Rot`] when the range is not whole (nothing is removed then); the disk's.
pub fn cut(
    disk: &mut dyn Disk,
    directory: DirectoryId,
    owner: (ObjectId, ShardId),
    held_from: OutboxPosition,
    to: OutboxPosition,
) -> Result<Vec<KeptSegment>> {
    let mut kept: Vec<(KeptSegment, u64)> = Vec::new();
    let mut superfluous = Vec::new();
    let mut need = to.0;
    for file in segments_of(disk, owner)?.into_iter().rev() {
        let walked = walk_headers(disk, directory, &file, to.0)?;
        match walked {
            Some(walk) if walk.first < need && walk.end == need => {
                need = walk.first;
                let (first, end) = (OutboxPosition(walk.first), OutboxPosition(walk.end));
                kept.push((KeptSegment { first, end, file }, walk.end_offset));
            }
            _ => superfluous.push(file),
        }
    }
    if need > held_from.0 && to > held_from {
        return Err(StorageError::Rot {
            file: format!("outbox of sink {}, shard {}", owner.0, owner.1),
            offset: 0,
            detail: format!("frames from position {held_from} to {to} were durable, found only from {need}"),
        });
    }
    kept.reverse();
    remove_tail(disk, &kept, &superfluous)?;
    Ok(kept.into_iter().map(|(segment, _)| segment).collect())
}

fn remove_tail(disk: &mut dyn Disk, kept: &[(KeptSegment, u64)], superfluous: &[SegmentFile]) -> Result<()> {
    for (segment, end_offset) in kept {
        let file = disk.open(&segment.path()).map_err(StorageError::disk("open an outbox segment"))?;
        let cut = cut_file(disk, file, *end_offset);
        disk.close(file);
        cut?;
    }
    let mut blocking = Blocking::new(disk);
    for segment in superfluous {
        blocking
            .run(DiskOp::Remove { path: segment.path() })
            .map_err(StorageError::disk("remove an outbox segment"))?;
    }
    if let Some(segment) = superfluous.first() {
        blocking.sync_dir(segment.log.directory()).map_err(StorageError::disk("sync the outbox directory"))?;
    }
    Ok(())
}

fn cut_file(disk: &mut dyn Disk, file: crate::disk::FileId, len: u64) -> Result<()> {
    if disk.len(file).map_err(StorageError::disk("length of an outbox segment"))? <= len {
        return Ok(());
    }
    let mut blocking = Blocking::new(disk);
    blocking.run(DiskOp::Truncate { file, len }).map_err(StorageError::disk("cut an outbox segment"))?;
    blocking.sync(file).map_err(StorageError::disk("sync an outbox segment"))
}
