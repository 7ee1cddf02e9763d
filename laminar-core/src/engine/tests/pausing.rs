//! PAUSE where something else happens to the query or beside it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use laminar_storage::disk::SimMachine;

use super::durable::{deploy, kept, open_with, rows_of};
use super::flow::{options, plain};
use super::kit::*;
use crate::engine::status::ObjectState;
use crate::engine::{Driver, EngineError, EngineOptions, Reply};
use crate::ids::ObjectId;

fn open(machine: &SimMachine, feeds: &Arc<Feeds>, target: &Target, seed: u64) -> Driver {
    let options = EngineOptions { shards: Some(4), outbox_bytes: 4096, ..options(2) };
    open_with(machine, options, feeds, target, seed)
}

fn pause(driver: &mut Driver, id: u64) -> Result<(), EngineError> {
    driver.wait(|handle, reply| handle.pause(ObjectId(id), reply))
}

fn resume(driver: &mut Driver, id: u64) -> Result<(), EngineError> {
    driver.wait(|handle, reply| handle.resume(ObjectId(id), reply))
}

/// Pauses a query or lets it go on; without space nobody waits for the checkpoint that follows.
fn refused_at_once(driver: &mut Driver, id: u64, pause: bool) -> Option<EngineError> {
    let (send, receive) = std::sync::mpsc::channel();
    let reply = Reply::new(move |answer| drop(send.send(answer)));
    match pause {
        true => driver.handle().pause(ObjectId(id), reply),
        false => driver.handle().resume(ObjectId(id), reply),
    }
    driver.settle().unwrap();
    receive.try_recv().ok()?.err()
}

#[test]
fn a_pause_that_is_refused_on_a_full_disk_leaves_a_waiting_query_waiting() {
    let (feeds, target) = (Feeds::new(1), Target::default());
    let machine = SimMachine::new(1);
    let mut driver = open(&machine, &feeds, &target, 1);
    deploy(&mut driver, vec![source(1, Some("test"), 0), kept(2, 1), sink(3, 2, plain()), kept(4, 1)]);
    target.silent.store(true, Ordering::SeqCst);
    for piece in 0..30 {
        feeds.push(0, &(0..40).map(|i| (i, piece, i)).collect::<Vec<_>>());
        driver.advance(50_000).unwrap();
    }
    assert!(matches!(state_of(&mut driver, 2), ObjectState::Waiting(_)));
    let full = machine.files().iter().map(|path| machine.content(path).unwrap().len() as u64).sum();
    machine.set_capacity(full);
    // Until the manifest has no room for one more record; the two views' records have one size.
    let mut pauses = [true, false].into_iter().cycle().take(20_000);
    assert!(pauses.any(|pause| refused_at_once(&mut driver, 4, pause).is_some()), "the manifest is never full");
    let refused = refused_at_once(&mut driver, 2, true).unwrap();
    assert!(matches!(refused, EngineError::NoSpace | EngineError::Storage(_)), "{refused:?}");
    let state = state_of(&mut driver, 2);
    assert!(matches!(&state, ObjectState::Waiting(why) if why.contains("sink k3")), "{state:?}");
    machine.set_capacity(u64::MAX);
    pause(&mut driver, 2).unwrap();
    assert_eq!(state_of(&mut driver, 2), ObjectState::Paused);
}

#[test]
fn of_two_queries_that_are_paused_at_one_place_one_goes_on_after_a_restart_and_the_other_does_not() {
    let (feeds, target) = (Feeds::new(1), Target::default());
    let machine = SimMachine::new(2);
    let mut driver = open(&machine, &feeds, &target, 2);
    deploy(&mut driver, vec![source(1, Some("test"), 0), kept(2, 1), kept(3, 1)]);
    feeds.push(0, &[(1, 1, 1)]);
    driver.advance(1_000_000).unwrap();
    pause(&mut driver, 2).unwrap();
    pause(&mut driver, 3).unwrap();
    driver.wait(|handle, reply| handle.checkpoint(reply)).unwrap();
    drop(driver);
    let mut driver = open(&machine.crash(1), &feeds, &target, 3);
    resume(&mut driver, 2).unwrap();
    feeds.push(0, &[(2, 2, 2)]);
    driver.advance(1_000_000).unwrap();
    assert_eq!(rows_of(&mut driver, 2), [vec![1, 1, 1], vec![2, 2, 2]]);
    assert_eq!(rows_of(&mut driver, 3), [vec![1, 1, 1]], "it is paused");
    resume(&mut driver, 3).unwrap();
    driver.advance(1_000_000).unwrap();
    assert_eq!(rows_of(&mut driver, 3), [vec![1, 1, 1], vec![2, 2, 2]], "and misses nothing");
}
