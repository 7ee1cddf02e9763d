//! The outboxes of the sinks on one reactor: what was staged and is not yet safe at the target.
//!
//! Invariant: when a checkpoint is reported, every frame that was staged before its barrier is either
//! acknowledged by the target or lies synced in an outbox.

use std::collections::VecDeque;

use super::EngineError;
use super::frame_bytes;
use super::stage::Stage;
use crate::connector::FrameRecord;
use crate::ids::{CheckpointNumber, Incarnation, ObjectId, ShardId};
use crate::operator::Barrier;
use laminar_storage::StorageError;
use laminar_storage::disk::{Completion, Disk};
use laminar_storage::ids::OutboxPosition;
use laminar_storage::log::{DirectoryId, LogOptions};
use laminar_storage::manifest::OutboxMark;
use laminar_storage::outbox::{Outbox, OutboxStart, largest_frame};

/// An outbox found at start, with the frames in it.
pub struct FoundOutbox {
    /// Where it goes on.
    pub start: OutboxStart,
    /// Its frames and the position behind each.
    pub frames: Vec<(FoundFrame, OutboxPosition)>,
}

/// A frame found at start: the checkpoint it belongs to and its records.
pub type FoundFrame = (CheckpointNumber, Vec<FrameRecord>);

struct Kept {
    sink: ObjectId,
    shard: ShardId,
    outbox: Outbox,
    /// The first frame that is not in it.
    next: u64,
    /// Frames in it that are not acknowledged.
    frames: VecDeque<(u64, OutboxPosition)>,
    /// What the checkpoint under way waits for.
    wanted: Option<OutboxPosition>,
}

/// All outboxes of one reactor.
pub struct Outboxes {
    directory: DirectoryId,
    incarnation: Incarnation,
    options: LogOptions,
    kept: Vec<Kept>,
    found: Vec<FoundOutbox>,
}

impl Outboxes {
    /// The outboxes of a reactor; `found` are those of its shards.
    pub fn new(directory: DirectoryId, incarnation: Incarnation, options: LogOptions, found: Vec<FoundOutbox>) -> Self {
        Self { directory, incarnation, options, kept: Vec::new(), found }
    }

    /// Bytes of the largest frame that fits in one.
    pub fn largest_frame(&self) -> usize {
        largest_frame(&self.options)
    }

    /// Frames of a sink and shard that must be sent again; opens its outbox.
    ///
    /// # Errors
    /// The storage's.
    pub fn resume(&mut self, sink: ObjectId, shard: ShardId) -> Result<Vec<FoundFrame>, EngineError> {
        let found = self.found.iter().position(|found| found.start.sink == sink && found.start.shard == shard);
        let Some(found) = found.map(|index| self.found.swap_remove(index)) else { return Ok(Vec::new()) };
        let outbox = self.open(found.start)?;
        let frames = found.frames.iter().enumerate().map(|(at, (_, position))| (at as u64, *position)).collect();
        let next = found.frames.len() as u64;
        self.kept.push(Kept { sink, shard, outbox, next, frames, wanted: None });
        Ok(found.frames.into_iter().map(|(frame, _)| frame).collect())
    }

    fn open(&self, start: OutboxStart) -> Result<Outbox, EngineError> {
        Ok(Outbox::create(self.directory, self.incarnation, start, self.options)?)
    }

    fn of(&mut self, sink: ObjectId, shard: ShardId) -> Result<&mut Kept, EngineError> {
        let index = match self.kept.iter().position(|kept| kept.sink == sink && kept.shard == shard) {
            Some(index) => index,
            None => {
                let outbox = self.open(OutboxStart::new(sink, shard))?;
                self.kept.push(Kept { sink, shard, outbox, next: 0, frames: VecDeque::new(), wanted: None });
                self.kept.len() - 1
            }
        };
        Ok(&mut self.kept[index])
    }

    /// Appends what was staged before the barrier and is not acknowledged; false when the log is busy
    /// and this must be called again.
    ///
    /// # Errors
    /// The storage's.
    pub fn fill(&mut self, stages: &[Stage], barrier: Barrier) -> Result<bool, EngineError> {
        for stage in stages {
            let checkpoint =
                if stage.is_exact() { barrier.checkpoint.unwrap_or_default() } else { CheckpointNumber(0) };
            for (shard, frames) in stage.unacknowledged() {
                let mut frames = frames.peekable();
                if frames.peek().is_none() {
                    continue;
                }
                let kept = self.of(stage.sink(), shard)?;
                let first = kept.next;
                for frame in frames.filter(|frame| frame.sequence >= first) {
                    match kept.outbox.append(barrier.epoch, &[&frame_bytes::encode(checkpoint, &frame.records)]) {
                        Ok(position) => {
                            kept.next = frame.sequence + 1;
                            kept.frames.push_back((frame.sequence, position));
                        }
                        Err(StorageError::LogBusy { .. }) => return Ok(false),
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
        for kept in &mut self.kept {
            kept.wanted = Some(kept.outbox.sync_for_checkpoint());
        }
        Ok(true)
    }

    /// Whether everything that the checkpoint needs is synced.
    pub fn synced(&self) -> bool {
        self.kept.iter().all(|kept| kept.wanted.is_none_or(|wanted| kept.outbox.synced() >= wanted))
    }

    /// Positions for the manifest.
    pub fn marks(&self) -> Vec<OutboxMark> {
        let mark = |kept: &Kept| {
            let position = kept.wanted?;
            let acknowledged = kept.outbox.released().min(position);
            Some(OutboxMark { sink: kept.sink, shard: kept.shard, position, acknowledged })
        };
        self.kept.iter().filter_map(mark).collect()
    }

    /// Frames up to `sequence` are safe at the target.
    pub fn acknowledged(&mut self, disk: &mut dyn Disk, sink: ObjectId, shard: ShardId, sequence: u64) {
        let Some(kept) = self.kept.iter_mut().find(|kept| kept.sink == sink && kept.shard == shard) else { return };
        let mut position = None;
        while let Some((_, end)) = kept.frames.pop_front_if(|(frame, _)| *frame <= sequence) {
            position = Some(end);
        }
        kept.next = kept.next.max(sequence + 1);
        if let Some(position) = position {
            kept.outbox.release_to(disk, position);
        }
    }

    /// Forgets the outboxes of a sink.
    pub fn forget(&mut self, sink: ObjectId) {
        self.kept.retain(|kept| kept.sink != sink);
    }

    /// Starts writes and syncs.
    ///
    /// # Errors
    /// A final failure of the disk.
    pub fn pump(&mut self, disk: &mut dyn Disk) -> Result<(), EngineError> {
        for kept in &mut self.kept {
            kept.outbox.pump(disk)?;
        }
        Ok(())
    }

    /// Whether one waits for space on the volume.
    pub fn lack_space(&self) -> bool {
        self.kept.iter().any(|kept| kept.outbox.is_out_of_space())
    }

    /// Asks the volume for space again.
    pub fn ask_for_space(&mut self) {
        for kept in &mut self.kept {
            kept.outbox.ask_for_space();
        }
    }

    /// Takes a completion if it is of an outbox.
    ///
    /// # Errors
    /// A final failure of the disk.
    pub fn complete(&mut self, disk: &mut dyn Disk, completion: &Completion) -> Result<bool, EngineError> {
        for kept in &mut self.kept {
            if kept.outbox.complete(disk, completion)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
