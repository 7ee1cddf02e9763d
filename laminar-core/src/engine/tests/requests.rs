use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use laminar_storage::disk::SimMachine;

use super::durable::{deploy, kept, open, rows_of};
use super::flow::{insert, options};
use super::kit::*;
use crate::engine::push::Push;
use crate::engine::{Deployment, Driver, EngineError, EngineOptions, Insert, Inserted, Reply, RequestKey};
use crate::ids::ObjectId;

/// A request of one row.
fn request(object: u64, key: i64, row: (i64, i64, i64)) -> Insert {
    let request = RequestKey::new(&format!("key {key}"), "test", format!("{row:?}").as_bytes());
    Insert { request: Some(request), ..insert(object, &[row]) }
}

fn send(driver: &mut Driver, insert: Insert) -> Result<Inserted, EngineError> {
    driver.wait(|handle, reply| handle.insert(insert, reply))
}

type Answers = Arc<Mutex<BTreeMap<i64, bool>>>;

/// Sends a request and notes its answer under its number: whether it was a repetition.
fn note(driver: &Driver, number: i64, answers: &Answers) {
    let answers = answers.clone();
    let then = move |answer: Result<Inserted, EngineError>| {
        if let Ok(inserted) = answer {
            assert_eq!(inserted.rows, 1);
            answers.lock().unwrap().entry(number).or_insert(inserted.repeated);
        }
    };
    let into = 1 + 2 * (number as u64 % 2);
    driver.handle().insert(request(into, number, (number, number, number)), Reply::new(then));
}

/// Requests into a source (odd numbers: a table) are sent again until they are answered, now and then also after
/// that, while the process is killed and the power cut at random moments: each is in once.
#[test]
fn a_request_that_is_sent_again_is_in_once_whatever_is_killed_when() {
    let mut lost = 0;
    for seed in 0..24 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut machine = SimMachine::new(seed);
        let mut driver = open(&machine, 2, &Feeds::new(0), seed);
        deploy(&mut driver, vec![source(1, None, 0), kept(2, 1), table(3)]);
        let answers = Answers::default();
        let total = 60;
        let mut sent = 0;
        while answers.lock().unwrap().len() < total as usize {
            sent = total.min(sent + random.i64(1..6));
            for number in 0..sent {
                let answered = answers.lock().unwrap().contains_key(&number);
                if !answered || random.u8(0..10) == 0 {
                    note(&driver, number, &answers);
                }
            }
            for _ in 0..random.usize(0..30) {
                driver.round();
            }
            match random.u8(0..6) {
                0 => driver.handle().checkpoint(Reply::ignored()),
                1 => driver.advance(random.u64(0..300_000)).unwrap(),
                2 => {
                    drop(driver);
                    machine = if random.bool() { machine.crash(random.u64(..)) } else { machine.kill(random.u64(..)) };
                    driver = open(&machine, [1, 2, 4][random.usize(0..3)], &Feeds::new(0), random.u64(..));
                }
                _ => {}
            }
        }
        let expected = |odd: i64| (0..total).filter(|n| n % 2 == odd).map(|n| vec![n, n, n]).collect::<Vec<_>>();
        assert_eq!(rows_of(&mut driver, 2), expected(0), "seed {seed}");
        assert_eq!(rows_of(&mut driver, 3), expected(1), "seed {seed}");
        lost += answers.lock().unwrap().values().filter(|repeated| **repeated).count();
    }
    assert!(lost > 0, "no kill came between a sync and its answer");
}

#[test]
fn a_repetition_waits_for_the_first_and_is_answered_as_it_was() {
    let mut driver = open(&SimMachine::new(1), 2, &Feeds::new(0), 1);
    deploy(&mut driver, vec![table(1)]);
    let order = Arc::new(Mutex::new(Vec::new()));
    for at in 0..3 {
        let order = order.clone();
        let then = move |answer: Result<Inserted, EngineError>| {
            let answer = answer.unwrap();
            order.lock().unwrap().push((at, answer.rows, answer.repeated));
        };
        driver.handle().insert(request(1, 7, (1, 1, 1)), Reply::new(then));
    }
    driver.settle().unwrap();
    assert_eq!(*order.lock().unwrap(), [(0, 1, false), (1, 1, true), (2, 1, true)]);
    assert_eq!(rows_of(&mut driver, 1), [vec![1, 1, 1]], "and no duplicate key was found");
}

#[test]
fn a_key_with_another_body_is_refused_and_writes_nothing_also_after_a_checkpoint_and_a_power_cut() {
    let machine = SimMachine::new(1);
    let mut driver = open(&machine, 2, &Feeds::new(0), 1);
    deploy(&mut driver, vec![table(1)]);
    send(&mut driver, request(1, 7, (1, 1, 1))).unwrap();
    let empty = Insert { rows: vec![batch(&[])], ..request(1, 8, (0, 0, 0)) };
    assert_eq!(send(&mut driver, empty).unwrap().rows, 0);
    driver.wait(|handle, reply| handle.checkpoint(reply)).unwrap();
    send(&mut driver, request(1, 9, (9, 9, 9))).unwrap();
    drop(driver);
    // Keys 7 and 8 are in the checkpoint, 9 is in the log.
    let mut driver = open(&machine.crash(3), 1, &Feeds::new(0), 2);
    for key in [7, 8, 9] {
        let other = send(&mut driver, request(1, key, (2, 2, 2)));
        assert!(matches!(other, Err(EngineError::KeyReused { .. })), "{key}: {other:?}");
    }
    assert!(send(&mut driver, request(1, 7, (1, 1, 1))).unwrap().repeated);
    assert!(!send(&mut driver, request(1, 10, (2, 2, 2))).unwrap().repeated, "a new key may bring them");
    assert_eq!(rows_of(&mut driver, 1), [vec![1, 1, 1], vec![2, 2, 2], vec![9, 9, 9]]);
}

#[test]
fn a_refused_request_leaves_its_key_free() {
    let mut driver = open(&SimMachine::new(1), 1, &Feeds::new(0), 1);
    deploy(&mut driver, vec![table(1)]);
    send(&mut driver, insert(1, &[(1, 1, 1)])).unwrap();
    let refused = send(&mut driver, request(1, 7, (1, 2, 2)));
    assert!(matches!(refused, Err(EngineError::DuplicateKey { .. })), "{refused:?}");
    assert!(!send(&mut driver, request(1, 7, (3, 3, 3))).unwrap().repeated);
}

#[test]
fn a_table_that_was_dropped_and_made_anew_knows_no_keys() {
    let machine = SimMachine::new(1);
    let mut driver = open(&machine, 1, &Feeds::new(0), 1);
    deploy(&mut driver, vec![table(1)]);
    send(&mut driver, request(1, 7, (1, 1, 1))).unwrap();
    driver.wait(|handle, reply| handle.checkpoint(reply)).unwrap();
    let anew = Deployment { add: vec![table(2)], drop: vec![ObjectId(1)] };
    driver.wait(|handle, reply| handle.deploy(anew, reply)).unwrap();
    assert!(!send(&mut driver, request(2, 7, (1, 1, 1))).unwrap().repeated);
    driver.wait(|handle, reply| handle.checkpoint(reply)).unwrap();
    drop(driver);
    let mut driver = open(&machine.crash(3), 1, &Feeds::new(0), 2);
    assert!(send(&mut driver, request(2, 7, (1, 1, 1))).unwrap().repeated);
    assert_eq!(rows_of(&mut driver, 2), [vec![1, 1, 1]]);
}

#[test]
fn the_memory_of_keys_stays_flat_over_restarts_between_which_all_of_them_are_replaced() {
    let mut machine = SimMachine::new(1);
    let options = || EngineOptions { shards: Some(4), request_keys: 500, ..options(1) };
    let mut bytes = Vec::new();
    for life in 0..6 {
        let registry = registry(&Feeds::new(0));
        let mut driver = Driver::on_disk(options(), registry, Arc::new(TinyCompiler), life + 1, &machine).unwrap().0;
        if life == 0 {
            deploy(&mut driver, vec![source(1, None, 0)]);
        }
        for key in 1_000 * life as i64..1_000 * (life as i64 + 1) {
            driver.handle().insert(request(1, key, (key, key, key)), Reply::ignored());
        }
        driver.wait(|handle, reply| handle.checkpoint(reply)).unwrap();
        let pushes = driver.engines().iter_mut().flat_map(|engine| &mut engine.pushes);
        bytes.push(pushes.filter_map(Push::requests_arena).map(|(_, arena)| arena.bytes_used()).sum::<u64>());
        drop(driver);
        machine = machine.crash(life);
    }
    assert!(bytes[0] > 0 && bytes[5] <= bytes[1], "bytes at the end of each life: {bytes:?}");
}
