//! An orderly end: what the targets have by then is not sent again by the next start (D2).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use laminar_storage::disk::SimMachine;

use super::durable::{changing_view, deploy, open_with, output_of, plain_stream};
use super::flow::{options, plain};
use super::kit::*;
use crate::engine::{Driver, EngineOptions};
use crate::ids::ObjectId;

fn open(machine: &SimMachine, reactors: u16, feeds: &Arc<Feeds>, target: &Target, seed: u64) -> Driver {
    open_with(machine, EngineOptions { shards: Some(4), ..options(reactors) }, feeds, target, seed)
}

/// Rows flow for a while, then the engine ends in order and the power goes.
fn end(mut driver: Driver, machine: &SimMachine, seed: u64) -> SimMachine {
    driver.wait(|handle, reply| handle.shutdown(reply)).unwrap();
    drop(driver);
    machine.crash(seed)
}

/// Bytes that the sinks keep for their targets.
fn staged(driver: &mut Driver) -> u64 {
    let status = driver.wait(|handle, reply| handle.status(reply)).unwrap();
    let stages = status.reactors.iter().flat_map(|reactor| &reactor.stages);
    stages.filter(|stage| stage.sink == ObjectId(3)).map(|stage| stage.unacknowledged_bytes).sum()
}

#[test]
fn an_orderly_end_repeats_no_change_of_a_view() {
    for seed in 0..6 {
        let (feeds, target) = (Feeds::new(2), Target::default());
        let mut machine = SimMachine::new(seed);
        let mut driver = open(&machine, 2, &feeds, &target, seed);
        let view = changing_view(2, 1);
        let schema = output_of(&view);
        deploy(&mut driver, vec![source(1, Some("test"), 0), view, upsert(3, 2, schema)]);
        let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
        for life in 0..6 {
            let rows: Vec<(i64, i64, i64)> = (0..20 + life).map(|i| (i % 7, i, life * 1000 + i)).collect();
            rows.iter().for_each(|row| *counts.entry(row.0).or_default() += 1);
            feeds.push(life as usize % 2, &rows);
            driver.advance(1_000 + seed * 30_000).unwrap();
            target.patience.store(life as usize * 40, Ordering::SeqCst);
            machine = end(driver, &machine, seed);
            driver = open(&machine, [1, 2, 4][life as usize % 3], &feeds, &target, seed + 1);
            assert_eq!(staged(&mut driver), 0, "seed {seed}, life {life}: nothing is left to be sent");
        }
        feeds.end();
        driver.advance(5_000_000).unwrap();
        let taken = target.taken.lock().unwrap().clone();
        // Counts only rise here: no change is made twice.
        let mut once = taken.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), taken.len(), "seed {seed}: {taken:?}");
        let last: BTreeMap<i64, i64> = taken.iter().filter(|row| row[2] > 0).map(|row| (row[0], row[1])).collect();
        assert_eq!(last, counts, "seed {seed}");
    }
}

#[test]
fn an_orderly_end_repeats_no_row_of_a_target_that_acknowledges_late() {
    for patience in [0, 10, 100, 1000] {
        let (feeds, target) = (Feeds::new(1), Target::default());
        let mut machine = SimMachine::new(7);
        let mut driver = open(&machine, 2, &feeds, &target, 7);
        deploy(&mut driver, vec![source(1, Some("test"), 0), plain_stream(2, 1), sink(3, 2, plain())]);
        target.patience.store(patience, Ordering::SeqCst);
        for life in 0..4 {
            feeds.push(0, &[(life, life, life)]);
            for _ in 0..10 {
                driver.round();
            }
            machine = end(driver, &machine, 7);
            driver = open(&machine, 2, &feeds, &target, 7);
        }
        feeds.end();
        driver.advance(5_000_000).unwrap();
        let taken = target.taken.lock().unwrap().clone();
        assert_eq!(taken, (0..4).map(|n| vec![n, n, n]).collect::<Vec<_>>(), "asked {patience} times");
    }
}
