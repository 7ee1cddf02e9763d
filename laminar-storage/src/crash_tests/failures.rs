//! The n-th call of the disk fails: by an error of the device, for want of space, by a short write, in a read.
//!
//! Invariant: only a refused allocation is tried again; any other failure ends the life, and the next has everything.

use super::oracle::Oracle;
use super::{Stop, TURNS, live, new_machine, operations_of_the_run, run, survive};
use crate::disk::{DiskErrorKind, SimMachine};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Failure {
    Device,
    NoSpace,
    ShortWrite,
}

impl Failure {
    fn inject(self, machine: &SimMachine, operation: u64) {
        match self {
            Self::Device => machine.fail_at(operation, DiskErrorKind::Io),
            Self::NoSpace => machine.fail_at(operation, DiskErrorKind::NoSpace),
            Self::ShortWrite => machine.write_short_at(operation),
        }
    }
}

/// What was submitted and not looked at when the run ended may fail unseen.
const LAST_OPERATIONS: u64 = 40;

#[test]
fn a_failed_call_ends_the_life_unless_it_asked_for_space_and_the_next_life_is_whole() {
    let operations = operations_of_the_run();
    let (mut ended, mut went_on) = (0, 0);
    for operation in 0..operations {
        let full = if operation.is_multiple_of(2) { Failure::NoSpace } else { Failure::ShortWrite };
        for failure in [Failure::Device, full] {
            let machine = new_machine(11);
            let mut oracle = Oracle::default();
            failure.inject(&machine, operation);
            let outcome = run(&machine, &mut oracle, TURNS);
            let what = machine.trace()[operation as usize].what;
            let place = format!("{failure:?} at operation {operation}, a {what}");
            let space = failure != Failure::Device;
            match (outcome, what) {
                (Err(Stop::Violation(violation)), _) => panic!("{place}: {violation}"),
                (Ok(()), "allocate") if space => went_on += 1,
                (Err(Stop::Crash), "allocate") if space => panic!("{place}: space is to be asked for again"),
                // Before there is a log a full volume ends the start; later the log waits.
                (_, "create" | "create directory") if space => {}
                (Ok(()), _) if operation + LAST_OPERATIONS < operations => panic!("{place}: nobody noticed"),
                (_, _) => ended += 1,
            }
            survive(&machine.crash(operation), &mut oracle).unwrap_or_else(|what| panic!("{place}: {what}"));
        }
    }
    assert!(ended > 1000 && went_on > 20, "{ended} lives ended, {went_on} went on");
}

/// A read that fails says nothing about the bytes: the start ends, and the next one finds everything.
#[test]
fn a_failed_read_costs_a_start_and_nothing_else() {
    let machine = new_machine(11);
    let mut oracle = Oracle::default();
    machine.cut_power_at(operations_of_the_run() * 4 / 5);
    live(&machine, &mut oracle, TURNS).unwrap();
    let left = machine.crash(1);
    let whole = left.kill(0);
    run(&whole, &mut oracle.clone(), 0).unwrap();
    assert!(whole.looks() > 50, "{}", whole.looks());
    for look in 0..whole.looks() {
        let blind = left.kill(0);
        blind.fail_look_at(look);
        let mut oracle = oracle.clone();
        match run(&blind, &mut oracle, 0) {
            Err(Stop::Crash) => {}
            Ok(()) => panic!("read {look} failed and nobody noticed"),
            Err(Stop::Violation(what)) => panic!("read {look}: {what}"),
        }
        survive(&blind.crash(look), &mut oracle).unwrap_or_else(|what| panic!("after read {look}: {what}"));
    }
}
