//! Recovery of an outbox: keeps what the manifest covers, removes what came after it.
//!
//! Invariant: nothing at or behind the manifest's position is left to be read; nothing before it is
//! touched.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::disk::{Blocking, Disk, DiskOp};
use crate::error::{Result, StorageError};
use crate::ids::{Incarnation, ObjectId, OutboxPosition, ShardId};
use crate::log::{DirectoryId, LogName, SegmentFile, first_position, walk_headers};

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

/// What cutting an outbox to a position keeps and removes.
#[derive(Default)]
struct Cut {
    kept: Vec<KeptSegment>,
    /// Segments that are cut, and where.
    tails: Vec<(SegmentFile, u64)>,
    superfluous: Vec<SegmentFile>,
}

/// The segments of one outbox that cutting it to the manifest's position `to` keeps. Changes nothing.
///
/// # Errors
/// The disk's.
pub fn kept(
    disk: &mut dyn Disk,
    directory: DirectoryId,
    owner: (ObjectId, ShardId),
    to: OutboxPosition,
) -> Result<Vec<KeptSegment>> {
    Ok(survey(disk, directory, owner, to)?.kept)
}

/// Cuts one outbox to the manifest's position `to`. Blocks. Whether all is there that the target
/// still needs is known only with the target's marker; the reader checks it.
///
/// # Errors
/// The disk's.
pub fn cut(
    disk: &mut dyn Disk,
    directory: DirectoryId,
    owner: (ObjectId, ShardId),
    to: OutboxPosition,
) -> Result<Vec<KeptSegment>> {
    let Cut { kept, tails, superfluous } = survey(disk, directory, owner, to)?;
    remove_tail(disk, &tails, &superfluous)?;
    Ok(kept)
}

fn survey(disk: &mut dyn Disk, directory: DirectoryId, owner: (ObjectId, ShardId), to: OutboxPosition) -> Result<Cut> {
    let mut cut = Cut::default();
    let mut next = to;
    for file in segments_of(disk, owner)?.into_iter().rev() {
        let first = first_position(disk, directory, &file)?.map(OutboxPosition);
        match first {
            // Behind the cut, or never written.
            Some(first) if first >= to => cut.superfluous.push(file),
            None if cut.kept.is_empty() => cut.superfluous.push(file),
            _ => {
                let walked = walk_headers(disk, directory, &file, to.0)?;
                if let Some(walk) = walked.filter(|walk| walk.end == to.0) {
                    cut.tails.push((file.clone(), walk.end_offset));
                }
                // A damaged beginning is kept as it is: the reader refuses it if it is needed.
                let first = first.unwrap_or(next).min(next);
                cut.kept.push(KeptSegment { first, end: next, file });
                next = first;
            }
        }
    }
    cut.kept.reverse();
    Ok(cut)
}

/// Removes all files of an outbox whose sink was dropped. Blocks.
///
/// # Errors
/// The disk's.
pub fn remove(disk: &mut dyn Disk, owner: (ObjectId, ShardId)) -> Result<()> {
    let all = segments_of(disk, owner)?;
    remove_tail(disk, &[], &all)
}

fn remove_tail(disk: &mut dyn Disk, tails: &[(SegmentFile, u64)], superfluous: &[SegmentFile]) -> Result<()> {
    for (segment, end_offset) in tails {
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
