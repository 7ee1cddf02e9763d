//! Faults, and what follows them: the end of a life and the beginning of the next.

use std::collections::BTreeMap;

use laminar_storage::disk::DiskErrorKind;

use super::{Checked, NO_SPACE, Run, Stop, wrong};
use crate::error::SimError;
use crate::scenario::{LOOSE, Step};
use crate::world::Restart;

/// Whether a start failed for want of space; what it cannot do without is told in the disk's own words.
fn lacks_space(error: &SimError) -> bool {
    let SimError::Engine(error) = error else { return false };
    error.sqlstate() == NO_SPACE || error.to_string().ends_with(" bytes is full")
}

/// Starts after one failure; each may lose its power once more.
const STARTS: usize = 4;

impl Run<'_> {
    pub(super) fn fault(&mut self, step: &Step) -> Checked {
        let machine = self.world.machine().clone();
        match step {
            Step::Fall(how, reactors) => {
                if *how == Restart::Stop && !self.world.is_disk_full() {
                    self.world.ask(|handle, reply| handle.shutdown(reply))?;
                }
                self.world.set_reactors(*reactors);
                self.world.fall(*how);
                self.begin_life(None)?;
            }
            Step::FallTwice(operations, reactors) => {
                self.world.set_reactors(*reactors);
                self.world.fall(Restart::PowerCut);
                self.begin_life(Some(*operations))?;
            }
            Step::PowerCut(operations) if self.armed.is_none() => {
                self.arm(machine.operations() + operations);
                machine.cut_power_at(machine.operations() + operations);
            }
            Step::DiskError(operations) if self.armed.is_none() => {
                self.arm(machine.operations() + operations);
                machine.fail_at(machine.operations() + operations, DiskErrorKind::Io);
            }
            Step::DiskFull(micros) => self.world.fill_disk(*micros),
            Step::Away(micros) => self.world.broker().away_for(*micros),
            Step::Deaf(micros) => self.world.broker().deaf_for(*micros),
            Step::Fate(fate) => self.world.broker().next_fate(*fate),
            _ => {}
        }
        Ok(())
    }

    fn arm(&mut self, operation: u64) {
        self.armed = Some(operation);
    }

    /// Whether the failure that was planted in this life has struck.
    fn struck(&self) -> bool {
        // A power cut is counted as an operation that never happened.
        self.armed.is_some_and(|operation| self.world.machine().operations() >= operation)
    }

    /// A planned error that the engine has heard of and lives on with explains no later end.
    pub(super) fn outlive(&mut self) -> Checked {
        // Of a power cut the operation is never counted: the engine cannot live on.
        if self.armed.is_some_and(|operation| self.world.machine().operations() > operation) {
            self.world.advance(0)?;
            if self.world.ended().is_none() {
                self.armed = None;
            }
        }
        Ok(())
    }

    /// The engine has ended by itself: the power goes too, and it starts again.
    pub(super) fn recover(&mut self, why: &str) -> Result<(), String> {
        if !self.struck() {
            return Err(format!("the engine ended without a fault: {why}"));
        }
        self.say(format!("   the engine has ended: {why}"));
        self.world.fall(Restart::PowerCut);
        match self.begin_life(None) {
            Ok(()) => Ok(()),
            Err(Stop::Ended(why) | Stop::Wrong(why) | Stop::Refused(why)) => Err(why),
        }
    }

    /// Starts the engine on what is left; the power may go again while it starts.
    pub(super) fn begin_life(&mut self, cut_after: Option<u64>) -> Checked {
        self.armed = None;
        if let Some(operations) = cut_after {
            let operation = self.world.machine().operations() + operations;
            self.world.machine().cut_power_at(operation);
            self.arm(operation);
        }
        self.set_schedule();
        for _ in 0..STARTS {
            self.report.lives += 1;
            match self.world.start() {
                Ok(()) => {
                    self.say("   a new life".into());
                    self.seen.new_life();
                    return self.after_start();
                }
                Err(error) if self.struck() => {
                    self.say(format!("   no start: {error}"));
                    self.world.fall(Restart::PowerCut);
                    self.set_schedule();
                    self.armed = None;
                }
                Err(error) if lacks_space(&error) && self.world.is_disk_full() => {
                    self.say(format!("   no start on a full disk: {error}"));
                    self.world.relieve_disk();
                }
                Err(error) => return wrong(format!("no start: {error}")),
            }
        }
        wrong("no start after several attempts")
    }

    /// What was not answered in the last life shows now.
    fn after_start(&mut self) -> Checked {
        if self.world.id(LOOSE).is_ok() != self.loose.is_some() {
            self.loose = if self.loose.is_some() { None } else { Some(self.rows.len()) };
        }
        let status = self.world.ask(|handle, reply| handle.status(reply))?;
        let states: BTreeMap<_, _> =
            status.objects.iter().map(|object| (object.name.as_str(), &object.state)).collect();
        let paused =
            states.get("b").is_some_and(|state| matches!(state, laminar_core::engine::status::ObjectState::Paused));
        if paused != self.paused.is_some() {
            self.paused = paused.then_some(None);
        }
        Ok(())
    }
}
