//! What epochs replaced, kept until they are complete and nobody reads an older one.
//!
//! Invariant: epochs lie in order, the open one last; each names a place once, with what it held before the
//! epoch first touched it. So the oldest entry behind an epoch is what that epoch saw.

use std::collections::{BTreeMap, VecDeque};

use hashbrown::HashTable;

use super::store::{Content, PlaceOf};
use crate::ids::Epoch;

/// A place and what it held before.
#[derive(Clone, Debug)]
pub(super) struct Before {
    pub(super) part: i64,
    pub(super) hash: u64,
    pub(super) key: Box<[u8]>,
    pub(super) content: Option<Content>,
}

impl Before {
    pub(super) fn place(&self) -> PlaceOf<'_> {
        PlaceOf { part: self.part, hash: self.hash, key: &self.key }
    }

    fn bytes(&self) -> usize {
        let row = if let Some(Content::Row(row)) = &self.content { row.len() } else { 0 };
        // An entry of the index beside it.
        size_of::<Self>() + self.key.len() + row + 8
    }
}

/// The places one epoch touched, in the order in which it did.
#[derive(Default)]
pub(super) struct Touched {
    pub(super) entries: Vec<Before>,
    index: HashTable<u32>,
    /// Of keys and rows, in bytes.
    bytes: usize,
}

impl Touched {
    fn find(&self, place: PlaceOf<'_>) -> Option<&Before> {
        let same = |at: &u32| {
            let entry = &self.entries[*at as usize];
            entry.part == place.part && *entry.key == *place.key
        };
        self.index.find(place.hash, same).map(|at| &self.entries[*at as usize])
    }
}

/// All epochs that may have to be undone for a read.
#[derive(Default)]
pub(super) struct Undo {
    sealed: VecDeque<(Epoch, Touched)>,
    open: Touched,
    complete: Option<Epoch>,
    pins: BTreeMap<Option<Epoch>, usize>,
}

impl Undo {
    /// Notes what a place holds, unless this epoch did so before.
    pub(super) fn note(&mut self, place: PlaceOf<'_>, held: impl FnOnce() -> Option<Content>) {
        if self.open.find(place).is_none() {
            let entry = Before { part: place.part, hash: place.hash, key: place.key.into(), content: held() };
            self.open.bytes += entry.bytes();
            let at = self.open.entries.len() as u32;
            self.open.entries.push(entry);
            let entries = &self.open.entries;
            self.open.index.insert_unique(place.hash, at, |at| entries[*at as usize].hash);
        }
    }

    /// The places of the open epoch.
    pub(super) fn open(&self) -> &[Before] {
        &self.open.entries
    }

    /// Bytes held, about.
    pub(super) fn bytes(&self) -> u64 {
        let sealed: usize = self.sealed.iter().map(|(_, touched)| touched.bytes).sum();
        (sealed + self.open.bytes) as u64
    }

    /// The open epoch ends under this number.
    pub(super) fn seal(&mut self, epoch: Epoch) {
        let touched = std::mem::take(&mut self.open);
        if !touched.entries.is_empty() {
            self.sealed.push_back((epoch, touched));
        }
        self.prune();
    }

    pub(super) fn complete(&self) -> Option<Epoch> {
        self.complete
    }

    pub(super) fn set_complete(&mut self, epoch: Epoch) {
        self.complete = self.complete.max(Some(epoch));
        self.prune();
    }

    pub(super) fn pin(&mut self) -> Option<Epoch> {
        *self.pins.entry(self.complete).or_default() += 1;
        self.complete
    }

    pub(super) fn unpin(&mut self, epoch: Option<Epoch>) {
        if let Some(count) = self.pins.get_mut(&epoch) {
            *count -= 1;
            if *count == 0 {
                self.pins.remove(&epoch);
            }
        }
        self.prune();
    }

    /// Forgets epochs that no read can go behind.
    fn prune(&mut self) {
        let oldest = self.pins.keys().next().copied().unwrap_or(self.complete).min(self.complete);
        while self.sealed.front().is_some_and(|(epoch, _)| Some(*epoch) <= oldest) {
            self.sealed.pop_front();
        }
    }

    fn after(&self, at: Option<Epoch>) -> impl Iterator<Item = &Touched> {
        let sealed = self.sealed.iter().filter(move |(epoch, _)| Some(*epoch) > at).map(|(_, touched)| touched);
        sealed.chain(std::iter::once(&self.open))
    }

    /// What a place held at an epoch, if something touched it since.
    pub(super) fn at(&self, at: Option<Epoch>, place: PlaceOf<'_>) -> Option<&Before> {
        self.after(at).find_map(|touched| touched.find(place))
    }

    /// Every place touched since an epoch, once, with what it held then.
    pub(super) fn all_at(&self, at: Option<Epoch>) -> impl Iterator<Item = &Before> {
        let entries =
            self.after(at).enumerate().flat_map(|(nth, touched)| touched.entries.iter().map(move |e| (nth, e)));
        entries
            .filter(move |(nth, entry)| !self.after(at).take(*nth).any(|earlier| earlier.find(entry.place()).is_some()))
            .map(|(_, entry)| entry)
    }
}
