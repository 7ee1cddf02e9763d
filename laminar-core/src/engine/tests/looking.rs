//! `checkpoint verify` says of a directory what a start says.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use laminar_storage::disk::SimMachine;

use super::durable::{deploy, kept, plain_stream};
use super::flow::{insert, options, plain};
use super::kit::*;
use crate::engine::inspect::look;
use crate::engine::{Driver, EngineOptions, Verified};

fn open(machine: &SimMachine, target: &Target) -> Result<Driver, String> {
    let options = EngineOptions { shards: Some(4), ..options(2) };
    let registry = registry(&Feeds::new(0)).sink(TargetFactory(target.clone())).encoder(NumbersFormat);
    let opened = Driver::on_disk(options, registry, Arc::new(TinyCompiler), 1, machine);
    opened.map(|(driver, _)| driver).map_err(|error| error.to_string())
}

/// A directory that was left with staged rows, rows in a checkpoint and rows in the log alone.
fn left_behind() -> SimMachine {
    let (machine, target) = (SimMachine::new(1), Target::default());
    let mut driver = open(&machine, &target).unwrap();
    deploy(&mut driver, vec![source(1, None, 0), plain_stream(2, 1), sink(3, 2, plain()), kept(4, 1)]);
    target.silent.store(true, Ordering::SeqCst);
    for n in 0..10 {
        driver.wait(|handle, reply| handle.insert(insert(1, &[(n, n, n)]), reply)).unwrap();
        if n == 3 || n == 5 {
            driver.wait(|handle, reply| handle.checkpoint(reply)).unwrap();
        }
    }
    drop(driver);
    machine.crash(1)
}

fn newest(machine: &SimMachine) -> Verified {
    look(&mut machine.disk(), true).unwrap().pop().unwrap().verified.unwrap()
}

fn files(machine: &SimMachine, directory: &str) -> Vec<PathBuf> {
    let mut files = machine.files();
    files.retain(|path| path.starts_with(directory) && machine.content(path).unwrap().iter().any(|byte| *byte != 0));
    files
}

#[test]
fn a_directory_that_a_start_takes_is_usable_and_only_what_is_replayed_is_counted() {
    let machine = left_behind();
    let content = || machine.files().into_iter().map(|path| machine.content(&path)).collect::<Vec<_>>();
    let before = content();
    let verified = newest(&machine);
    // Six rows are in the checkpoint, four in the log alone.
    assert!(matches!(verified, Verified::Usable { replayed: 4, .. }), "{verified:?}");
    assert!(content() == before, "looking changes nothing");
    open(&machine, &Target::default()).unwrap();
}

#[test]
fn what_a_start_refuses_is_refused_for_the_same_reason() {
    for (directory, code) in [("wal", "LDB-1010"), ("outbox", "LDB-1004"), ("state", "LDB-")] {
        let machine = left_behind();
        let found = files(&machine, directory);
        assert!(!found.is_empty(), "{directory}");
        for path in found {
            if directory == "wal" {
                machine.delete(&path);
                continue;
            }
            let mut content = machine.content(&path).unwrap();
            let end = content.iter().rposition(|byte| *byte != 0).unwrap();
            content[end / 2..end].iter_mut().for_each(|byte| *byte ^= 0x40);
            machine.overwrite(&path, content);
        }
        let Verified::Refused(why) = newest(&machine) else { panic!("{directory} is usable") };
        assert!(why.starts_with(code), "{directory}: {why}");
        if directory != "state" {
            // With a state that cannot be used it falls back to the older one.
            assert_eq!(open(&machine, &Target::default()).err().as_ref(), Some(&why), "{directory}");
        }
    }
}
