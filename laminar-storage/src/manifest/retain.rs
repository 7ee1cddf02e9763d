//! Which checkpoints are kept, and what may be freed.
//!
//! Two are kept: the newest, and the one before it in case the newest one's bytes are damaged. How far targets are
//! says their own markers, which no checkpoint waits for (decision 0061).
//!
//! Invariant (C1): a checkpoint to which recovery may have to fall back is never given up.

use super::record::Checkpoint;
use crate::ids::Lsn;
use crate::wal::WalLog;

/// The retained checkpoints.
#[derive(Clone, Debug, Default)]
pub struct Retention {
    kept: Vec<Checkpoint>,
}

impl Retention {
    /// Starts with the checkpoints that recovery found usable, oldest first.
    pub(super) fn new(kept: Vec<Checkpoint>) -> Self {
        Self { kept }
    }

    /// The kept checkpoints, oldest first.
    pub fn kept(&self) -> &[Checkpoint] {
        &self.kept
    }

    /// The newest checkpoint.
    pub fn newest(&self) -> Option<&Checkpoint> {
        self.kept.last()
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

    /// What stays besides the next one.
    pub(super) fn before_publish(&self) -> Vec<Checkpoint> {
        self.newest().cloned().into_iter().collect()
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
}
