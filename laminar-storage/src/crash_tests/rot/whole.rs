//! Rot anywhere in a data directory, met by a whole start: identity, manifest, state, outboxes, replay.

use std::path::{Path, PathBuf};

use super::super::engine::{Engine, Stop};
use super::super::oracle::Oracle;
use super::damage::{Damage, Plan};
use crate::disk::SimMachine;
use crate::ids::CheckpointNumber;

/// A data directory after two lives that ended in good order, with earlier versions of it.
struct Directory {
    machine: SimMachine,
    earlier: Vec<SimMachine>,
    oracle: Oracle,
}

fn lived() -> Result<Directory, Stop> {
    let mut machine = SimMachine::new(5);
    let mut oracle = Oracle::default();
    let mut earlier = Vec::new();
    for life in 0..2_u32 {
        let mut engine = Engine::start(&machine, &mut oracle)?;
        for n in 1..40 {
            for row in 0..n % 3 {
                engine.insert(&mut oracle, (n * 37 + row * 150) as usize % 500)?;
            }
            engine.turn(&mut oracle)?;
            if n % 11 == 0 {
                earlier.push(machine.kill(0));
                engine.checkpoint(&mut oracle)?;
            }
            if n % 9 == 0 || (life == 1 && n == 39) {
                engine.ddl(&mut oracle)?;
            }
        }
        engine.close(&mut oracle)?;
        machine = machine.crash(u64::from(life));
    }
    Ok(Directory { machine, earlier, oracle })
}

impl Directory {
    fn plan(&self, path: &Path, content: &[u8]) -> Plan {
        let is_page = path.starts_with("state");
        let unit = if is_page { 4096 } else { 512 };
        let of = |machine: &SimMachine| machine.content(path).unwrap_or_default();
        let units_of = |content: &[u8]| -> Vec<usize> {
            let used = |at: &usize| content[*at..*at + unit].iter().any(|byte| *byte != 0);
            (0..content.len() / unit).map(|index| index * unit).filter(used).take(12).collect()
        };
        let stale = self.earlier.iter().map(of).filter(|before| before.len() == content.len());
        let pieces = |before: Vec<u8>| -> Vec<Vec<u8>> {
            units_of(&before).into_iter().map(|at| before[at..at + unit].to_vec()).collect()
        };
        let mut others: Vec<Vec<u8>> = stale.flat_map(pieces).collect();
        others.sort_unstable();
        others.dedup();
        Plan {
            bytes: (0..content.len()).filter(|at| content[*at] != 0).step_by(if is_page { 331 } else { 41 }).collect(),
            bits: 2,
            cuts: units_of(content).into_iter().map(|at| at + 7).collect(),
            unit,
            units: units_of(content),
            others,
            strangers: Vec::new(),
            noises: 10,
        }
    }

    /// What must hold after a start although one file is damaged.
    fn expected(&self, damaged: &Path, places: u64) -> Oracle {
        let mut oracle = self.oracle.clone();
        if damaged == Path::new("MANIFEST") {
            // Nothing proves that the last record was durable; who swaps two sectors takes its proof from another.
            oracle.ddl_acknowledged -= places;
        }
        if damaged.starts_with("wal") {
            oracle.acknowledged = oracle.attempted[&oracle.confirmed].clone();
        } else if damaged == Path::new("MANIFEST") || damaged.starts_with("state") {
            // An older checkpoint with more to replay gives the same.
            oracle.confirmed = CheckpointNumber(0);
        }
        oracle
    }

    fn start(&self, damaged: &SimMachine, path: &Path, places: u64) -> Result<Outcome, String> {
        match Engine::start(damaged, &mut self.expected(path, places)) {
            Ok(_) => Ok(Outcome::Whole),
            Err(Stop::Violation(text)) if is_refusal(&text) => Ok(Outcome::Refused),
            Err(other) => Err(format!("{other:?}")),
        }
    }
}

enum Outcome {
    Whole,
    Refused,
}

/// Damage found, or a target that is ahead and therefore not written.
fn is_refusal(text: &str) -> bool {
    ["LDB-1004", "LDB-1009", "LDB-1010", "LDB-1012", "LDB-1013", "C1: the target holds"]
        .iter()
        .any(|words| text.starts_with(words))
}

/// Damages each file of the directory; returns how many starts were tried and how many were refused.
pub(super) fn suffer() -> (u64, u64) {
    let directory = lived().unwrap();
    let (mut cases, mut refused) = (0, 0);
    let mut note = |outcome: Result<Outcome, String>, path: &PathBuf, damage: &str| match outcome {
        Ok(outcome) => {
            cases += 1;
            refused += u64::from(matches!(outcome, Outcome::Refused));
        }
        Err(what) => panic!("{} after {damage}: {what}", path.display()),
    };
    for path in directory.machine.files() {
        let content = directory.machine.content(&path).unwrap();
        directory.plan(&path, &content).each(&content, |damage| {
            let machine = directory.machine.kill(0);
            damage.apply(&machine, &path);
            let places = if let Damage::Patch(patches) = &damage { patches.len() as u64 } else { 1 };
            note(directory.start(&machine, &path, places), &path, &brief(&damage));
        });
        let machine = directory.machine.kill(0);
        machine.delete(&path);
        note(directory.start(&machine, &path, 1), &path, "its removal");
    }
    (cases, refused)
}

fn brief(damage: &Damage) -> String {
    format!("{damage:?}").chars().take(80).collect()
}

/// An incarnation file that was put back is refused: a number is never used twice.
pub(super) fn suffer_old_incarnation() {
    let directory = lived().unwrap();
    let path = Path::new("INCARNATION");
    let old = directory.earlier[0].content(path).unwrap();
    directory.machine.overwrite(path, old);
    match Engine::start(&directory.machine, &mut directory.oracle.clone()) {
        Err(Stop::Violation(text)) => assert!(text.starts_with("LDB-1009: INCARNATION"), "{text}"),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("an incarnation was used twice"),
    }
}
