//! The crash checker: a run of a small engine is cut at every disk operation, in several ways; every
//! promise is checked after each recovery. Planted defects prove that the checker sees.
//!
//! Beside it: `images` (everything that a power cut may leave), `failures` (calls that fail), `rot` (bytes that
//! change later).

mod engine;
mod failures;
mod images;
mod oracle;
mod rot;
mod state;

use engine::{Engine, Stop};
use oracle::Oracle;

use crate::disk::{Schedule, SimMachine};
use crate::mutant::{self, Mutant};

/// The workload: a fixed mixture of inserts, turns, checkpoints and DDL until the power goes.
fn run(machine: &SimMachine, oracle: &mut Oracle, turns: u32) -> Result<(), Stop> {
    let mut engine = Engine::start(machine, oracle)?;
    for n in 1..=turns {
        for row in 0..n % 4 {
            engine.insert(oracle, (n * 37 + row * 150) as usize % 700)?;
        }
        engine.turn(oracle)?;
        if n % 13 == 0 {
            engine.checkpoint(oracle)?;
        }
        if n % 29 == 0 {
            engine.ddl(oracle)?;
        }
    }
    Ok(())
}

/// A life that ends by crash or by its own end; only violations are errors.
fn live(machine: &SimMachine, oracle: &mut Oracle, turns: u32) -> Result<(), String> {
    match run(machine, oracle, turns) {
        Ok(()) | Err(Stop::Crash) => Ok(()),
        Err(Stop::Violation(what)) => Err(what),
    }
}

fn new_machine(seed: u64) -> SimMachine {
    let machine = SimMachine::new(seed);
    machine.set_schedule(Schedule::Shuffled);
    machine
}

const TURNS: u32 = 220;

/// The first life ends at a given operation; what follows is tried in several ways.
fn crash_at(operation: u64) -> Result<(), String> {
    let machine = new_machine(11);
    let mut oracle = Oracle::default();
    machine.cut_power_at(operation);
    live(&machine, &mut oracle, TURNS).map_err(|what| format!("operation {operation}, first life: {what}"))?;
    (0..4).try_for_each(|way| {
        let outcome = go_on(&machine, oracle.clone(), operation, way);
        outcome.map_err(|what| format!("operation {operation}, way {way}: {what}"))
    })
}

fn go_on(machine: &SimMachine, mut oracle: Oracle, operation: u64, way: u64) -> Result<(), String> {
    let crash_seed = operation * 31 + way;
    match way {
        // The power goes.
        0 | 1 => survive(&machine.crash(crash_seed), &mut oracle),
        // The process dies alone; recovery sees the page cache; then the power goes.
        2 => {
            let killed = machine.kill(crash_seed);
            killed.set_schedule(Schedule::Shuffled);
            live(&killed, &mut oracle, 0)?;
            survive(&killed.crash(crash_seed + 1), &mut oracle)
        }
        // The power goes, and goes again during recovery or shortly after it.
        _ => {
            let again = machine.crash(crash_seed);
            again.set_schedule(Schedule::Shuffled);
            again.cut_power_at(crash_seed % 40);
            live(&again, &mut oracle, 20)?;
            survive(&again.crash(crash_seed + 1), &mut oracle)
        }
    }
}

/// A whole life after the crash must start, keep all promises, and end without a crash.
fn survive(machine: &SimMachine, oracle: &mut Oracle) -> Result<(), String> {
    machine.set_schedule(Schedule::Shuffled);
    match run(machine, oracle, 14) {
        Ok(()) => Ok(()),
        Err(Stop::Crash) => Err("a healthy machine stopped".to_owned()),
        Err(Stop::Violation(what)) => Err(what),
    }
}

fn operations_of_the_run() -> u64 {
    let machine = new_machine(11);
    // With a defect planted even this may find a violation; then there is less to cut.
    let _ = live(&machine, &mut Oracle::default(), TURNS);
    machine.operations()
}

#[test]
fn every_promise_holds_after_a_crash_at_every_disk_operation() {
    let operations = operations_of_the_run();
    assert!(operations >= 500, "{operations}");
    for operation in 0..=operations {
        crash_at(operation).unwrap();
    }
}

#[test]
fn the_same_seeds_give_the_same_run() {
    let trace = || {
        let machine = new_machine(11);
        live(&machine, &mut Oracle::default(), TURNS).unwrap();
        machine.trace()
    };
    assert_eq!(trace(), trace());
}

/// The first violation that the checker finds with a defect planted.
fn violation_with(defect: Mutant) -> Option<String> {
    mutant::plant(Some(defect));
    let operations = operations_of_the_run();
    let found = (0..=operations).find_map(|operation| crash_at(operation).err());
    mutant::plant(None);
    found
}

#[test]
fn a_skipped_sync_is_caught() {
    let found = violation_with(Mutant::SkipSync).unwrap();
    assert!(found.contains("W1") || found.contains("LDB-1004"), "{found}");
}

#[test]
fn an_early_acknowledgement_is_caught() {
    let found = violation_with(Mutant::AcknowledgeEarly).unwrap();
    assert!(found.contains("W1") || found.contains("LDB-1004"), "{found}");
}

#[test]
fn a_manifest_that_overtakes_the_outbox_sync_is_caught() {
    let found = violation_with(Mutant::PublishBeforeOutboxSync).unwrap();
    assert!(found.contains("LDB-1004") || found.contains("K1"), "{found}");
}

#[test]
fn a_valid_wal_tail_that_is_cut_is_caught() {
    let found = violation_with(Mutant::CutValidTail).unwrap();
    assert!(found.contains("W1") || found.contains("LDB-1004"), "{found}");
}

#[test]
fn a_forgotten_dirty_block_is_caught() {
    let found = violation_with(Mutant::ForgetDirtyBlock).unwrap();
    assert!(found.contains("S1") || found.contains("LDB-1012"), "{found}");
}
