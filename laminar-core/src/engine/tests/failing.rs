use std::sync::{Arc, Mutex};

use laminar_storage::disk::{DiskErrorKind, SimMachine};

use super::durable::{deploy, kept, open, open_telling, rows_of};
use super::flow::insert;
use super::kit::*;
use crate::engine::{Driver, EngineError, Reply};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Failure {
    Device,
    NoSpace,
    ShortWrite,
}

impl Failure {
    const ALL: [Self; 3] = [Self::Device, Self::NoSpace, Self::ShortWrite];

    fn inject(self, machine: &SimMachine, operation: u64) {
        match self {
            Self::Device => machine.fail_at(operation, DiskErrorKind::Io),
            Self::NoSpace => machine.fail_at(operation, DiskErrorKind::NoSpace),
            Self::ShortWrite => machine.write_short_at(operation),
        }
    }
}

/// Inserts rows and takes checkpoints while an operation of the disk fails; returns the acknowledged rows.
fn insert_through(driver: &mut Driver, seed: u64) -> Vec<Vec<i64>> {
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    for i in 0..60 {
        let taken = acknowledged.clone();
        let note = move |answer: Result<_, EngineError>| {
            if answer.is_ok() {
                taken.lock().unwrap().push(vec![i, i, i]);
            }
        };
        driver.handle().insert(insert(1, &[(i, i, i)]), Reply::new(note));
        if i % 10 == 9 {
            driver.handle().checkpoint(Reply::ignored());
        }
        for _ in 0..seed % 5 {
            driver.round();
        }
    }
    driver.advance(1_000_000).unwrap();
    acknowledged.lock().unwrap().clone()
}

/// Whichever operation of the disk fails, and however: the engine ends with the reason, unless it has asked for
/// space, and what it acknowledged is there when the power is cut then.
#[test]
fn no_row_is_acknowledged_whose_write_or_sync_failed() {
    for failure in Failure::ALL {
        let told = Arc::new(Mutex::new(Vec::new()));
        for seed in 0..100 {
            let machine = SimMachine::new(seed);
            let telling = told.clone();
            let on_fatal = move |error: &EngineError| telling.lock().unwrap().push((seed, error.to_string()));
            let mut driver = open_telling(&machine, 2, &Feeds::new(0), seed + 1, Some(Arc::new(on_fatal)));
            deploy(&mut driver, vec![source(1, None, 0), kept(2, 1)]);
            let operation = machine.operations() + seed / 2;
            failure.inject(&machine, operation);
            let acknowledged = insert_through(&mut driver, seed);
            drop(driver);
            let what = machine.trace().get(operation as usize).map_or("nothing", |op| op.what);
            let ended = told.lock().unwrap().iter().any(|(of, _)| *of == seed);
            if what == "allocate" && failure != Failure::Device {
                assert!(!ended, "{failure:?}, seed {seed}: space is asked for again");
            }
            if what == "sync" || what == "write" {
                assert!(ended, "{failure:?}, seed {seed}: a {what} failed and the engine went on");
            }
            let rows = rows_of(&mut open(&machine.crash(seed), 2, &Feeds::new(0), seed + 2), 2);
            for row in acknowledged {
                assert!(
                    rows.contains(&row),
                    "{failure:?}, seed {seed}: {row:?} was acknowledged, found {}",
                    rows.len()
                );
            }
        }
        let told = told.lock().unwrap();
        assert!(told.len() > 30 && told.iter().all(|(_, error)| error.contains("LDB-10")), "{failure:?}: {told:?}");
    }
}

#[test]
fn a_full_disk_refuses_rows_and_takes_them_again_when_there_is_room() {
    let machine = SimMachine::new(1);
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = told.clone();
    let on_fatal = move |error: &EngineError| telling.lock().unwrap().push(error.to_string());
    let mut driver = open_telling(&machine, 1, &Feeds::new(0), 1, Some(Arc::new(on_fatal)));
    deploy(&mut driver, vec![source(1, None, 0), kept(2, 1), source(3, None, 0)]);
    driver.wait(|handle, reply| handle.insert(insert(1, &[(1, 1, 1)]), reply)).unwrap();
    let length = |path: &std::path::PathBuf| machine.content(path).map_or(0, |content| content.len() as u64);
    machine.set_capacity(machine.files().iter().map(length).sum());
    let ballast: Vec<(i64, i64, i64)> = (0..100_000).map(|i| (i, i, i)).collect();
    let fill = |driver: &mut Driver| driver.wait(|handle, reply| handle.insert(insert(3, &ballast), reply));
    let refused = (0..100).find_map(|_| fill(&mut driver).err()).expect("the log has an end");
    assert!(matches!(refused, EngineError::NoSpace), "{refused}");
    // What is there can be read, and what still fits is taken.
    driver.wait(|handle, reply| handle.insert(insert(1, &[(2, 2, 2)]), reply)).unwrap();
    assert_eq!(rows_of(&mut driver, 2), [vec![1, 1, 1], vec![2, 2, 2]]);
    driver.advance(2_000_000).unwrap();
    assert!(matches!(fill(&mut driver), Err(EngineError::NoSpace)), "waiting alone helps nothing");
    machine.set_capacity(u64::MAX);
    driver.advance(2_000_000).unwrap();
    fill(&mut driver).unwrap();
    driver.wait(|handle, reply| handle.insert(insert(1, &[(3, 3, 3)]), reply)).unwrap();
    driver.wait(|handle, reply| handle.checkpoint(reply)).unwrap();
    assert!(told.lock().unwrap().is_empty(), "{told:?}");
    drop(driver);
    let mut driver = open(&machine.crash(2), 1, &Feeds::new(0), 2);
    assert_eq!(rows_of(&mut driver, 2), [vec![1, 1, 1], vec![2, 2, 2], vec![3, 3, 3]]);
}
