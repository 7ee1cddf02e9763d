//! Groups merged over several panes, on the heap; for sliding windows kept from one window to the next.
//!
//! A sliding window differs from the one before by the slices that enter and those that leave. Where all
//! cells can be taken back exactly (counts, sums of integers and decimals) only those are touched, so the
//! cost of a window does not grow with size / slide. Invariant: `covered` names the panes that are in; everything
//! here is derived from them, so a restart just begins with nothing.

use std::collections::BTreeSet;

use hashbrown::HashTable;

use super::groups::EMIT_ROWS;
use super::plan::Plan;
use super::states::States;
use crate::data::KeyBuffer;
use laminar_storage::arena::{Arena, ScanCursor, TableId};

/// Whether a pane's groups come in or are taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

/// Groups and their states, found by key.
pub(super) struct Merged {
    pub(super) keys: KeyBuffer,
    pub(super) states: States,
    hashes: Vec<u64>,
    index: HashTable<u32>,
    pub(super) covered: BTreeSet<i64>,
}

impl Merged {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            keys: KeyBuffer::default(),
            states: States::new(plan),
            hashes: Vec::new(),
            index: HashTable::new(),
            covered: BTreeSet::new(),
        }
    }

    /// Bytes held, about: 16 for each group's hash and place in the index.
    pub(super) fn bytes(&self) -> usize {
        self.keys.byte_size() + self.states.byte_size() + 16 * self.hashes.len()
    }

    /// Merges a table in, or takes it back; returns in how many groups a decimal sum left its range.
    pub(super) fn apply(&mut self, plan: &Plan, table: TableId, direction: Direction, arena: &Arena) -> u64 {
        let mut out_of_range = 0;
        let mut cursor = Some(ScanCursor::default());
        while let Some(from) = cursor {
            cursor = arena.scan(table, from, EMIT_ROWS, |hash, key, state| {
                out_of_range += u64::from(!self.apply_one(plan, (hash, key, state), direction, arena));
            });
        }
        out_of_range
    }

    fn apply_one(&mut self, plan: &Plan, group: (u64, &[u8], &[u8]), direction: Direction, arena: &Arena) -> bool {
        let (hash, key, state) = group;
        let found = self.index.find(hash, |at| self.keys.get(*at as usize) == key).map(|at| *at as usize);
        match (found, direction) {
            (Some(at), Direction::In) => self.states.merge(plan, at, state, arena),
            (Some(at), Direction::Out) => self.states.take_back(plan, at, state),
            (None, Direction::In) => {
                let at = self.hashes.len() as u32;
                self.keys.push(key);
                self.hashes.push(hash);
                self.states.push(state);
                let hashes = &self.hashes;
                self.index.insert_unique(hash, at, |at| hashes[*at as usize]);
                true
            }
            // What is taken back was merged before, so its groups are here.
            (None, Direction::Out) => false,
        }
    }

    /// The groups with rows, as keys and states of their own; forgets the others when they are many.
    pub(super) fn alive(&mut self, plan: &Plan) -> Option<(KeyBuffer, States)> {
        let alive: Vec<usize> = (0..self.states.len()).filter(|at| self.states.rows(plan, *at) > 0).collect();
        if alive.len() == self.states.len() {
            return None;
        }
        let (mut keys, mut states) = (KeyBuffer::default(), States::new(plan));
        for at in &alive {
            keys.push(self.keys.get(*at));
            states.push(self.states.get(*at));
        }
        if alive.len() < self.states.len() / 2 {
            self.hashes = alive.iter().map(|at| self.hashes[*at]).collect();
            (self.keys, self.states) = (keys.clone(), states.clone());
            self.index.clear();
            let hashes = &self.hashes;
            for (at, hash) in hashes.iter().enumerate() {
                self.index.insert_unique(*hash, at as u32, |at| hashes[*at as usize]);
            }
        }
        Some((keys, states))
    }
}
