//! Restored state that cannot be read back, met by a row before the loader has come to it.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use laminar_storage::disk::SimMachine;

use super::durable::{deploy, kept, rows_of};
use super::flow::{insert, options};
use super::kit::*;
use crate::engine::status::ObjectState;
use crate::engine::{Driver, EngineError, EngineOptions};

/// Stands in the rows whose state rots, and nowhere else: the same bytes in every encoding, but for the first.
const VALUE: i64 = 0x5A5A_5A5A_5A5A_5A5A;

const PAGES: &str = "state/0000.pages";

type Told = Arc<Mutex<Vec<String>>>;

fn open(machine: &SimMachine, told: &Told) -> Result<Driver, EngineError> {
    let telling = told.clone();
    let on_fatal = move |error: &EngineError| telling.lock().unwrap().push(error.to_string());
    let options = EngineOptions {
        shards: Some(1),
        checkpoint_interval: Duration::from_secs(3600),
        on_fatal: Some(Arc::new(on_fatal)),
        ..options(1)
    };
    Driver::on_disk(options, registry(&Feeds::new(0)), Arc::new(TinyCompiler), 1, machine).map(|(driver, _)| driver)
}

fn rows(value: i64) -> Vec<(i64, i64, i64)> {
    (0..100_000).map(|n| (n, value, n)).collect()
}

/// The loader is busy with the first view when the log's rows come to the second.
#[test]
fn a_row_that_meets_rotted_state_ends_the_engine_with_its_file_and_costs_no_query_its_life() {
    let (machine, told) = (SimMachine::new(1), Told::default());
    let mut driver = open(&machine, &told).unwrap();
    deploy(&mut driver, vec![source(1, None, 0), kept(2, 1), source(3, None, 0), kept(4, 3)]);
    for (source, value) in [(1, 7), (3, VALUE)] {
        for piece in rows(value).chunks(10_000) {
            driver.wait(|handle, reply| handle.insert(insert(source, piece), reply)).unwrap();
        }
    }
    driver.wait(|handle, reply| handle.checkpoint(reply)).unwrap();
    let again: Vec<(i64, i64, i64)> = rows(VALUE).into_iter().step_by(10).collect();
    driver.wait(|handle, reply| handle.insert(insert(3, &again), reply)).unwrap();
    drop(driver);
    let machine = machine.crash(1);
    let path = Path::new(PAGES);
    let content = machine.content(path).unwrap();
    let at = content.windows(7).rposition(|bytes| bytes == &VALUE.to_le_bytes()[..7]).unwrap();
    machine.patch(path, at as u64, &[!content[at]]);
    let refused = open(&machine, &told).err().unwrap().to_string();
    assert!(refused.contains(PAGES), "{refused}");
    assert_eq!(*told.lock().unwrap(), [refused]);
    machine.patch(path, at as u64, &[content[at]]);
    let mut driver = open(&machine.crash(2), &told).unwrap();
    assert_eq!(state_of(&mut driver, 4), ObjectState::Running);
    assert_eq!(rows_of(&mut driver, 4).len(), 110_000);
    assert_eq!(rows_of(&mut driver, 2).len(), 100_000);
}
