//! PAUSE and RESUME: a pipeline is parted from its splits at a barrier, and goes on from there.
//!
//! Invariants: a parted pipeline stays in place, so its rows can be read, barriers pass it and its sinks
//! are served; its place is the position of every split at the barrier that parted it, and what it reads
//! later begins exactly there; all other readers of the same splits go on.

use std::sync::Arc;

use super::catalog::SourceGroup;
use super::core::Control;
use crate::engine::message::{Command, ControlLetter, Event};
use crate::engine::plan::HoldPlan;
use crate::engine::status::ObjectState;
use crate::engine::{EngineError, GroupId, Reply};
use crate::epoch::Wanted;
use crate::graph::ObjectSpec;
use crate::ids::{Epoch, ObjectId};

impl Control {
    /// Pauses a pipeline.
    pub(super) fn pause(&mut self, object: ObjectId, reply: Reply<()>) {
        match self.may_pause(object) {
            Ok(true) => {}
            Ok(false) => return reply.send(Ok(())),
            Err(error) => return reply.send(Err(error)),
        }
        let before = self.set_state(object, ObjectState::Paused);
        if let Err(error) = self.record_states(&[object]) {
            if let Some(before) = before {
                self.set_state(object, before);
            }
            return reply.send(Err(error));
        }
        if self.catalog.entries.get(&object).is_some_and(|entry| self.catalog.is_parted(entry)) {
            return reply.send(Ok(()));
        }
        if self.store.is_none() {
            return self.part(object, reply);
        }
        self.part(object, Reply::ignored());
        self.coordinator.want(Wanted::Checkpoint);
        let paused = move |published| match published {
            Err(EngineError::Stopped) => reply.send(Err(EngineError::Stopped)),
            // Without room for a checkpoint it begins at an older place, with an older state.
            Ok(_) | Err(_) => reply.send(Ok(())),
        };
        self.checkpoints.push(Reply::new(paused));
    }

    /// Parts a pipeline from its splits at the next barrier.
    pub(super) fn part(&mut self, object: ObjectId, reply: Reply<()>) {
        let epoch = self.coordinator.want(Wanted::Epoch);
        let plan = Arc::new(self.groups_of_its_own(object, epoch));
        self.broadcast(|| Command::Hold(plan.clone()));
        let mailbox = self.mailbox.clone();
        let held = move |_| mailbox.post(ControlLetter::Event(Event::Held(reply)));
        self.flushes.push((epoch, Reply::new(held)));
    }

    /// Whether there is something to do.
    fn may_pause(&self, object: ObjectId) -> Result<bool, EngineError> {
        let entry = self.catalog.entries.get(&object).ok_or(EngineError::NoSuchObject(object))?;
        let refused = |reason: String| Err(EngineError::Unsupported { name: entry.spec.name().into(), reason });
        if !matches!(entry.spec, ObjectSpec::Pipeline(_)) {
            return refused("is no stream or view".into());
        }
        if let Some(reason) = entry.failure() {
            return Err(EngineError::Failed { name: entry.spec.name().into(), reason: reason.into() });
        }
        match &entry.state {
            ObjectState::Paused => return Ok(false),
            ObjectState::Stopped(_) => return refused("has stopped already; RESUME lets it go on".into()),
            _ => {}
        }
        if self.deploying.as_ref().is_some_and(|flight| flight.holds(object)) {
            return refused("is being created; PAUSE it when that is done".into());
        }
        let groups = || entry.groups.iter().filter_map(|group| self.catalog.groups.get(group));
        if let Some(pushed) = groups().find(|group| group.pushed) {
            let source = &pushed.spec.name;
            return refused(format!("cannot be paused: it reads {source}, which has no connector; stop the INSERTs"));
        }
        if groups().next().is_none() {
            return refused("cannot be paused: it reads no source; PAUSE the streams and views that it reads".into());
        }
        Ok(true)
    }

    /// Sets the state of an object; returns the one before.
    fn set_state(&mut self, object: ObjectId, state: ObjectState) -> Option<ObjectState> {
        let entry = self.catalog.entries.get_mut(&object)?;
        Some(std::mem::replace(&mut entry.state, state))
    }

    /// Gives a pipeline groups of its own, which nobody reads for now.
    fn groups_of_its_own(&mut self, object: ObjectId, since: Epoch) -> HoldPlan {
        let mut plan = HoldPlan::default();
        let Some(entry) = self.catalog.entries.get(&object) else { return plan };
        plan.fragments.clone_from(&entry.fragments);
        for from in entry.groups.clone() {
            let Some(group) = self.catalog.groups.get(&from).filter(|group| !group.pushed) else { continue };
            // Splits that are not open yet stand where they were to be opened.
            let (spec, positions) = (group.spec.clone(), group.positions.clone());
            let to = self.catalog.group();
            let held = SourceGroup {
                spec,
                pushed: false,
                splits: 0,
                ended: 0,
                over: false,
                started: true,
                held: true,
                since,
                positions,
            };
            self.catalog.groups.insert(to, held);
            plan.moves.push((from, to));
        }
        if let Some(entry) = self.catalog.entries.get_mut(&object) {
            for group in &mut entry.groups {
                *group = plan.moves.iter().find(|(from, _)| from == group).map_or(*group, |(_, to)| *to);
            }
        }
        plan
    }

    /// A pipeline has been parted: splits that nobody reads any more are closed.
    pub(super) fn held(&mut self, reply: Reply<()>) {
        self.detach(self.catalog.detach(&[]));
        reply.send(Ok(()));
    }

    /// Lets a pipeline go on that is paused or has stopped, behind the barrier that parted it.
    pub(super) fn resume(&mut self, object: ObjectId, reply: Reply<()>) {
        match self.catalog.entries.get(&object) {
            None => return reply.send(Err(EngineError::NoSuchObject(object))),
            Some(entry) if !matches!(entry.state, ObjectState::Paused | ObjectState::Stopped(_)) => {
                return reply.send(Ok(()));
            }
            Some(_) => {}
        }
        if let Err(error) = self.has_room(object) {
            return reply.send(Err(error));
        }
        let before = self.set_state(object, ObjectState::Running);
        if let Err(error) = self.record_states(&[object]) {
            if let Some(before) = before {
                self.set_state(object, before);
            }
            return reply.send(Err(error));
        }
        self.weigh(object);
        // It may have to wait for others all the same.
        self.press();
        self.unpart(object, reply);
    }

    /// Lets a parted pipeline read on, behind the barrier that parted it.
    pub(super) fn unpart(&mut self, object: ObjectId, reply: Reply<()>) {
        let epoch = self.coordinator.want(Wanted::Epoch);
        let mailbox = self.mailbox.clone();
        let freed = move |_| mailbox.post(ControlLetter::Event(Event::Freed(object, reply)));
        self.flushes.push((epoch, Reply::new(freed)));
    }

    /// Its place is known: its splits are opened there, unless it has to wait again; at a start, with all
    /// the others.
    pub(super) fn freed(&mut self, object: ObjectId, reply: Reply<()>) {
        let goes_on = self.catalog.entries.get(&object).filter(|entry| !entry.has_to_wait());
        let groups = goes_on.map(|entry| entry.groups.clone()).unwrap_or_default();
        let completed = self.coordinator.completed();
        let held =
            |id: &GroupId| self.catalog.groups.get(id).is_some_and(|group| group.held && group.since > completed);
        if groups.iter().any(held) {
            // It went on and was parted again in the meantime.
            return self.unpart(object, reply);
        }
        let waits = self.is_joining_again();
        for id in groups {
            if let Some(group) = self.catalog.groups.get_mut(&id).filter(|group| group.held) {
                (group.held, group.started) = (false, false);
                if !waits {
                    self.start_group(id);
                }
            }
        }
        reply.send(Ok(()));
    }
}
