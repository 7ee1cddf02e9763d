//! Which checkpoints are kept, and what may be freed.
//!
//! At least two are kept; the oldest goes when every sink has passed the next one. With a sink
//! that stands still, at most [`MOST_KEPT`] are kept: the oldest and the newest.
//!
//! Invariant (C1): a checkpoint to which recovery may have to fall back is never given up.

use std::collections::BTreeMap;

use super::record::{Checkpoint, SinkProgress};
use crate::ids::{CheckpointNumber, Lsn, ObjectId};
use crate::wal::WalLog;

const FEWEST_KEPT: usize = 2;
/// The oldest that a sink still needs as a fallback, and the two newest.
const MOST_KEPT: usize = 3;

/// The retained checkpoints.
#[derive(Clone, Debug, Default)]
pub struct Retention {
    kept: Vec<Checkpoint>,
    sinks: BTreeMap<ObjectId, CheckpointNumber>,
}

impl Retention {
    /// Starts with the checkpoints that recovery found usable, oldest first.
    pub(super) fn new(kept: Vec<Checkpoint>) -> Self {
        let mut retention = Self { kept, sinks: BTreeMap::new() };
        let known = retention.newest().map(|newest| newest.draft.sinks.clone()).unwrap_or_default();
        for SinkProgress { sink, applied } in known {
            retention.sinks.insert(sink, applied);
        }
        retention
    }

    /// The kept checkpoints, oldest first.
    pub fn kept(&self) -> &[Checkpoint] {
        &self.kept
    }

    /// The newest checkpoint.
    pub fn newest(&self) -> Option<&Checkpoint> {
        self.kept.last()
    }

    /// The oldest checkpoint whose files must stay.
    pub fn oldest(&self) -> Option<&Checkpoint> {
        self.kept.first()
    }

    /// A sink's target has taken everything up to a checkpoint; also makes a new sink known.
    pub fn sink_applied(&mut self, sink: ObjectId, checkpoint: CheckpointNumber) {
        let applied = self.sinks.entry(sink).or_default();
        *applied = (*applied).max(checkpoint);
    }

    /// A sink was dropped.
    pub fn sink_dropped(&mut self, sink: ObjectId) {
        self.sinks.remove(&sink);
    }

    /// The progress of all known sinks.
    pub fn sinks(&self) -> Vec<SinkProgress> {
        self.sinks.iter().map(|(sink, applied)| SinkProgress { sink: *sink, applied: *applied }).collect()
    }

    /// Nothing of this log before the position is needed by a kept checkpoint.
    pub fn wal_floor(&self, log: WalLog) -> Lsn {
        self.kept
            .iter()
            .map(|checkpoint| match checkpoint.wal_mark(log) {
                Some(mark) => mark.lowest(),
                // Finished before the checkpoint and contained in it, or younger than it.
                None if log.incarnation < checkpoint.incarnation => Lsn(u64::MAX),
                None => Lsn(0),
            })
            .min()
            .unwrap_or_default()
    }

    /// Which older checkpoints stay once the next one is published.
    pub(super) fn before_publish(&self) -> Vec<Checkpoint> {
        let mut kept = self.kept.clone();
        while kept.len() >= FEWEST_KEPT && self.all_sinks_passed(kept[1].number) {
            kept.remove(0);
        }
        while kept.len() >= MOST_KEPT {
            kept.remove(1);
        }
        kept
    }

    /// What stays once the newest one is published again.
    pub(super) fn before_newest(&self) -> Vec<Checkpoint> {
        self.kept.split_last().map_or_else(Vec::new, |(_, older)| older.to_vec())
    }

    /// Takes over a published checkpoint with what stays besides it.
    pub(super) fn published(&mut self, older: Vec<Checkpoint>, newest: Checkpoint) {
        self.kept = older;
        self.kept.push(newest);
    }

    fn all_sinks_passed(&self, checkpoint: CheckpointNumber) -> bool {
        self.sinks.values().all(|applied| *applied >= checkpoint)
    }
}
