//! Queries at their memory limit: what they hold stays near it, what does not feed them goes on, and when there
//! is room again nothing is missing.

use std::ops::Range;
use std::sync::Arc;

use laminar_storage::disk::SimMachine;

use super::durable::{copy_of, counted_view, deploy, kept, plain_stream, rows_of};
use super::flow::{count_nodes, insert, options, plain};
use super::kit::*;
use crate::data::EventTime;
use crate::engine::status::{MemoryStatus, ObjectState};
use crate::engine::{
    AdvanceWatermark, Driver, EngineError, EngineOptions, NewObject, ReadLevel, ReadObject, ReadRequest,
};
use crate::graph::{MemoryPolicy, MemorySpec, ObjectSpec, OperatorSpec, PipelineKind};
use crate::ids::ObjectId;

pub const LIMIT: u64 = 1 << 20;

/// What may be in flight when a query becomes full, with what a reactor need not tell at once.
pub const SLACK: u64 = LIMIT / 8;

/// What a full query is seen to hold: less than what made it full, by what the end of its epochs frees, yet not so
/// little that it goes on.
const NEAR: Range<u64> = LIMIT - SLACK..LIMIT + SLACK;

pub fn open(machine: &SimMachine, reactors: u16, feeds: &Arc<Feeds>, seed: u64) -> Driver {
    let options = EngineOptions { shards: Some(4), ..options(reactors) };
    Driver::on_disk(options, registry(feeds), Arc::new(TinyCompiler), seed, machine).unwrap().0
}

pub fn memory(limit: u64, policy: MemoryPolicy) -> MemorySpec {
    MemorySpec { limit: Some(limit), policy }
}

pub fn limited(mut object: NewObject, policy: MemoryPolicy) -> NewObject {
    if let ObjectSpec::Pipeline(pipeline) = &mut object.spec {
        pipeline.memory = memory(LIMIT, policy);
    }
    object
}

/// source and source → union → exchange → count per key and second → output
fn counted_together(id: u64, sources: [u64; 2]) -> NewObject {
    counted_both(id, sources.map(read_source))
}

/// source and stream → union → exchange → count per key and second → output
fn counted_beside(id: u64, source: u64, stream: u64) -> NewObject {
    let columns = vec![0, 1, 2];
    counted_both(id, [read_source(source), OperatorSpec::Relation { object: ObjectId(stream), columns }])
}

fn counted_both(id: u64, [one, other]: [OperatorSpec; 2]) -> NewObject {
    let counted = count_nodes(1);
    let window = counted[2].output.clone();
    let nodes = vec![
        node(1, one, &[], plain()),
        node(2, other, &[], plain()),
        node(3, OperatorSpec::Union, &[0, 1], plain()),
        node(4, counted[1].operator.clone(), &[2], plain()),
        node(5, counted[2].operator.clone(), &[3], window.clone()),
        node(6, OperatorSpec::Output, &[4], window),
    ];
    pipeline(id, PipelineKind::Stream, nodes)
}

/// Bytes of a query in memory.
pub fn held(driver: &mut Driver, object: u64) -> u64 {
    let (state, spilled) = state_and_spilled(driver, object);
    state - spilled
}

/// Bytes of a query, and those of them in spill files.
pub fn state_and_spilled(driver: &mut Driver, object: u64) -> (u64, u64) {
    let status = driver.wait(|handle, reply| handle.status(reply)).unwrap();
    let state = status.reactors.iter().flat_map(|reactor| &reactor.state);
    let state = state.filter(|state| state.pipeline == ObjectId(object));
    state.fold((0, 0), |sum, state| (sum.0 + state.state_bytes, sum.1 + state.spilled_bytes))
}

pub fn memory_of(driver: &mut Driver, object: u64) -> MemoryStatus {
    let status = driver.wait(|handle, reply| handle.status(reply)).unwrap();
    status.objects.iter().find(|known| known.id == ObjectId(object)).unwrap().memory.unwrap()
}

pub fn raise(driver: &mut Driver, object: u64, memory: MemorySpec) {
    driver.wait(|handle, reply| handle.limit(ObjectId(object), memory, Vec::new(), reply)).unwrap();
}

pub fn rows(from: i64, to: i64) -> Vec<(i64, i64, i64)> {
    (from..to).map(|i| (i % 40, i, i * SECOND / 50)).collect()
}

pub fn as_rows(rows: &[(i64, i64, i64)]) -> Vec<Vec<i64>> {
    let mut all: Vec<Vec<i64>> = rows.iter().map(|row| vec![row.0, row.1, row.2]).collect();
    all.sort();
    all
}

/// Feeds rows piece by piece; returns the most that a query held.
pub fn feed(driver: &mut Driver, feeds: &Feeds, rows: &[(i64, i64, i64)], object: u64) -> u64 {
    let mut most = 0;
    for (step, piece) in rows.chunks(200).enumerate() {
        feeds.push(step % feeds.splits(), piece);
        driver.advance(20_000).unwrap();
        most = most.max(held(driver, object));
    }
    most
}

#[test]
fn a_full_query_waits_until_time_frees_state_and_loses_nothing() {
    for reactors in [1, 2, 4] {
        let feeds = Feeds::new(2);
        let mut machine = SimMachine::new(1);
        let mut driver = open(&machine, reactors, &feeds, 1);
        let stream = limited(counted_together(3, [1, 2]), MemoryPolicy::Backpressure);
        let objects = vec![
            source(1, Some("test"), 0),
            source(2, None, 0),
            stream.clone(),
            copy_of(4, 3, &stream),
            counted_view(5, 1),
        ];
        deploy(&mut driver, objects);
        let all = rows(0, 10_000);
        let mut counts = Counts::default();
        counts.add(&all);
        let mut most = feed(&mut driver, &feeds, &all, 3);
        let state = state_of(&mut driver, 3);
        assert!(matches!(&state, ObjectState::Waiting(why) if why.contains("memory_limit")), "{state:?}");
        assert!(memory_of(&mut driver, 3).full_since.is_some());
        assert_eq!(rows_of(&mut driver, 4), Vec::<Vec<i64>>::new(), "time stands still");
        let neighbour: i64 = rows_of(&mut driver, 5).iter().map(|row| row[3]).sum();
        assert!(neighbour > 9_000, "what does not feed it goes on: {neighbour}");
        for to in (20..=200).step_by(20) {
            let advance = AdvanceWatermark { source: ObjectId(2), to: EventTime(to * SECOND) };
            driver.wait(|handle, reply| handle.advance_watermark(advance, reply)).unwrap();
            for _ in 0..10 {
                driver.advance(20_000).unwrap();
                most = most.max(held(&mut driver, 3));
            }
            if to == 100 {
                driver.wait(|handle, reply| handle.checkpoint(reply)).unwrap();
                drop(driver);
                machine = machine.crash(3);
                driver = open(&machine, 5 - reactors, &feeds, 2);
                most = most.max(held(&mut driver, 3));
            }
        }
        feeds.end();
        driver.advance(15_000_000).unwrap();
        assert!((LIMIT..LIMIT + SLACK).contains(&most), "{most} bytes at most, on {reactors} reactors");
        assert_eq!(state_of(&mut driver, 3), ObjectState::Running);
        assert_eq!(rows_of(&mut driver, 4), counts.rows(), "{reactors} reactors");
        assert_eq!(memory_of(&mut driver, 3).full_since, None);
    }
}

#[test]
fn a_full_query_that_is_paused_holds_nobody_up_when_time_has_freed_its_state() {
    let feeds = Feeds::new(1);
    let mut driver = open(&SimMachine::new(6), 2, &feeds, 1);
    let stream = limited(counted_beside(4, 1, 3), MemoryPolicy::Backpressure);
    deploy(&mut driver, vec![source(1, Some("test"), 0), source(2, None, 0), plain_stream(3, 2), stream]);
    feed(&mut driver, &feeds, &rows(0, 10_000), 4);
    assert!(memory_of(&mut driver, 4).full_since.is_some());
    driver.wait(|handle, reply| handle.pause(ObjectId(4), reply)).unwrap();
    let advance = AdvanceWatermark { source: ObjectId(2), to: EventTime(500 * SECOND) };
    driver.wait(|handle, reply| handle.advance_watermark(advance, reply)).unwrap();
    driver.advance(1_000_000).unwrap();
    assert!(held(&mut driver, 4) < LIMIT / 2, "{} bytes", held(&mut driver, 4));
    assert_eq!((state_of(&mut driver, 4), memory_of(&mut driver, 4).full_since), (ObjectState::Paused, None));
    let before = driver.now().micros;
    driver.wait(|handle, reply| handle.insert(insert(2, &[(1, 1, 600 * SECOND)]), reply)).unwrap();
    assert!(driver.now().micros < before + 1_000_000, "rows of clients do not wait");
}

#[test]
fn a_limit_for_which_a_running_query_has_no_addresses_is_refused_with_what_to_do() {
    let mut driver = open(&SimMachine::new(7), 1, &Feeds::new(0), 1);
    deploy(&mut driver, vec![source(1, None, 0), limited(kept(2, 1), MemoryPolicy::Fail)]);
    let mut set = |limit: u64| {
        let memory = memory(limit, MemoryPolicy::Fail);
        driver.wait(|handle, reply| handle.limit(ObjectId(2), memory, Vec::new(), reply))
    };
    set(8 << 30).unwrap();
    let refused = set(9 << 30).unwrap_err();
    assert_eq!(refused.code(), "LDB-3006");
    let text = refused.to_string();
    assert!(["p2", "9663676416", "8589934592", "restart"].iter().all(|word| text.contains(word)), "{text}");
    assert_eq!(memory_of(&mut driver, 2).limit, 8 << 30, "what was set before counts");
}

#[test]
fn a_query_whose_state_nothing_frees_waits_until_its_limit_is_raised() {
    for reactors in [1, 2, 4] {
        let feeds = Feeds::new(2);
        let machine = SimMachine::new(2);
        let mut driver = open(&machine, reactors, &feeds, 1);
        let view = limited(kept(2, 1), MemoryPolicy::Backpressure);
        let over = copy_of(3, 2, &view);
        deploy(&mut driver, vec![source(1, Some("test"), 0), view, over, kept(4, 1)]);
        let all = rows(0, 26_000);
        let most = feed(&mut driver, &feeds, &all, 2);
        assert!(NEAR.contains(&most), "{most} bytes at most, on {reactors} reactors");
        assert!(memory_of(&mut driver, 2).full_since.is_some(), "{:?}", state_of(&mut driver, 2));
        assert_eq!(rows_of(&mut driver, 4), as_rows(&all), "the neighbour");
        let seen = rows_of(&mut driver, 2).len();
        assert!(seen > 1_000 && seen < all.len(), "{seen} rows are there and served");
        assert_eq!(rows_of(&mut driver, 3).len(), seen);
        drop(driver);
        let machine = machine.crash(5);
        let mut driver = open(&machine, 3, &feeds, 2);
        driver.advance(5_000_000).unwrap();
        assert!(matches!(state_of(&mut driver, 2), ObjectState::Waiting(_)), "full again after a restart");
        assert!(held(&mut driver, 2) < LIMIT + SLACK);
        raise(&mut driver, 2, memory(64 << 20, MemoryPolicy::Backpressure));
        driver.advance(5_000_000).unwrap();
        assert_eq!(rows_of(&mut driver, 2), as_rows(&all), "{reactors} reactors");
        assert_eq!(rows_of(&mut driver, 3), as_rows(&all));
        assert_eq!(state_of(&mut driver, 2), ObjectState::Running);
        drop(driver);
        let machine = machine.crash(6);
        let mut driver = open(&machine, 2, &feeds, 3);
        assert_eq!(memory_of(&mut driver, 2).limit, 64 << 20, "the new limit is durable");
    }
}

#[test]
fn rows_of_clients_wait_for_a_full_query_and_are_refused_when_it_takes_too_long() {
    let feeds = Feeds::new(0);
    let machine = SimMachine::new(3);
    let mut driver = open(&machine, 2, &feeds, 1);
    let view = limited(kept(2, 1), MemoryPolicy::Backpressure);
    deploy(&mut driver, vec![source(1, None, 0), view, source(4, None, 0), kept(5, 4)]);
    let mut acknowledged = Vec::new();
    let refused = loop {
        let at = acknowledged.len() as i64;
        let piece = rows(at, at + 500);
        match driver.wait(|handle, reply| handle.insert(insert(1, &piece), reply)) {
            Ok(_) => acknowledged.extend(piece),
            Err(error) => break error,
        }
        driver.advance(30_000).unwrap();
        assert!(acknowledged.len() < 100_000, "it never becomes full");
    };
    assert!(
        matches!(&refused, EngineError::Choked { object, seconds: 10, by } if object == "s1" && by.contains("p2")),
        "{refused}"
    );
    assert!(held(&mut driver, 2) < LIMIT + SLACK);
    driver.wait(|handle, reply| handle.insert(insert(4, &[(1, 1, 1)]), reply)).unwrap();
    assert_eq!(rows_of(&mut driver, 5), [vec![1, 1, 1]], "what does not feed it goes on");
    assert_eq!(rows_of(&mut driver, 2), as_rows(&acknowledged), "all that was acknowledged and nothing else");
    // One that waits is taken when there is room.
    let (send, receive) = std::sync::mpsc::channel();
    let more = rows(200_000, 200_050);
    driver.handle().insert(insert(1, &more), crate::engine::Reply::new(move |answer| drop(send.send(answer))));
    driver.advance(3_000_000).unwrap();
    assert!(receive.try_recv().is_err(), "it waits");
    raise(&mut driver, 2, memory(2 * LIMIT, MemoryPolicy::Backpressure));
    driver.advance(100_000).unwrap();
    receive.try_recv().unwrap().unwrap();
    acknowledged.extend(more);
    drop(driver);
    let mut driver = open(&machine.crash(1), 1, &feeds, 2);
    assert_eq!(rows_of(&mut driver, 2), as_rows(&acknowledged));
}

#[test]
fn a_table_at_the_limit_takes_no_more_rows_and_keeps_those_it_has() {
    let machine = SimMachine::new(4);
    let feeds = Feeds::new(0);
    let options = EngineOptions { shards: Some(4), state_bytes: LIMIT, ..options(2) };
    let opened = Driver::on_disk(options, registry(&feeds), Arc::new(TinyCompiler), 1, &machine);
    let mut driver = opened.unwrap().0;
    deploy(&mut driver, vec![table(1)]);
    let mut taken = Vec::new();
    let refused = loop {
        let at = taken.len() as i64;
        let piece: Vec<(i64, i64, i64)> = (at..at + 500).map(|i| (i, i, i)).collect();
        match driver.wait(|handle, reply| handle.insert(insert(1, &piece), reply)) {
            Ok(_) => taken.extend(piece),
            Err(error) => break error,
        }
        assert!(taken.len() < 100_000, "it never becomes full");
    };
    assert!(matches!(&refused, EngineError::Choked { by, .. } if by.contains("table t1")), "{refused}");
    assert_eq!(rows_of(&mut driver, 1), as_rows(&taken));
    assert!(matches!(state_of(&mut driver, 1), ObjectState::Waiting(_)));
}

#[test]
fn a_query_that_may_not_wait_stops_in_its_place_and_goes_on_with_a_higher_limit() {
    for reactors in [1, 2, 4] {
        let feeds = Feeds::new(2);
        let machine = SimMachine::new(5);
        let mut driver = open(&machine, reactors, &feeds, 1);
        let view = limited(kept(2, 1), MemoryPolicy::Fail);
        deploy(&mut driver, vec![source(1, Some("test"), 0), view, kept(4, 1)]);
        let all = rows(0, 26_000);
        let most = feed(&mut driver, &feeds, &all, 2);
        assert!(NEAR.contains(&most), "{most} bytes at most, on {reactors} reactors");
        let state = state_of(&mut driver, 2);
        let said = |why: &str| ["p2", "1048576", "RESUME p2"].iter().all(|word| why.contains(word));
        assert!(matches!(&state, ObjectState::Stopped(why) if said(why)), "{state:?}");
        assert_eq!(rows_of(&mut driver, 4), as_rows(&all), "the neighbour");
        let request = ReadRequest {
            objects: vec![ReadObject { object: ObjectId(2), columns: None }],
            level: ReadLevel::Consistent,
            after: None,
        };
        let read = driver.wait(|handle, reply| handle.read(request, reply));
        assert!(matches!(&read, Err(EngineError::Failed { reason, .. }) if said(reason)), "{read:?}");
        drop(driver);
        let mut driver = open(&machine.crash(7), 5 - reactors, &feeds, 2);
        driver.advance(3_000_000).unwrap();
        assert_eq!(state_of(&mut driver, 2), state, "also after a restart");
        // The end of an epoch may have freed a little: then it goes on that far, and stops again.
        match driver.wait(|handle, reply| handle.resume(ObjectId(2), reply)) {
            Ok(()) => driver.advance(3_000_000).unwrap(),
            Err(error) => assert!(matches!(error, EngineError::MemoryLimit { .. }), "{error:?}"),
        }
        let state = state_of(&mut driver, 2);
        assert!(matches!(&state, ObjectState::Stopped(why) if said(why)), "{state:?}");
        assert!(held(&mut driver, 2) < LIMIT + SLACK);
        raise(&mut driver, 2, memory(LIMIT / 2, MemoryPolicy::Fail));
        let refused = driver.wait(|handle, reply| handle.resume(ObjectId(2), reply));
        assert!(matches!(refused, Err(EngineError::MemoryLimit { .. })), "{refused:?}");
        raise(&mut driver, 2, memory(64 << 20, MemoryPolicy::Fail));
        assert_eq!(state_of(&mut driver, 2), state, "it goes on when it is told to");
        driver.wait(|handle, reply| handle.resume(ObjectId(2), reply)).unwrap();
        driver.advance(5_000_000).unwrap();
        assert_eq!(rows_of(&mut driver, 2), as_rows(&all), "each row once, on {reactors} reactors");
    }
}
