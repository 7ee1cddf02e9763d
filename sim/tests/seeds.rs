//! The simulator over a fixed number of seeds, every seed that ever failed, and every planted defect.
//!
//! `cargo run -p laminar-sim -- --replay SEED --trace` shows what one of them does.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use laminar_sim::mutant::{self, Mutant};
use laminar_sim::{Scenario, run};

/// Seeds from 1 on: about a minute of two cores.
const SEEDS: u64 = 150;

/// Seeds that found something: a reactor that spun on a full volume; reactors of the status that changed places.
const FOUND: [u64; 2] = [34, 118];

/// Defects, and a seed that finds each.
const BUGS: [(Mutant, u64); 7] = [
    (Mutant::SkipSync, 0),
    (Mutant::AcknowledgeEarly, 0),
    (Mutant::PublishBeforeOutboxSync, 0),
    (Mutant::CutValidTail, 0),
    (Mutant::ForgetDirtyBlock, 0),
    (Mutant::CommitBeforePublish, 0),
    (Mutant::DropBarrier, 0),
];

/// What is wrong with some seeds, on two threads.
fn failures(seeds: &[u64]) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some(what) = run(&Scenario::of(*seed)).failure {
                        failed.lock().unwrap().push(format!("--replay {seed}: {what}"));
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap()
}

#[test]
fn what_the_database_promises_holds_for_every_seed() {
    let seeds: Vec<u64> = (1..=SEEDS).chain(FOUND.into_iter().filter(|seed| *seed > SEEDS)).collect();
    assert_eq!(failures(&seeds), Vec::<String>::new());
}

#[test]
fn a_seed_does_the_same_every_time() {
    for seed in 1..8 {
        let (once, again) = (run(&Scenario::of(seed)), run(&Scenario::of(seed)));
        assert_eq!(once.trace, again.trace, "seed {seed}");
        assert_eq!(once.hash, again.hash, "seed {seed}");
    }
}

#[test]
fn every_planted_defect_is_found() {
    for (bug, seed) in BUGS {
        mutant::plant(Some(bug));
        let found = run(&Scenario::of(seed)).failure;
        mutant::plant(None);
        assert!(found.is_some(), "{} is not found by seed {seed}", bug.name());
        assert_eq!(run(&Scenario::of(seed)).failure, None, "seed {seed} fails without {}", bug.name());
    }
}
