//! The reading side of an outbox, for an applier on its own thread with its own disk handle.
//!
//! Invariant: it yields exactly the frames between two positions, verified, in order. Everything
//! it is asked for was durable or written, so a frame that does not verify is damage.

use super::EPOCH_BYTES;
use super::cut::segments_of;
use crate::disk::Disk;
use crate::error::{Result, StorageError};
use crate::ids::{Epoch, ObjectId, OutboxPosition, ShardId};
use crate::log::{DirectoryId, Known, LogReader, ReadFrom, Record, SegmentFile, first_position, walk_headers};

/// One staged frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxFrame {
    /// Position after the frame: the next read starts here.
    pub position: OutboxPosition,
    /// The epoch that made it.
    pub epoch: Epoch,
    /// The bytes that were appended.
    pub payload: Vec<u8>,
}

/// Reads the outbox of one sink and shard.
pub struct OutboxReader {
    directory: DirectoryId,
    owner: (ObjectId, ShardId),
}

impl OutboxReader {
    /// A reader; no file is touched yet.
    pub const fn new(directory: DirectoryId, sink: ObjectId, shard: ShardId) -> Self {
        Self { directory, owner: (sink, shard) }
    }

    /// Reads frames between `from` and `to`, until about `max_bytes` are read. To go on, read again
    /// from the last frame's position. Empty only when `from` has reached `to`.
    ///
    /// # Errors
    /// [`StorageError::Rot`] when a frame is missing or does not verify; the disk's.
    pub fn read(
        &self,
        disk: &mut dyn Disk,
        from: OutboxPosition,
        to: OutboxPosition,
        max_bytes: usize,
    ) -> Result<Vec<OutboxFrame>> {
        let mut frames = Vec::new();
        let mut bytes = 0;
        let mut at = from;
        while at < to && bytes < max_bytes {
            let before = at;
            let mut log = self.open_at(disk, at, to)?;
            while at < to && bytes < max_bytes {
                let Some(record) = log.next(disk)? else { break };
                if record.end > to.0 {
                    break;
                }
                let frame = self.frame(&record)?;
                at = frame.position;
                bytes += frame.payload.len();
                frames.push(frame);
            }
            log.close(disk);
            if at == before {
                return Err(self.damage(disk, at, to)?);
            }
        }
        Ok(frames)
    }

    /// Opens the one incarnation's part of the stream that holds the frame after `at`.
    fn open_at(&self, disk: &mut dyn Disk, at: OutboxPosition, to: OutboxPosition) -> Result<LogReader> {
        let segments = segments_of(disk, self.owner)?;
        // The newest incarnation that begins at or before the position owns it: recovery has cut the
        // older ones where a newer one begins.
        let mut owner: Option<SegmentFile> = None;
        for segment in segments.iter().rev() {
            let walked = walk_headers(disk, self.directory, segment, to.0)?;
            if walked.is_some_and(|walk| walk.first <= at.0 && at.0 < walk.end) {
                owner = Some(segment.clone());
                break;
            }
        }
        let Some(owner) = owner else { return Err(self.damage(disk, at, to)?) };
        let wanted = ReadFrom { origin: at.0, position: at.0, known: Known::Durable(0) };
        LogReader::open(disk, self.directory, owner.log, vec![owner], wanted)
    }

    fn frame(&self, record: &Record<'_>) -> Result<OutboxFrame> {
        let Some((epoch, payload)) = record.payload.split_first_chunk::<EPOCH_BYTES>() else {
            return Err(StorageError::Malformed {
                file: self.name(),
                offset: record.end,
                detail: "a frame has no epoch".to_owned(),
            });
        };
        Ok(OutboxFrame {
            position: OutboxPosition(record.end),
            epoch: Epoch::from_u64(u64::from_le_bytes(*epoch)),
            payload: payload.to_vec(),
        })
    }

    fn name(&self) -> String {
        format!("outbox of sink {}, shard {}", self.owner.0, self.owner.1)
    }

    /// What is wrong when no frame follows a position: named is the place where it should stand.
    fn damage(&self, disk: &mut dyn Disk, at: OutboxPosition, to: OutboxPosition) -> Result<StorageError> {
        let mut place = (self.name(), 0);
        for segment in segments_of(disk, self.owner)? {
            let name = || segment.path().display().to_string();
            match first_position(disk, self.directory, &segment)? {
                None => place = (name(), 0),
                Some(first) if first <= at.0 => {
                    let before = walk_headers(disk, self.directory, &segment, at.0)?;
                    place = (name(), before.map_or(0, |walk| walk.end_offset));
                    if walk_headers(disk, self.directory, &segment, to.0)?.is_some_and(|walk| at.0 < walk.end) {
                        break;
                    }
                }
                Some(_) => {}
            }
        }
        let detail = format!("no verified frame follows position {at}, staged are frames up to {to}");
        Ok(StorageError::Rot { file: place.0, offset: place.1, detail })
    }
}
