//! Sinks whose target takes nothing for a while: the rest goes on, memory stays flat, and then
//! everything arrives.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use laminar_storage::disk::SimMachine;

use super::durable::{counted_view, deploy, kept, open_with, plain_stream, rows_of};
use super::flow::{insert, options, plain};
use super::kit::*;
use crate::engine::status::ObjectState;
use crate::engine::{Driver, EngineError, EngineOptions};
use crate::ids::ObjectId;

const LIMIT: u64 = 8 << 10;

fn open(machine: &SimMachine, reactors: u16, feeds: &Arc<Feeds>, target: &Target, seed: u64) -> Driver {
    let options = EngineOptions { shards: Some(4), outbox_bytes: LIMIT, ..options(reactors) };
    open_with(machine, options, feeds, target, seed)
}

/// Bytes that a sink's stages keep.
fn staged(driver: &mut Driver, sink: u64) -> u64 {
    let status = driver.wait(|handle, reply| handle.status(reply)).unwrap();
    let stages = status.reactors.iter().flat_map(|reactor| &reactor.stages);
    stages.filter(|stage| stage.sink == ObjectId(sink)).map(|stage| stage.unacknowledged_bytes).sum()
}

fn rows(from: i64, to: i64) -> Vec<(i64, i64, i64)> {
    (from..to).map(|i| (i % 40, i, i * SECOND / 500)).collect()
}

fn as_rows(rows: &[(i64, i64, i64)]) -> Vec<Vec<i64>> {
    let mut all: Vec<Vec<i64>> = rows.iter().map(|row| vec![row.0, row.1, row.2]).collect();
    all.sort();
    all
}

/// Everything that the target has taken, sorted, without repetitions.
fn taken(target: &Target) -> Vec<Vec<i64>> {
    let mut taken = target.taken.lock().unwrap().clone();
    taken.sort();
    taken.dedup();
    taken
}

#[test]
fn a_target_that_takes_nothing_holds_up_only_what_feeds_it() {
    for reactors in [1, 2] {
        let (feeds, target) = (Feeds::new(2), Target::default());
        let machine = SimMachine::new(1);
        let mut driver = open(&machine, reactors, &feeds, &target, 1);
        let stream = plain_stream(2, 1);
        deploy(&mut driver, vec![source(1, Some("test"), 0), stream, sink(3, 2, plain()), counted_view(4, 1)]);
        target.silent.store(true, Ordering::SeqCst);
        let mut neighbour = Counts::default();
        let (mut all, mut most) = (Vec::new(), 0);
        for step in 0..100 {
            let piece = rows(step * 100, step * 100 + 100);
            neighbour.add(&piece);
            feeds.push(step as usize % 2, &piece);
            all.extend(piece);
            driver.advance(100_000).unwrap();
            most = most.max(staged(&mut driver, 3));
            if step % 20 == 19 {
                driver.wait(|handle, reply| handle.checkpoint(reply)).unwrap();
            }
        }
        assert!((LIMIT..4 * LIMIT).contains(&most), "{most} bytes staged at most, on {reactors} reactors");
        assert!(staged(&mut driver, 3) >= LIMIT, "it is still full");
        let state = state_of(&mut driver, 2);
        assert!(matches!(&state, ObjectState::Waiting(why) if why.contains("sink k3")), "{state:?}");
        assert_eq!(state_of(&mut driver, 4), ObjectState::Running);
        let seen: i64 = rows_of(&mut driver, 4).iter().map(|row| row[3]).sum();
        assert!(seen > 9_000, "the neighbour has read on: {seen}");
        drop(driver);
        let mut driver = open(&machine.crash(2), 3 - reactors, &feeds, &target, 2);
        driver.advance(5_000_000).unwrap();
        assert!(staged(&mut driver, 3) >= LIMIT, "full again after a restart");
        target.silent.store(false, Ordering::SeqCst);
        feeds.end();
        driver.advance(120_000_000).unwrap();
        assert_eq!(taken(&target), as_rows(&all), "{reactors} reactors");
        assert_eq!(rows_of(&mut driver, 4), neighbour.rows());
        assert_eq!(state_of(&mut driver, 2), ObjectState::Running);
    }
}

#[test]
fn rows_of_clients_wait_for_a_full_sink_and_are_refused_when_it_takes_too_long() {
    let (feeds, target) = (Feeds::new(0), Target::default());
    let machine = SimMachine::new(2);
    let mut driver = open(&machine, 2, &feeds, &target, 1);
    let objects = vec![source(1, None, 0), plain_stream(2, 1), sink(3, 2, plain()), source(4, None, 0), kept(5, 4)];
    deploy(&mut driver, objects);
    target.silent.store(true, Ordering::SeqCst);
    let mut acknowledged = Vec::new();
    let refused = loop {
        let at = acknowledged.len() as i64;
        let piece = rows(at, at + 50);
        match driver.wait(|handle, reply| handle.insert(insert(1, &piece), reply)) {
            Ok(_) => acknowledged.extend(piece),
            Err(error) => break error,
        }
        driver.advance(50_000).unwrap();
        assert!(acknowledged.len() < 10_000, "it never becomes full");
    };
    assert!(matches!(&refused, EngineError::Choked { object, seconds: 10, .. } if object == "s1"), "{refused}");
    driver.wait(|handle, reply| handle.insert(insert(4, &[(1, 1, 1)]), reply)).unwrap();
    assert_eq!(rows_of(&mut driver, 5), [vec![1, 1, 1]], "what does not feed the sink goes on");
    driver.wait(|handle, reply| handle.checkpoint(reply)).unwrap();
    // One that waits is taken when there is room.
    let (send, receive) = std::sync::mpsc::channel();
    let more = rows(20_000, 20_050);
    driver.handle().insert(insert(1, &more), crate::engine::Reply::new(move |answer| drop(send.send(answer))));
    driver.advance(3_000_000).unwrap();
    assert!(receive.try_recv().is_err(), "it waits");
    target.silent.store(false, Ordering::SeqCst);
    driver.advance(30_000_000).unwrap();
    receive.try_recv().unwrap().unwrap();
    acknowledged.extend(more);
    assert_eq!(taken(&target), as_rows(&acknowledged), "all that was acknowledged and nothing else");
}

#[test]
fn dropping_a_full_sink_lets_what_fed_it_go_on() {
    let (feeds, target) = (Feeds::new(1), Target::default());
    let machine = SimMachine::new(3);
    let mut driver = open(&machine, 2, &feeds, &target, 1);
    deploy(&mut driver, vec![source(1, Some("test"), 0), kept(2, 1), sink(3, 2, plain())]);
    target.silent.store(true, Ordering::SeqCst);
    let all = rows(0, 3_000);
    for piece in all.chunks(100) {
        feeds.push(0, piece);
        driver.advance(50_000).unwrap();
    }
    assert!(matches!(state_of(&mut driver, 2), ObjectState::Waiting(_)));
    // A user's PAUSE and RESUME do not change that it waits, and a PAUSE outlives the sink's.
    driver.wait(|handle, reply| handle.pause(ObjectId(2), reply)).unwrap();
    driver.wait(|handle, reply| handle.resume(ObjectId(2), reply)).unwrap();
    driver.advance(5_000_000).unwrap();
    assert!(matches!(state_of(&mut driver, 2), ObjectState::Waiting(_)));
    assert!(rows_of(&mut driver, 2).len() < all.len());
    driver.wait(|handle, reply| handle.pause(ObjectId(2), reply)).unwrap();
    let drop_sink = crate::engine::Deployment { add: vec![], drop: vec![ObjectId(3)] };
    driver.wait(|handle, reply| handle.deploy(drop_sink, reply)).unwrap();
    driver.advance(5_000_000).unwrap();
    assert_eq!(state_of(&mut driver, 2), ObjectState::Paused);
    assert!(rows_of(&mut driver, 2).len() < all.len());
    driver.wait(|handle, reply| handle.resume(ObjectId(2), reply)).unwrap();
    driver.advance(5_000_000).unwrap();
    assert_eq!(rows_of(&mut driver, 2), as_rows(&all));
}

/// Rows flow while the engine is told to stop: what it has counted is at the target when it has ended, and
/// the next start sends none of it again.
#[test]
fn an_orderly_end_under_load_writes_every_row_once() {
    for seed in 0..10 {
        let (feeds, target) = (Feeds::new(2), Target::default());
        let mut machine = SimMachine::new(seed);
        let options = |reactors| EngineOptions { shards: Some(4), ..options(reactors) };
        let mut driver = open_with(&machine, options(2), &feeds, &target, seed);
        deploy(&mut driver, vec![source(1, Some("test"), 0), plain_stream(2, 1), sink(3, 2, plain())]);
        let all = rows(0, 4_000);
        for (step, piece) in all.chunks(400).enumerate() {
            feeds.push(step % 2, piece);
            for _ in 0..step + seed as usize {
                driver.round();
            }
            driver.wait(|handle, reply| handle.shutdown(reply)).unwrap();
            drop(driver);
            machine = if step % 2 == 0 { machine.kill(seed) } else { machine.crash(seed) };
            driver = open_with(&machine, options([1, 2, 4][step % 3]), &feeds, &target, seed + step as u64);
        }
        feeds.end();
        driver.advance(5_000_000).unwrap();
        let mut taken = target.taken.lock().unwrap().clone();
        taken.sort();
        assert_eq!(taken, as_rows(&all), "seed {seed}: all of them, and none twice");
    }
}

#[test]
fn a_sink_that_panics_is_shown_and_begun_anew_and_no_row_is_lost() {
    let (feeds, target) = (Feeds::new(1), Target::default());
    let mut driver = open(&SimMachine::new(5), 2, &feeds, &target, 1);
    deploy(&mut driver, vec![source(1, Some("test"), 0), plain_stream(2, 1), sink(3, 2, plain())]);
    target.broken.store(u64::MAX, Ordering::SeqCst);
    let all = rows(0, 200);
    feeds.push(0, &all);
    driver.advance(50_000).unwrap();
    let state = state_of(&mut driver, 3);
    assert!(
        matches!(&state, ObjectState::Waiting(why) if why.contains("LDB-3034") && why.contains("out of order")),
        "{state:?}"
    );
    target.broken.store(3, Ordering::SeqCst);
    feeds.end();
    driver.advance(10_000_000).unwrap();
    assert_eq!(target.broken.load(Ordering::SeqCst), 0, "it was begun anew each time");
    assert_eq!(taken(&target), as_rows(&all));
    assert_eq!(state_of(&mut driver, 3), ObjectState::Running);
}

#[test]
fn a_sink_that_was_fenced_stays_so_also_when_its_end_panics() {
    let (feeds, target) = (Feeds::new(1), Target::default());
    let mut driver = open(&SimMachine::new(7), 1, &feeds, &target, 1);
    deploy(&mut driver, vec![source(1, Some("test"), 0), plain_stream(2, 1), sink(3, 2, plain())]);
    target.fenced.store(true, Ordering::SeqCst);
    target.fragile.store(true, Ordering::SeqCst);
    feeds.push(0, &rows(0, 10));
    driver.advance(1_000_000).unwrap();
    target.fragile.store(false, Ordering::SeqCst);
    let state = state_of(&mut driver, 3);
    assert!(matches!(&state, ObjectState::Failed(why) if why.contains("the target is another's")), "{state:?}");
}

#[test]
fn a_source_that_could_not_be_asked_for_new_splits_runs_again_when_it_can() {
    let (feeds, target) = (Feeds::new(1), Target::default());
    let mut driver = open(&SimMachine::new(8), 1, &feeds, &target, 1);
    deploy(&mut driver, vec![source(1, Some("test"), 0), kept(2, 1)]);
    driver.advance(1_000_000).unwrap();
    assert_eq!(state_of(&mut driver, 1), ObjectState::Running);
    feeds.away.store(true, Ordering::SeqCst);
    driver.advance(11_000_000).unwrap();
    let state = state_of(&mut driver, 1);
    assert!(matches!(&state, ObjectState::Waiting(why) if why.contains("the source is away")), "{state:?}");
    feeds.away.store(false, Ordering::SeqCst);
    driver.advance(11_000_000).unwrap();
    assert_eq!(state_of(&mut driver, 1), ObjectState::Running);
}

#[test]
fn a_source_that_panics_is_shown_with_its_words() {
    let (feeds, target) = (Feeds::new(1), Target::default());
    let mut driver = open(&SimMachine::new(6), 1, &feeds, &target, 1);
    feeds.broken.store(true, Ordering::SeqCst);
    deploy(&mut driver, vec![source(1, Some("test"), 0), kept(2, 1)]);
    driver.advance(1_000_000).unwrap();
    let state = state_of(&mut driver, 1);
    assert!(matches!(&state, ObjectState::Failed(why) if why.contains("the source is out of order")), "{state:?}");
}
