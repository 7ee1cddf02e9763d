//! Queries that spill: their memory stays near the limit while their state grows far beyond it, and their answers are
//! those of a query without a limit.

use laminar_storage::disk::{DiskErrorKind, SimMachine};

use super::durable::{copy_of, deploy, kept, rows_of};
use super::kit::*;
use super::memory::*;
use crate::engine::Driver;
use crate::engine::status::ObjectState;
use crate::graph::MemoryPolicy;
use crate::ids::ObjectId;

/// Rows whose state is several times the limit.
const ROWS: i64 = 60_000;

fn checkpoint(driver: &mut Driver) {
    driver.wait(|handle, reply| handle.checkpoint(reply)).unwrap();
}

fn is_full(driver: &mut Driver, object: u64) -> bool {
    memory_of(driver, object).full_since.is_some()
}

#[test]
fn a_query_that_spills_holds_its_limit_in_memory_and_answers_as_one_without_over_power_cuts() {
    for reactors in [1, 2, 4] {
        let feeds = Feeds::new(2);
        let machine = SimMachine::new(11);
        let mut driver = open(&machine, reactors, &feeds, 1);
        let view = limited(kept(2, 1), MemoryPolicy::Spill);
        let over = copy_of(3, 2, &view);
        deploy(&mut driver, vec![source(1, Some("test"), 0), view, over, kept(4, 1)]);
        let all = rows(0, ROWS);
        let (first, second) = all.split_at(all.len() / 2);
        let mut most = feed(&mut driver, &feeds, first, 2);
        checkpoint(&mut driver);
        drop(driver);
        let machine = machine.crash(7);
        let mut driver = open(&machine, 5 - reactors, &feeds, 2);
        let (state, spilled) = state_and_spilled(&mut driver, 2);
        assert!(state > 2 * LIMIT && state - spilled < LIMIT, "{state} bytes, {spilled} spilled, just after a start");
        most = most.max(feed(&mut driver, &feeds, second, 2));
        driver.advance(5_000_000).unwrap();
        let (state, spilled) = state_and_spilled(&mut driver, 2);
        assert!(state > 4 * LIMIT && spilled > 3 * LIMIT, "{state} bytes, {spilled} of them spilled");
        assert!(most < LIMIT + SLACK, "{most} bytes in memory at most, on {reactors} reactors");
        assert_eq!((state_of(&mut driver, 2), is_full(&mut driver, 2)), (ObjectState::Running, false));
        assert_eq!(rows_of(&mut driver, 2), as_rows(&all), "{reactors} reactors");
        assert_eq!(rows_of(&mut driver, 3), as_rows(&all), "what reads it");
        assert_eq!(rows_of(&mut driver, 4), as_rows(&all), "the neighbour");
        checkpoint(&mut driver);
        drop(driver);
        let mut driver = open(&machine.crash(8), reactors, &feeds, 3);
        driver.advance(5_000_000).unwrap();
        assert!(held(&mut driver, 2) < LIMIT, "when all of it was read back");
        assert_eq!(rows_of(&mut driver, 2), as_rows(&all), "after a power cut, {reactors} reactors");
    }
}

#[test]
fn a_query_that_finds_the_disk_full_waits_with_the_reason_and_goes_on_when_there_is_space() {
    for reactors in [1, 4] {
        let feeds = Feeds::new(2);
        let machine = SimMachine::new(12);
        let mut driver = open(&machine, reactors, &feeds, 1);
        let view = limited(kept(2, 1), MemoryPolicy::Spill);
        deploy(&mut driver, vec![source(1, Some("test"), 0), view, kept(4, 1)]);
        driver.advance(1_000_000).unwrap();
        machine.set_capacity(machine.bytes());
        let all = rows(0, ROWS / 2);
        let most = feed(&mut driver, &feeds, &all, 2);
        let state = state_of(&mut driver, 2);
        let said = |why: &str| ["memory_limit", "the disk takes no more of it", "full"].iter().all(|w| why.contains(w));
        assert!(matches!(&state, ObjectState::Waiting(why) if said(why)), "{state:?}");
        assert!(is_full(&mut driver, 2) && most < LIMIT + SLACK, "{most} bytes at most");
        assert_eq!(rows_of(&mut driver, 4), as_rows(&all), "the neighbour");
        let tried = machine.operations();
        driver.advance(1_000_000).unwrap();
        let tried = machine.operations() - tried;
        assert!(tried < 200, "{tried} operations of the disk in a second of waiting");
        machine.set_capacity(u64::MAX);
        driver.advance(5_000_000).unwrap();
        assert_eq!((state_of(&mut driver, 2), is_full(&mut driver, 2)), (ObjectState::Running, false));
        assert_eq!(rows_of(&mut driver, 2), as_rows(&all), "{reactors} reactors");
        assert!(state_and_spilled(&mut driver, 2).1 > LIMIT);
    }
}

#[test]
fn a_limit_that_was_raised_counts_at_once_for_what_waits_for_the_disk() {
    for policy in [MemoryPolicy::Spill, MemoryPolicy::Backpressure] {
        let feeds = Feeds::new(2);
        let machine = SimMachine::new(14);
        let mut driver = open(&machine, 2, &feeds, 1);
        deploy(&mut driver, vec![source(1, Some("test"), 0), limited(kept(2, 1), MemoryPolicy::Spill)]);
        driver.advance(1_000_000).unwrap();
        machine.set_capacity(machine.bytes());
        let all = rows(0, ROWS / 2);
        feed(&mut driver, &feeds, &all, 2);
        assert!(is_full(&mut driver, 2));
        raise(&mut driver, 2, memory(16 * LIMIT, policy));
        driver.advance(1_000_000).unwrap();
        assert_eq!((rows_of(&mut driver, 2), is_full(&mut driver, 2)), (as_rows(&all), false), "{policy:?}");
        machine.set_capacity(u64::MAX);
        driver.advance(5_000_000).unwrap();
        let (state, spilled) = state_and_spilled(&mut driver, 2);
        assert!(state > 2 * LIMIT && spilled == 0, "{policy:?}: {spilled} of {state} bytes went for the former limit");
    }
}

/// What the kernel could not write out of a scratch file may be read as something else: nothing of it is kept.
#[test]
fn a_checkpoint_of_spilled_state_that_the_disk_has_lost_is_not_taken() {
    let (first, all) = (rows(0, ROWS / 2), rows(0, ROWS / 2 + 100));
    let run = |failing: Option<u64>| {
        let feeds = Feeds::new(2);
        let machine = SimMachine::new(15);
        let mut driver = open(&machine, 1, &feeds, 1);
        deploy(&mut driver, vec![source(1, Some("test"), 0), limited(kept(2, 1), MemoryPolicy::Spill)]);
        feed(&mut driver, &feeds, &first, 2);
        checkpoint(&mut driver);
        assert!(state_and_spilled(&mut driver, 2).1 > 0);
        let before = machine.operations();
        if let Some(number) = failing {
            machine.fail_at(number, DiskErrorKind::Io);
        }
        feeds.push(0, &all[first.len()..]);
        driver.advance(1_000).unwrap();
        let answer = driver.wait(|handle, reply| handle.checkpoint(reply));
        let checked = machine.trace().into_iter().find(|op| op.number >= before && op.what == "write out");
        (machine, feeds, answer, checked.unwrap().number)
    };
    let (_, _, answer, checked) = run(None);
    answer.unwrap();
    let (machine, feeds, answer, _) = run(Some(checked));
    let refused = answer.unwrap_err().to_string();
    assert!(refused.contains("write out"), "{refused}");
    let mut driver = open(&machine.crash(3), 1, &feeds, 2);
    driver.advance(5_000_000).unwrap();
    assert_eq!(rows_of(&mut driver, 2), as_rows(&all), "what the last checkpoint has, and the rest again");
}

/// A reactor that had spilled its share grew again before the last one answered, and nobody was told anew.
#[test]
fn reactors_that_grow_while_others_still_spill_are_told_again() {
    for seed in 0..6 {
        let feeds = Feeds::new(2);
        let machine = SimMachine::new(seed);
        let mut driver = open(&machine, 4, &feeds, seed);
        deploy(&mut driver, vec![source(1, Some("test"), 0), limited(kept(2, 1), MemoryPolicy::Spill)]);
        let all = rows(0, ROWS / 2);
        // All at once: much is on its way when the limit is near.
        feeds.push(0, &all[..all.len() / 2]);
        feeds.push(1, &all[all.len() / 2..]);
        driver.advance(10_000_000).unwrap();
        assert_eq!((state_of(&mut driver, 2), is_full(&mut driver, 2)), (ObjectState::Running, false), "seed {seed}");
        assert_eq!(rows_of(&mut driver, 2), as_rows(&all), "seed {seed}");
    }
}

#[test]
fn a_policy_changes_while_the_query_runs_and_what_is_spilled_stays_where_it_is() {
    let feeds = Feeds::new(2);
    let machine = SimMachine::new(13);
    let mut driver = open(&machine, 2, &feeds, 1);
    deploy(&mut driver, vec![source(1, Some("test"), 0), limited(kept(2, 1), MemoryPolicy::Backpressure)]);
    let all = rows(0, ROWS / 2);
    feed(&mut driver, &feeds, &all, 2);
    assert!(is_full(&mut driver, 2) && state_and_spilled(&mut driver, 2).1 == 0);
    raise(&mut driver, 2, memory(LIMIT, MemoryPolicy::Spill));
    driver.advance(5_000_000).unwrap();
    assert_eq!((rows_of(&mut driver, 2), is_full(&mut driver, 2)), (as_rows(&all), false));
    let (state, spilled) = state_and_spilled(&mut driver, 2);
    assert!(spilled > LIMIT, "{spilled} of {state} bytes are spilled");
    raise(&mut driver, 2, memory(LIMIT / 2, MemoryPolicy::Spill));
    driver.advance(1_000_000).unwrap();
    assert!(held(&mut driver, 2) < LIMIT / 2, "a lower limit is reached by spilling more");
    raise(&mut driver, 2, memory(LIMIT, MemoryPolicy::Fail));
    driver.advance(1_000_000).unwrap();
    assert_eq!(state_of(&mut driver, 2), ObjectState::Running, "what is spilled does not count");
    assert!(state_and_spilled(&mut driver, 2).1 >= spilled);
    checkpoint(&mut driver);
    drop(driver);
    let mut driver = open(&machine.crash(1), 2, &feeds, 2);
    driver.advance(1_000_000).unwrap();
    assert!(matches!(state_of(&mut driver, 2), ObjectState::Stopped(_)), "a start without the policy spills nothing");
    raise(&mut driver, 2, memory(LIMIT, MemoryPolicy::Spill));
    driver.wait(|handle, reply| handle.resume(ObjectId(2), reply)).unwrap();
    driver.advance(1_000_000).unwrap();
    assert_eq!((rows_of(&mut driver, 2), state_of(&mut driver, 2)), (as_rows(&all), ObjectState::Running));
    assert!(held(&mut driver, 2) < LIMIT);
}

#[test]
fn without_a_data_directory_a_query_that_would_spill_waits_and_says_so() {
    let feeds = Feeds::new(2);
    let options = super::flow::options(2);
    let mut driver = Driver::new(options, registry(&feeds), std::sync::Arc::new(TinyCompiler), 1);
    deploy(&mut driver, vec![source(1, Some("test"), 0), limited(kept(2, 1), MemoryPolicy::Spill)]);
    let most = feed(&mut driver, &feeds, &rows(0, ROWS / 2), 2);
    let state = state_of(&mut driver, 2);
    assert!(matches!(&state, ObjectState::Waiting(why) if why.contains("without a data directory")), "{state:?}");
    assert!(most < LIMIT + SLACK);
}
