//! The judge: what may be read from a damaged file.
//!
//! Invariant: a damaged machine is refused with an error that names a file, or what is read is what was written; or
//! (W2) what was written up to some record, if nothing that survived proves that more was durable.

use std::fmt::Debug;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::allocations::largest_in;
use super::damage::{Damage, Plan};
use crate::disk::SimMachine;
use crate::{Result, StorageError};

/// A frame that was written, and how much of the content its header says was durable then.
pub(super) struct Witness {
    pub(super) path: PathBuf,
    pub(super) header: Range<usize>,
    pub(super) states: usize,
}

/// What is damaged and read.
pub(super) struct Subject<'a, T> {
    pub(super) machine: &'a SimMachine,
    /// The damaged file.
    pub(super) path: PathBuf,
    /// What was there after each record; the last is all.
    pub(super) states: Vec<T>,
    pub(super) witnesses: Vec<Witness>,
    /// The first state that may be read; known from elsewhere.
    pub(super) floor: usize,
    /// No allocation may be larger, in bytes.
    pub(super) memory: usize,
    /// The real reader.
    pub(super) read: &'a dyn Fn(&SimMachine) -> Result<T>,
}

/// What came out.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) cases: u64,
    pub(super) refused: u64,
    /// Less than everything was read, and nothing proves that more was durable.
    pub(super) cut: u64,
    pub(super) harmless: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.cases += other.cases;
        self.refused += other.refused;
        self.cut += other.cut;
        self.harmless += other.harmless;
    }
}

impl<T: PartialEq + Debug> Subject<'_, T> {
    /// Tries every damage of a plan.
    pub(super) fn suffer(&self, plan: &Plan) -> Tally {
        let content = self.machine.content(&self.path).unwrap();
        let mut tally = Tally::default();
        plan.each(&content, |damage| {
            self.one(&damage, &content, &mut tally)
                .unwrap_or_else(|what| panic!("{} after {}: {what}", self.path.display(), brief(&damage)));
        });
        tally
    }

    fn one(&self, damage: &Damage, content: &[u8], tally: &mut Tally) -> std::result::Result<(), String> {
        let machine = self.machine.kill(0);
        damage.apply(&machine, &self.path);
        let (outcome, largest) = largest_in(|| (self.read)(&machine));
        tally.cases += 1;
        if largest > self.memory {
            return Err(format!("{largest} bytes were allocated at once"));
        }
        let all = self.states.len() - 1;
        match outcome {
            Ok(found) if found == self.states[all] => tally.harmless += 1,
            Ok(found) => {
                let Some(state) = self.states.iter().rposition(|state| *state == found) else {
                    return Err(format!("accepted with other content: {found:?}"));
                };
                let least = self.least(&machine);
                if state < least {
                    return Err(format!("{state} of {all} records are left, durable were {least}"));
                }
                if matches!(damage, Damage::Cut(len) if *len > 0) {
                    return Err(format!("the lost end was not missed: {state} of {all} records are left"));
                }
                tally.cut += 1;
            }
            Err(error) if !damage.changes(content) => return Err(format!("refused although nothing changed: {error}")),
            Err(error) => {
                self.place_is_named(&error)?;
                tally.refused += 1;
            }
        }
        Ok(())
    }

    /// How much was certainly durable, by what is left.
    fn least(&self, damaged: &SimMachine) -> usize {
        let survives = |witness: &&Witness| {
            let (before, after) = (self.machine.content(&witness.path), damaged.content(&witness.path));
            let header = |content: Option<Vec<u8>>| content?.get(witness.header.clone()).map(<[u8]>::to_vec);
            header(before) == header(after)
        };
        self.witnesses.iter().filter(survives).map(|witness| witness.states).fold(self.floor, usize::max)
    }

    fn place_is_named(&self, error: &StorageError) -> std::result::Result<(), String> {
        let file = match error {
            StorageError::Rot { file, .. }
            | StorageError::Malformed { file, .. }
            | StorageError::Foreign { file, .. }
            | StorageError::Missing { file, .. } => file,
            other => return Err(format!("refused with {other}")),
        };
        let known = self.machine.files().iter().any(|path| path == Path::new(file));
        if known { Ok(()) } else { Err(format!("the error names no file: {error}")) }
    }
}

/// A damage without its bytes.
fn brief(damage: &Damage) -> String {
    match damage {
        Damage::Patch(patches) => {
            let places = patches.iter().map(|(at, bytes)| format!("{} bytes at {at} ({:02x}…)", bytes.len(), bytes[0]));
            places.collect::<Vec<_>>().join(" and ")
        }
        Damage::Cut(len) => format!("a cut to {len} bytes"),
        Damage::Replaced(other) => format!("a replacement of {} bytes", other.len()),
    }
}

/// The frames of a file of framed records, with the states that their horizons cover.
pub(super) fn witnesses(machine: &SimMachine, path: &Path, covers: impl Fn(u64) -> usize) -> Vec<Witness> {
    let content = machine.content(path).unwrap();
    let number = |at: usize, bytes: usize| -> u64 {
        content[at..at + bytes].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    let mut found = Vec::new();
    let mut at = 0;
    while at + 40 <= content.len() && content[at..].starts_with(b"LDB") {
        let states = covers(number(at + 24, 8));
        found.push(Witness { path: path.to_owned(), header: at..at + 40, states });
        at += (40 + number(at + 12, 4) as usize).next_multiple_of(512);
    }
    found
}
