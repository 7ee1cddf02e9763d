//! INSERTs that wait for a full sink: their order, their clients, their limit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use laminar_storage::disk::SimMachine;

use super::durable::{deploy, kept, open_with, plain_stream, rows_of};
use super::flow::{insert, options, plain};
use super::kit::*;
use crate::engine::{Asker, Driver, EngineError, EngineOptions, Insert, Inserted, Reply, RequestKey};

const LIMIT: u64 = 8 << 10;

/// An engine whose sink is full, because its target is silent.
fn full(seed: u64, target: &Target) -> (SimMachine, Driver) {
    let machine = SimMachine::new(seed);
    let options = EngineOptions { shards: Some(4), outbox_bytes: LIMIT, ..options(2) };
    let mut driver = open_with(&machine, options, &Feeds::new(0), target, seed);
    deploy(&mut driver, vec![source(1, None, 0), plain_stream(2, 1), sink(3, 2, plain()), kept(4, 1)]);
    target.silent.store(true, Ordering::SeqCst);
    let rows: Vec<(i64, i64, i64)> = (-2000..-1000).map(|n| (n, n, n)).collect();
    driver.wait(|handle, reply| handle.insert(insert(1, &rows), reply)).unwrap();
    driver.advance(100_000).unwrap();
    (machine, driver)
}

/// A client that may go.
#[derive(Clone, Default)]
struct Client {
    gone: Arc<AtomicBool>,
    answer: Arc<Mutex<Option<Result<Inserted, EngineError>>>>,
}

impl Asker<Inserted> for Client {
    fn answer(self: Box<Self>, answer: Result<Inserted, EngineError>) {
        *self.answer.lock().unwrap() = Some(answer);
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }
}

impl Client {
    fn inserts(&self, driver: &Driver, rows: &[(i64, i64, i64)]) {
        driver.handle().insert(insert(1, rows), Reply::to(self.clone()));
    }

    fn refused(&self) -> Option<EngineError> {
        self.answer.lock().unwrap().clone().and_then(Result::err)
    }
}

#[test]
fn an_insert_whose_client_has_gone_while_it_waited_is_not_written() {
    let target = Target::default();
    let (_machine, mut driver) = full(1, &target);
    let (stays, goes) = (Client::default(), Client::default());
    goes.inserts(&driver, &[(1, 1, 1)]);
    stays.inserts(&driver, &[(2, 2, 2)]);
    driver.advance(1_000_000).unwrap();
    assert!(stays.answer.lock().unwrap().is_none() && goes.answer.lock().unwrap().is_none(), "they wait");
    goes.gone.store(true, Ordering::SeqCst);
    target.silent.store(false, Ordering::SeqCst);
    driver.advance(8_000_000).unwrap();
    assert!(matches!(*stays.answer.lock().unwrap(), Some(Ok(_))));
    let rows = rows_of(&mut driver, 4);
    assert!(rows.contains(&vec![2, 2, 2]) && !rows.contains(&vec![1, 1, 1]));
}

/// A client sends on while the sink fills and drains again and again: whenever its letters come, its rows
/// keep their order.
#[test]
fn rows_of_one_source_do_not_overtake_those_that_wait() {
    let mut waits = 0;
    for seed in 0..10 {
        let target = Target::default();
        let (_machine, mut driver) = full(seed, &target);
        target.silent.store(false, Ordering::SeqCst);
        driver.advance(8_000_000).unwrap();
        target.patience.store(20 + seed as usize, Ordering::SeqCst);
        let clients: Vec<Client> = (0..400).map(|_| Client::default()).collect();
        for (n, client) in clients.iter().enumerate() {
            let n = n as i64;
            client.inserts(&driver, &[(n, n, n); 30]);
            driver.round();
            waits += usize::from(client.answer.lock().unwrap().is_none());
        }
        driver.settle().unwrap();
        driver.advance(10_000_000).unwrap();
        let taken: Vec<i64> = target.taken.lock().unwrap().iter().map(|row| row[0]).filter(|n| *n >= 0).collect();
        assert!(taken.len() > 3000, "{}", taken.len());
        assert!(taken.is_sorted(), "seed {seed}: {:?}", taken.windows(2).find(|pair| pair[0] > pair[1]));
    }
    assert!(waits > 100, "{waits}");
}

#[test]
fn a_large_insert_waits_and_what_comes_behind_it_is_told_that_too_much_waits() {
    let target = Target::default();
    let (_machine, mut driver) = full(3, &target);
    let (large, behind) = (Client::default(), Client::default());
    large.inserts(&driver, &(0..2000).map(|n| (n, n, n)).collect::<Vec<_>>());
    behind.inserts(&driver, &[(5000, 1, 1)]);
    driver.advance(1_000_000).unwrap();
    assert!(large.answer.lock().unwrap().is_none(), "it is larger than the limit and waits");
    let refused = behind.refused().unwrap();
    assert!(matches!(&refused, EngineError::Crowded { object, limit: LIMIT, .. } if object == "s1"), "{refused}");
    assert_eq!((refused.code(), refused.sqlstate()), ("LDB-3019", "53400"));
    target.silent.store(false, Ordering::SeqCst);
    driver.advance(8_000_000).unwrap();
    assert!(matches!(*large.answer.lock().unwrap(), Some(Ok(_))));
    let all: Vec<Vec<i64>> = (0..2000).map(|n| vec![n, n, n]).collect();
    assert_eq!(rows_of(&mut driver, 4), all, "all of it, and nothing of the other");
}

#[test]
fn a_request_that_is_in_already_is_answered_as_the_first_also_while_its_sink_is_full() {
    let target = Target::default();
    let machine = SimMachine::new(5);
    let options = EngineOptions { shards: Some(4), outbox_bytes: LIMIT, ..options(2) };
    let mut driver = open_with(&machine, options, &Feeds::new(0), &target, 5);
    deploy(&mut driver, vec![source(1, None, 0), plain_stream(2, 1), sink(3, 2, plain())]);
    target.silent.store(true, Ordering::SeqCst);
    let rows: Vec<(i64, i64, i64)> = (0..1000).map(|n| (n, n, n)).collect();
    let request =
        |body: &str| Insert { request: Some(RequestKey::new("key", "test", body.as_bytes())), ..insert(1, &rows) };
    let send = |driver: &mut Driver, body: &str| driver.wait(|handle, reply| handle.insert(request(body), reply));
    assert!(!send(&mut driver, "the first").unwrap().repeated);
    driver.advance(100_000).unwrap();
    let behind = Client::default();
    behind.inserts(&driver, &[(5000, 1, 1)]);
    let before = driver.now().micros;
    let again = send(&mut driver, "the first").unwrap();
    assert!(again.repeated && again.rows == 1000, "{again:?}");
    assert!(matches!(send(&mut driver, "another"), Err(EngineError::KeyReused { .. })));
    assert!(driver.now().micros < before + 1_000_000 && behind.answer.lock().unwrap().is_none(), "new rows wait");
}
