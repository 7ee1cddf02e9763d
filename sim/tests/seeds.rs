//! The simulator over a fixed number of seeds, what seeds once found, and every planted defect.
//!
//! `cargo run -p sim -- --replay SEED --trace` shows what one of them does.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use laminar_sim::mutant::{self, Mutant};
use laminar_sim::{Pushed, Query, Restart, Row, Scenario, Step, run};

/// Seeds from 1 on: less than a minute of two cores.
const SEEDS: u64 = 500;

/// Seeds of small scenarios from 1 on.
const SMALL: u64 = 200;

/// Seeds that failed once: changing streams that were sent before their checkpoint (decision 0047), a
/// checkpoint behind the last one of an orderly end, and a start that read for the views of the checkpoint
/// before a younger view had joined, and an orderly end that hid the failure of its last checkpoint. (The stories of
/// the first six became others with decision 0054.)
const ONCE_FAILED: [u64; 8] = [580, 683, 780, 971, 993, 1762, 3625, 10_971];

/// Defects, and a seed that finds each.
const BUGS: [(Mutant, u64); 7] = [
    (Mutant::SkipSync, 1),
    (Mutant::AcknowledgeEarly, 16),
    (Mutant::PublishBeforeOutboxSync, 112),
    (Mutant::CutValidTail, 1),
    (Mutant::ForgetDirtyBlock, 1),
    (Mutant::CommitBeforePublish, 2),
    (Mutant::DropBarrier, 22),
];

/// What is wrong with some scenarios, on two threads.
fn failures(scenarios: &[Scenario]) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some(what) = run(scenario).failure {
                        failed.lock().unwrap().push(format!("{}: {what}", scenario.replay()));
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap()
}

#[test]
fn what_the_database_promises_holds_for_every_seed() {
    let scenarios: Vec<Scenario> = (1..=SEEDS).chain(ONCE_FAILED).map(Scenario::of).collect();
    assert_eq!(failures(&scenarios), Vec::<String>::new());
}

#[test]
fn what_the_database_promises_holds_for_one_small_query() {
    let scenarios: Vec<Scenario> = (1..=SMALL).map(Scenario::small).collect();
    assert_eq!(failures(&scenarios), Vec::<String>::new());
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
    assert_eq!(BUGS.map(|(bug, _)| bug), Mutant::ALL);
    for (bug, seed) in BUGS {
        mutant::plant(Some(bug));
        // The seed found it once; another generator or another order of turns may need some more.
        let found = (seed..seed + 100).find(|seed| run(&Scenario::of(*seed)).failure.is_some());
        mutant::plant(None);
        let Some(seed) = found else { panic!("{} is not found by a hundred seeds from {seed} on", bug.name()) };
        assert_eq!(run(&Scenario::of(seed)).failure, None, "seed {seed} fails without {}", bug.name());
    }
}

fn two_reactors(steps: Vec<Step>) -> Scenario {
    let (query, checkpoint_ms, outbox_bytes) = (Query::Identity, 30, 256 << 20);
    let any = Scenario::of(1);
    Scenario {
        query,
        shards: 2,
        reactors: 2,
        partitions: 3,
        checkpoint_ms,
        outbox_bytes,
        spill_bytes: None,
        steps,
        ..any
    }
}

fn rows(count: i64) -> Step {
    rows_from(1, count)
}

fn rows_from(first: i64, count: i64) -> Step {
    let row =
        |id: i64| Row { id, k: id % 5, v: id, ts: 1_700_000_000_000_000 + id * 10_000, partition: id as usize % 3 };
    Step::Produce((first..first + count).map(row).collect())
}

/// Found by seeds of an earlier generator: the reactor spun until there was space again.
#[test]
fn a_checkpoint_that_waits_for_space_lets_the_reactor_rest() {
    let steps = vec![Step::DiskFull(2_500_000), rows(40), Step::Advance(400_000), Step::Look];
    assert_eq!(run(&two_reactors(steps)).failure, None);
}

/// A life takes a key back at its target and is killed before its checkpoint; the next life reads the same rows
/// in one epoch, in which the key comes back, so that nothing has changed (decision 0047).
#[test]
fn a_key_that_went_and_came_back_in_one_epoch_of_the_next_life_is_at_its_target() {
    let row = |id: i64, k: i64| {
        Step::Produce(vec![Row { id, k, v: id, ts: 1_700_000_000_000_000 + id * 10_000, partition: 0 }])
    };
    let steps = vec![
        // One group has one row.
        row(1, 1),
        Step::Advance(300_000),
        Step::Checkpoint,
        Step::Advance(300_000),
        // No group has one row.
        row(2, 1),
        Step::Advance(300_000),
        // Another group has one row, which only the next life sees.
        row(3, 2),
        Step::Fall(Restart::Kill, 1),
        Step::Advance(300_000),
    ];
    let (query, plain_sink, partitions) = (Query::KeyedTwice, true, 1);
    let (checkpoint_ms, batch_rows) = (4000, 100);
    let scenario = Scenario { query, plain_sink, partitions, checkpoint_ms, batch_rows, ..two_reactors(steps) };
    assert_eq!(run(&scenario).failure, None);
}

/// The broker takes nothing for a second: streams wait for their sinks, and go on by themselves (L1).
#[test]
fn what_waits_for_a_full_sink_goes_on_by_itself() {
    for outbox_bytes in [512, 8 << 10] {
        let mut steps = vec![Step::Deaf(1_500_000)];
        for first in 0..40 {
            let keys = first * 5..first * 5 + 5;
            steps.extend([rows_from(first * 20 + 1, 20), Step::Insert(Pushed::Source, keys.collect())]);
            steps.extend([Step::Advance(30_000), Step::Look]);
        }
        let report = run(&Scenario { outbox_bytes, ..two_reactors(steps) });
        assert_eq!(report.failure, None);
        assert!(report.waits > 5, "{outbox_bytes} bytes: {} waits", report.waits);
    }
}

/// The tables for time alone are more than the limit, so each query spills; answers are checked as ever (L3).
#[test]
fn seeds_with_a_tiny_limit_spill_and_answer_as_without_one() {
    for shards in [1, 2, 4] {
        let limited = |scenario: &Scenario| scenario.spill_bytes.is_some() && scenario.shards == shards;
        for scenario in (1..).map(Scenario::of).filter(limited).take(4) {
            let report = run(&scenario);
            assert_eq!(report.failure, None, "seed {}", scenario.seed);
            assert!(report.spilled > 0, "seed {} spills nothing", scenario.seed);
            assert_eq!(run(&Scenario { spill_bytes: None, ..scenario }).spilled, 0);
        }
    }
}

/// Found by seeds of an earlier generator: figures of one reactor were shown as those of another.
#[test]
fn reactors_keep_their_places_in_the_status() {
    let mut steps = vec![rows(60)];
    steps.extend((0..12).flat_map(|_| [Step::Rounds(1), Step::Look]));
    assert_eq!(run(&two_reactors(steps)).failure, None);
}
