//! Brings the objects of the catalog back at start.
//!
//! Invariants: objects whose state the checkpoint holds go on from it, together, at one epoch;
//! objects that are newer start as at their CREATE; pushed rows are replayed after both; only then is
//! the engine ready, and no checkpoint is taken before.

use std::collections::BTreeMap;

use super::catalog::Entry;
use super::core::Control;
use super::deploy::DeployFlight;
use super::planner::{Planner, home_of};
use crate::connector::{Position, SplitKey};
use crate::crash_point::{CrashPoint, reach};
use crate::engine::message::{Command, ControlLetter, Event};
use crate::engine::status::ObjectState;
use crate::engine::{Boot, EngineError, NewObject, Reply, StartPhase};
use crate::epoch::Wanted;
use crate::graph::ObjectSpec;
use crate::ids::ObjectId;
use laminar_storage::manifest::IslandState;

/// What of the start is still to do.
pub enum BootStep {
    /// Objects with state.
    Resume(Boot),
    /// Objects without.
    Fresh(Boot),
    /// Pushed rows; so many have not entered yet.
    Replay(usize),
    /// Nothing: the engine is ready.
    Ready,
}

/// Where the cursors of a pipeline stood, per source.
pub type Cursors = BTreeMap<ObjectId, BTreeMap<SplitKey, Position>>;

/// The cursors of a checkpoint's entry.
pub fn cursors_of(state: &IslandState) -> Cursors {
    let mut cursors = Cursors::new();
    for cursor in &state.cursors {
        let Some((source, split)) = cursor.split.split_once('/') else { continue };
        let Ok(source) = source.parse() else { continue };
        let key = SplitKey(split.to_owned());
        cursors.entry(ObjectId(source)).or_default().insert(key, Position(cursor.position.clone()));
    }
    cursors
}

impl Control {
    /// Goes on with the start, as far as it does not have to wait.
    pub(super) fn boot_next(&mut self) {
        loop {
            match std::mem::replace(&mut self.boot, BootStep::Ready) {
                BootStep::Resume(boot) => {
                    let (resume, fresh): (Vec<_>, Vec<_>) =
                        boot.objects.iter().cloned().partition(|(object, _)| resumes(object, &boot));
                    if let Err(error) = self.boot_deploy(&resume, Some(&boot)) {
                        return self.refuse_start(error);
                    }
                    self.boot = BootStep::Fresh(Boot { objects: fresh, ..boot });
                }
                BootStep::Fresh(boot) => {
                    if let Err(error) = self.boot_deploy(&boot.objects, None) {
                        return self.refuse_start(error);
                    }
                    let left = boot.replay.len();
                    self.boot = BootStep::Replay(left);
                    self.boot_replay = boot.replay;
                }
                BootStep::Replay(left) => {
                    // Not earlier: what the checkpoint does not hold yet begins where the others go on.
                    self.start_sources();
                    if !self.boot_replay.is_empty() {
                        let bytes = self.boot_replay.iter().map(|(_, record)| record.len() as u64).sum();
                        self.options.progress.enter(StartPhase::ReplayingLog, bytes);
                    }
                    for (object, record) in std::mem::take(&mut self.boot_replay) {
                        let (mailbox, bytes) = (self.mailbox.clone(), record.len() as u64);
                        let entered = Reply::new(move |_| mailbox.post(ControlLetter::Event(Event::Replayed(bytes))));
                        let reactor = self.shards.reactor_of(home_of(object, &self.shards));
                        self.reactors[usize::from(reactor.0)].post(Command::Replay { object, record, entered });
                    }
                    if left > 0 {
                        self.boot = BootStep::Replay(left);
                        return;
                    }
                    self.options.progress.enter(StartPhase::Ready, 0);
                    self.coordinator.allow_checkpoints();
                    if let Some(ready) = self.ready.take() {
                        // Replayed rows become visible, and count as taken keys, with the next epoch.
                        let epoch = self.coordinator.want(Wanted::Epoch);
                        self.flushes.push((epoch, Reply::new(move |done| ready.send(done.map(drop)))));
                    }
                }
                BootStep::Ready => return self.next_deploy(),
            }
            if self.deploying.is_some() {
                return;
            }
        }
    }

    /// Whether objects of the catalog are still joining, so that no source may be read yet.
    pub(super) fn is_joining_again(&self) -> bool {
        matches!(self.boot, BootStep::Resume(_) | BootStep::Fresh(_))
            || self.deploying.as_ref().is_some_and(DeployFlight::is_again)
    }

    /// A replayed record has entered.
    pub(super) fn replayed(&mut self, bytes: u64) {
        self.options.progress.add(StartPhase::ReplayingLog, bytes);
        if let BootStep::Replay(left) = &mut self.boot {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.boot_next();
            } else {
                reach(CrashPoint::ReplayHalf);
            }
        }
    }

    /// Deploys objects again; one that has failed stays so, with those that read its rows. What reads a source that
    /// cannot be opened stays in its place.
    ///
    /// # Errors
    /// One with state cannot run any more: the next checkpoint would forget to what its state belongs.
    fn boot_deploy(&mut self, objects: &[(NewObject, ObjectState)], boot: Option<&Boot>) -> Result<(), EngineError> {
        let mut planner = Planner::new(&mut self.catalog, &self.registry, self.shards, self.store.is_some());
        planner.again = true;
        planner.checkpoint = boot.and_then(|boot| boot.checkpoint);
        for (object, state) in objects {
            let id = object.spec.id();
            planner.resume = boot.map(|boot| boot.states.get(&id).map(cursors_of).unwrap_or_default());
            planner.hold = matches!(state, ObjectState::Paused | ObjectState::Stopped(_));
            let result = match state {
                ObjectState::Failed(reason) => {
                    Err(EngineError::Failed { name: object.spec.name().into(), reason: reason.clone() })
                }
                _ => planner.add(object),
            };
            if let (ObjectState::Stopped(_), Ok(()), Some((_, entry))) =
                (state, &result, planner.made.entries.last_mut())
            {
                entry.state = state.clone();
            }
            let reason = match result {
                Ok(()) => continue,
                Err(EngineError::Failed { reason, .. }) => reason,
                Err(error) if matches!(object.spec, ObjectSpec::Source(_)) => error.to_string(),
                Err(error) => {
                    let name = object.spec.name().to_owned();
                    return Err(EngineError::CannotGoOn { name, reason: error.to_string() });
                }
            };
            planner.catalog.entries.insert(id, Entry::idle(object, ObjectState::Failed(reason)));
        }
        let planned = planner.made;
        self.begin_flight(DeployFlight::again(planned));
        Ok(())
    }
}

/// Whether the checkpoint holds the object's state at its own epoch.
fn resumes(object: &NewObject, boot: &Boot) -> bool {
    match &object.spec {
        // A source keeps nothing itself; its readers' cursors are theirs.
        ObjectSpec::Source(_) => true,
        ObjectSpec::Table(_) | ObjectSpec::Pipeline(_) | ObjectSpec::Sink(_) => {
            boot.states.get(&object.spec.id()).is_some_and(|state| Some(state.epoch) == boot.epoch)
        }
    }
}
