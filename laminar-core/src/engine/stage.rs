//! The stage of a sink in one reactor: rows become encoded frames on their way to the applier.
//!
//! Invariants: frames of a shard are numbered from 0 and acknowledged as a prefix; what is not
//! acknowledged is kept; at its limit the stage is full and says so, it never drops and never holds
//! up a barrier; every frame fits in the outbox; a row that cannot be sent ends the sink, and no row after
//! it is staged. With exactly-once delivery a published checkpoint seals the frames before its barrier. A
//! changing stream is sent at least once only from published checkpoints: what a lost life has sent beyond
//! them, the next one, which folds the same rows in other epochs, might never take back.

use std::collections::VecDeque;
use std::sync::Arc;

use super::EngineError;
use super::frame_bytes;
use super::outboxes::FoundFrame;
use super::plan::SinkPlan;
use super::sink_queue::{FrameQueue, Staged};
use crate::connector::{Encoder, Frame, FrameRecord, Registry};
use crate::data::{Batch, ChangeMode, EventTimes};
use crate::graph::Delivery;
use crate::ids::{CheckpointNumber, Epoch, ObjectId, ShardId};
use crate::operator::{Barrier, OperatorError};
use laminar_storage::mutant::{self, Mutant};

/// With exactly-once delivery, one part in so many of the limit asks for a checkpoint.
const ASK_SHARE: u64 = 8;

/// Bytes of records at which a frame ends.
const FRAME_BYTES: usize = 256 << 10;

/// Frames of one shard that are not acknowledged.
struct Kept {
    shard: ShardId,
    next: u64,
    /// The first frame behind the newest barrier.
    cut: u64,
    /// The first frame that the applier does not know.
    handed: u64,
    frames: VecDeque<(Arc<Frame>, u64)>,
}

/// One sink on one reactor.
pub struct Stage {
    plan: SinkPlan,
    encoder: Option<Box<dyn Encoder>>,
    queue: Arc<FrameQueue>,
    kept: Vec<Kept>,
    time: Option<usize>,
    /// Rows count from the end of this epoch on.
    after: Option<Epoch>,
    joined: bool,
    /// Rows that came after the barrier whose snapshot goes first.
    held: Option<Vec<(usize, Batch, Epoch)>>,
    rows: u64,
    bytes: u64,
    /// Bytes before the newest checkpoint's barrier.
    ready: u64,
    limit: u64,
    full: bool,
    /// Bytes of the largest frame that fits in the outbox.
    largest: usize,
    exact: bool,
    /// Frames are handed over when the checkpoint that holds them is published.
    late: bool,
    asked: bool,
    /// It takes no rows any more: one could not be sent, or the last checkpoint has passed.
    closed: bool,
}

impl Stage {
    /// A stage that has not joined yet: full at `limit` bytes, with frames of at most `largest` bytes; none =
    /// nothing is kept.
    ///
    /// # Errors
    /// The format is unknown or refuses the columns.
    pub fn new(
        plan: &SinkPlan,
        slots: &[ShardId],
        registry: &Registry,
        (limit, largest): (u64, Option<usize>),
    ) -> Result<Self, EngineError> {
        let spec = &plan.spec;
        let refused = |reason: String| EngineError::Refused { name: spec.name.clone(), reason };
        let encoder = match &spec.format {
            None => None,
            Some(format) => {
                let factory = registry.encoders.get(format.as_str()).ok_or_else(|| {
                    let known = registry.encoders.keys().copied().collect::<Vec<_>>().join(", ");
                    refused(format!("format {format} is not known; this server writes {known}"))
                })?;
                let options = spec
                    .options
                    .iter()
                    .filter(|(name, _)| factory.options().iter().any(|option| option.name == name.as_str()))
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect();
                Some(factory.create(spec.schema.columns.clone(), spec.envelope, spec.key.as_deref(), &options)?)
            }
        };
        Ok(Self {
            encoder,
            queue: plan.queue.clone(),
            kept: slots
                .iter()
                .map(|&shard| Kept { shard, next: 0, cut: 0, handed: 0, frames: VecDeque::new() })
                .collect(),
            time: spec.schema.time.first().copied(),
            after: None,
            joined: false,
            held: None,
            rows: 0,
            bytes: 0,
            ready: 0,
            limit,
            full: false,
            largest: largest.unwrap_or(usize::MAX),
            exact: spec.delivery == Delivery::ExactlyOnce,
            late: largest.is_some()
                && spec.delivery == Delivery::AtLeastOnce
                && spec.schema.mode == ChangeMode::Changelog,
            asked: false,
            closed: false,
            plan: plan.clone(),
        })
    }

    /// The sink.
    pub fn sink(&self) -> ObjectId {
        self.plan.spec.id
    }

    /// The fragment whose output it writes.
    pub fn fragment(&self) -> super::fragment::FragmentId {
        self.plan.fragment
    }

    /// What has become of it since it was last asked: full at its limit, drained at half of it.
    pub fn pressure(&mut self) -> Option<bool> {
        let full = self.bytes >= if self.full { self.limit / 2 + 1 } else { self.limit };
        (std::mem::replace(&mut self.full, full) != full).then_some(full)
    }

    /// Whether it delivers exactly once.
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// Whether so much waits for the next checkpoint that it should come early; says so once each time.
    pub fn asks_for_checkpoint(&mut self) -> bool {
        let asks = (self.exact || self.late) && !self.asked && self.bytes - self.ready >= self.limit / ASK_SHARE;
        self.asked |= asks;
        asks
    }

    /// Rows staged, frames kept, and their bytes.
    pub fn counts(&self) -> (u64, u64, u64) {
        (self.rows, self.kept.iter().map(|kept| kept.frames.len() as u64).sum(), self.bytes)
    }

    /// Joins: at once with a pipeline that is new itself, else behind `epoch`.
    pub fn join(&mut self, epoch: Epoch, fresh: bool) {
        self.joined = fresh;
        self.after = (!fresh).then_some(epoch);
    }

    /// The output has passed a barrier.
    pub fn barrier(&mut self, barrier: Barrier) {
        if barrier.checkpoint.is_some() {
            self.kept.iter_mut().for_each(|kept| kept.cut = kept.next);
            self.ready = self.bytes;
            self.asked = false;
            if mutant::active(Mutant::CommitBeforePublish) {
                barrier.checkpoint.into_iter().for_each(|checkpoint| self.published(checkpoint));
            }
        }
        if self.after.is_some_and(|after| barrier.epoch >= after) {
            self.after = None;
            self.joined = true;
            self.held = self.plan.snapshot.then(Vec::new);
        }
    }

    /// Takes no rows any more.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Whether the target has everything from before the newest checkpoint's barrier.
    pub fn is_drained(&self) -> bool {
        self.kept.iter().all(|kept| kept.frames.front().is_none_or(|(frame, _)| frame.sequence >= kept.cut))
    }

    /// Whether it waits for the rows as of its first barrier.
    pub fn wants_snapshot(&self) -> bool {
        self.held.is_some()
    }

    /// Takes the rows as of its first barrier, then what came after it.
    ///
    /// # Errors
    /// A value that the format cannot hold.
    pub fn begin(&mut self, snapshot: Vec<(usize, Batch)>, epoch: Epoch) -> Result<(), EngineError> {
        let held = self.held.take().unwrap_or_default();
        for (slot, batch) in snapshot {
            self.rows(slot, &batch, epoch)?;
        }
        for (slot, batch, epoch) in held {
            self.rows(slot, &batch, epoch)?;
        }
        Ok(())
    }

    /// Encodes rows of a local shard into frames and hands them to the applier; after an error it takes
    /// no rows any more.
    ///
    /// # Errors
    /// A value that the format cannot hold, or a row that is larger than a frame may be.
    pub fn rows(&mut self, slot: usize, batch: &Batch, epoch: Epoch) -> Result<(), EngineError> {
        if !self.joined || self.closed {
            return Ok(());
        }
        if let Some(held) = &mut self.held {
            held.push((slot, batch.clone(), epoch));
            return Ok(());
        }
        match self.encode(batch, epoch) {
            Ok(frames) => {
                self.rows += batch.len() as u64;
                frames.into_iter().for_each(|records| self.hand_over(slot, records));
                Ok(())
            }
            Err(error) => {
                self.closed = true;
                Err(error)
            }
        }
    }

    /// The records of a batch, cut into frames.
    fn encode(&mut self, batch: &Batch, epoch: Epoch) -> Result<Vec<Vec<FrameRecord>>, EngineError> {
        let times = match self.time {
            None => None,
            Some(column) => Some(EventTimes::read(batch.rows.column(column).as_ref()).map_err(OperatorError::from)?),
        };
        let mut records = Vec::with_capacity(batch.len());
        if let Some(encoder) = self.encoder.as_mut() {
            encoder.encode(batch, epoch, &mut |record| {
                records.push(FrameRecord {
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                    timestamp_ms: times.as_ref().and_then(|t| t.get(record.row)).map(|t| t.0.div_euclid(1000)),
                });
            })?;
        } else {
            records.resize(batch.len(), FrameRecord { key: None, value: None, timestamp_ms: None });
        }
        self.frames(records)
    }

    fn frames(&self, records: Vec<FrameRecord>) -> Result<Vec<Vec<FrameRecord>>, EngineError> {
        let largest = self.largest - frame_bytes::HEAD_BYTES;
        let mut frames: Vec<Vec<FrameRecord>> = Vec::new();
        let mut left = 0;
        for record in records {
            let bytes = frame_bytes::size(&record);
            if bytes > largest {
                let hint = "filter such rows out, or cut the value that is so long";
                return Err(EngineError::Limit { what: "the bytes of a row for a sink", limit: largest as u64, hint });
            }
            match frames.last_mut() {
                Some(frame) if bytes <= left => frame.push(record),
                _ => {
                    frames.push(vec![record]);
                    left = FRAME_BYTES.min(largest).max(bytes);
                }
            }
            left -= bytes;
        }
        Ok(frames)
    }

    /// Sends frames of a former life again, before any other: each belongs to a published checkpoint.
    pub fn resend(&mut self, slot: usize, frames: Vec<FoundFrame>) {
        let mut tag = CheckpointNumber(0);
        for (checkpoint, records) in frames {
            if checkpoint != tag && self.kept[slot].next > 0 {
                self.seal(slot, tag);
            }
            tag = checkpoint;
            self.hand_over(slot, records);
            self.kept[slot].cut = self.kept[slot].next;
        }
        self.ready = self.bytes;
        self.send_late(slot);
        if let Some(restored) = self.plan.restored {
            if self.kept[slot].next > 0 {
                self.seal(slot, tag);
            }
            self.seal(slot, restored);
        }
    }

    /// A checkpoint was published: the frames before its barrier may be sent or committed.
    pub fn published(&mut self, checkpoint: CheckpointNumber) {
        for slot in 0..self.kept.len() {
            self.send_late(slot);
            self.seal(slot, checkpoint);
        }
    }

    /// Hands over what had to wait for its checkpoint.
    fn send_late(&mut self, slot: usize) {
        if !self.late {
            return;
        }
        let kept = &mut self.kept[slot];
        let first = kept.frames.front().map_or(kept.next, |(frame, _)| frame.sequence);
        let from = kept.handed.max(first);
        let due = kept.frames.iter().skip((from - first) as usize).take(kept.cut.saturating_sub(from) as usize);
        due.for_each(|(frame, _)| self.queue.push(Staged::Frame(frame.clone())));
        kept.handed = from.max(kept.cut);
    }

    fn seal(&self, slot: usize, checkpoint: CheckpointNumber) {
        if self.exact {
            let kept = &self.kept[slot];
            self.queue.push(Staged::Sealed { shard: kept.shard, checkpoint, end: kept.cut });
        }
    }

    fn hand_over(&mut self, slot: usize, records: Vec<FrameRecord>) {
        let bytes = records.iter().map(frame_bytes::size).sum::<usize>() as u64;
        let kept = &mut self.kept[slot];
        let frame = Arc::new(Frame { shard: kept.shard, sequence: kept.next, records });
        kept.next += 1;
        kept.frames.push_back((frame.clone(), bytes));
        self.bytes += bytes;
        if !self.late {
            kept.handed = kept.next;
            self.queue.push(Staged::Frame(frame));
        }
    }

    /// Per shard, frames that were staged before the newest checkpoint's barrier and are not acknowledged.
    pub fn unacknowledged(&self) -> impl Iterator<Item = (ShardId, impl Iterator<Item = &Arc<Frame>>)> {
        self.kept.iter().map(|kept| {
            let frames = kept.frames.iter().map(|(frame, _)| frame).filter(|frame| frame.sequence < kept.cut);
            (kept.shard, frames)
        })
    }

    /// Frames up to `sequence` are safe at the target.
    pub fn acknowledged(&mut self, shard: ShardId, sequence: u64) {
        let Some(kept) = self.kept.iter_mut().find(|kept| kept.shard == shard) else { return };
        while let Some((_, bytes)) = kept.frames.pop_front_if(|(frame, _)| frame.sequence <= sequence) {
            self.bytes = self.bytes.saturating_sub(bytes);
            self.ready = self.ready.saturating_sub(bytes);
        }
    }
}
