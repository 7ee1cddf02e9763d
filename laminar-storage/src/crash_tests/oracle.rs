//! What the outside world knows: acknowledgements, publishes, the sink's target. Survives crashes.
//!
//! Invariant: it learns only what a client, an operator or a target would have been told.

use std::collections::BTreeMap;

use crate::ids::{CheckpointNumber, Incarnation, OutboxPosition};

/// Shards of the small engine.
pub(super) const SHARDS: usize = 2;

/// Row numbers by shard, in order.
pub(super) type Rows = [Vec<u64>; SHARDS];

/// A violated promise.
pub(super) type Check = std::result::Result<(), String>;

#[derive(Clone, Default)]
pub(super) struct Oracle {
    pub(super) next_row: u64,
    /// Rows that a client was told are safe, or that a recovery has shown.
    pub(super) acknowledged: Rows,
    /// State at each attempted publish.
    pub(super) attempted: BTreeMap<CheckpointNumber, Rows>,
    pub(super) confirmed: CheckpointNumber,
    pub(super) ddl_attempted: u64,
    pub(super) ddl_acknowledged: u64,
    pub(super) incarnation: Incarnation,
    pub(super) target: Target,
}

/// The sink's target: rows and marker change together.
#[derive(Clone, Default)]
pub(super) struct Target {
    pub(super) rows: Rows,
    pub(super) marker: CheckpointNumber,
    pub(super) positions: [OutboxPosition; SHARDS],
}

impl Oracle {
    /// The incarnation is new (C4: numbers are never used again).
    pub(super) fn starts(&mut self, incarnation: Incarnation) -> Check {
        if incarnation <= self.incarnation {
            return Err(format!("C4: incarnation {incarnation} after {}", self.incarnation));
        }
        self.incarnation = incarnation;
        Ok(())
    }

    /// The checkpoint that recovery chose is complete and not older than a confirmed one (C1, S1).
    pub(super) fn recovered_checkpoint(&self, number: CheckpointNumber, state: &Rows) -> Check {
        if number < self.confirmed {
            return Err(format!("C1: recovered checkpoint {number}, confirmed was {}", self.confirmed));
        }
        let expected = if number.0 == 0 { Some(Rows::default()) } else { self.attempted.get(&number).cloned() };
        match expected {
            Some(expected) if expected == *state => Ok(()),
            Some(_) => Err(format!("S1: state of checkpoint {number} differs from the published one")),
            None => Err(format!("C4: checkpoint {number} was never published")),
        }
    }

    /// After replay each shard holds the acknowledged rows, then rows that were appended and not
    /// acknowledged, each once and in order (W1).
    pub(super) fn replayed(&mut self, state: &Rows) -> Check {
        for (shard, rows) in state.iter().enumerate() {
            let acknowledged = &self.acknowledged[shard];
            if rows.len() < acknowledged.len() || rows[..acknowledged.len()] != acknowledged[..] {
                return Err(format!("W1: shard {shard} holds {rows:?}, acknowledged {acknowledged:?}"));
            }
            if !rows.is_sorted_by(|a, b| a < b) || rows.last().is_some_and(|last| *last >= self.next_row) {
                return Err(format!("W1: shard {shard} holds rows twice, out of order or never appended: {rows:?}"));
            }
        }
        self.acknowledged.clone_from(state);
        Ok(())
    }

    /// Acknowledged DDL is there (Q1).
    pub(super) fn catalog(&self, version: u64) -> Check {
        if (self.ddl_acknowledged..=self.ddl_attempted).contains(&version) {
            return Ok(());
        }
        Err(format!("Q1: catalog {version}, acknowledged {}, attempted {}", self.ddl_acknowledged, self.ddl_attempted))
    }

    /// The target is not ahead of the checkpoint.
    pub(super) fn target_is_behind(&self, number: CheckpointNumber) -> Check {
        if self.target.marker <= number {
            return Ok(());
        }
        Err(format!("C1: the target holds checkpoint {}, recovered is {number}", self.target.marker))
    }

    /// The target holds exactly the rows of the state of the checkpoint that it was given (K1).
    pub(super) fn target_holds(&self, number: CheckpointNumber) -> Check {
        let expected = if number.0 == 0 { Some(&[const { Vec::new() }; SHARDS]) } else { self.attempted.get(&number) };
        if expected == Some(&self.target.rows) {
            return Ok(());
        }
        Err(format!("K1: target {:?}, checkpoint {number} holds {expected:?}", self.target.rows))
    }
}
