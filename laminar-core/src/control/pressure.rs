//! Back-pressure: of sinks whose targets do not take their rows, and of queries that hold as much state as they
//! may.
//!
//! Invariants: what presses holds up no barrier and nothing that does not feed it: pipelines that read a
//! connector for it are parted from their splits as PAUSE parts them, rows of clients that would feed it
//! wait before they are logged; when there is room again, all of it goes on by itself. A sink that has failed
//! or is gone presses nobody, whatever its reactors still say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::core::Control;
use crate::engine::Reply;
use crate::engine::message::{Chokes, Command};
use crate::engine::status::{ObjectKind, ObjectState};
use crate::ids::{ObjectId, ReactorId};

/// The sinks whose stages are full, and on which reactors.
#[derive(Default)]
pub(super) struct Pressure(BTreeMap<ObjectId, BTreeSet<ReactorId>>);

impl Control {
    /// A stage of a sink has become full, or has drained.
    pub(super) fn pressed(&mut self, sink: ObjectId, reactor: ReactorId, full: bool) {
        let works = match self.catalog.entries.get(&sink) {
            Some(entry) => entry.failure().is_none(),
            // What it keeps from the last life may fill it before all reactors have built it.
            None => self.deploying.as_ref().is_some_and(|flight| flight.holds(sink)),
        };
        if !works {
            // The reactor has not heard yet that it is gone, and will never say that it has drained.
            return;
        }
        let on = self.pressure.0.entry(sink).or_default();
        if full {
            on.insert(reactor)
        } else {
            on.remove(&reactor)
        };
        self.press();
    }

    /// What is gone presses nobody.
    pub(super) fn relieve(&mut self, gone: &[ObjectId]) {
        let presses = |object: &ObjectId| self.pressure.0.contains_key(object) || self.memory.is_full(*object);
        let pressed = gone.iter().any(presses);
        self.pressure.0.retain(|sink, _| !gone.contains(sink));
        self.forget_memory(gone);
        if pressed {
            self.press();
        }
    }

    /// Lets wait what feeds full sinks and queries, and nothing else. To be called anew when a deployment has
    /// joined.
    pub(super) fn press(&mut self) {
        self.pressure.0.retain(|_, on| !on.is_empty());
        // A full query tells of itself, whatever else it feeds.
        let mut pressing: BTreeMap<ObjectId, ObjectId> = self.memory.full().map(|query| (query, query)).collect();
        for presser in self.pressure.0.keys().copied().chain(self.memory.full()) {
            for object in self.catalog.upstream(presser) {
                pressing.entry(object).or_insert(presser);
            }
        }
        let mut chokes = Chokes::new();
        for (object, by) in &pressing {
            let Some(group) = self.catalog.entries.get(object).and_then(|entry| entry.push) else { continue };
            chokes.insert(group, self.choker(*by).into());
        }
        let chokes = Arc::new(chokes);
        self.broadcast(|| Command::Choke(chokes.clone()));
        for object in self.catalog.entries.keys().copied().collect::<Vec<_>>() {
            self.press_one(object, pressing.get(&object).copied());
        }
    }

    /// What rows of clients wait for.
    fn choker(&self, by: ObjectId) -> String {
        let Some(entry) = self.catalog.entries.get(&by) else { return String::new() };
        let name = entry.spec.name();
        match entry.kind() {
            ObjectKind::Sink => format!("sink {name}, whose target does not take its rows"),
            ObjectKind::Table => format!("table {name}, which has reached state.memory_limit"),
            _ => format!("{name}, which has reached its memory_limit"),
        }
    }

    /// Why an object waits.
    fn reason(&self, object: ObjectId, by: ObjectId) -> Option<String> {
        let presser = self.catalog.entries.get(&by)?;
        if presser.kind() != ObjectKind::Sink {
            return self.full_reason(object, by);
        }
        let sink = presser.spec.name();
        Some(format!(
            "sink {sink} holds as many rows as it may, because its target does not take them; it goes on by itself"
        ))
    }

    fn press_one(&mut self, object: ObjectId, by: Option<ObjectId>) {
        let Some(entry) = self.catalog.entries.get(&object) else { return };
        // A full sink does not wait for itself: its state tells how its target is.
        let waits =
            |by: &ObjectId| (*by == object && self.memory.is_full(object)) || self.catalog.reads_connector(entry);
        let by = by.filter(|by| waits(by) && entry.failure().is_none());
        let waiting = by.and_then(|by| self.reason(object, by));
        let Some(entry) = self.catalog.entries.get_mut(&object) else { return };
        let pressed = std::mem::replace(&mut entry.pressed, by.is_some());
        match (&entry.state, waiting) {
            (ObjectState::Running, Some(why)) => entry.state = ObjectState::Waiting(why),
            (ObjectState::Waiting(_), Some(why)) if pressed => entry.state = ObjectState::Waiting(why),
            (ObjectState::Waiting(_), None) if pressed => entry.state = ObjectState::Running,
            _ => {}
        }
        self.follow(object);
    }

    /// Parts a pipeline that has to wait, lets one go on that need not.
    fn follow(&mut self, object: ObjectId) {
        let joining = self.deploying.as_ref().is_some_and(|flight| flight.holds(object));
        let Some(entry) = self.catalog.entries.get(&object).filter(|_| !joining) else { return };
        match (entry.has_to_wait(), self.catalog.is_parted(entry)) {
            (true, false) if entry.pressed && self.catalog.reads_connector(entry) => {
                self.part(object, Reply::ignored());
            }
            (false, true) => self.unpart(object, Reply::ignored()),
            _ => {}
        }
    }
}
