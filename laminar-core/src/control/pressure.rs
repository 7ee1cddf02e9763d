//! Back-pressure of sinks whose targets do not take their rows.
//!
//! Invariants: such a sink holds up no barrier and nothing that does not feed it: pipelines that read a
//! connector for it are parted from their splits as PAUSE parts them, rows of clients that would feed it
//! wait before they are logged; when its stages have drained, all of it goes on by itself. A sink that
//! has failed or is gone presses nobody, whatever its reactors still say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::core::Control;
use crate::engine::message::Command;
use crate::engine::status::ObjectState;
use crate::engine::{GroupId, Reply};
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

    /// Sinks that are gone press nobody.
    pub(super) fn relieve(&mut self, gone: &[ObjectId]) {
        if self.pressure.0.keys().any(|sink| gone.contains(sink)) {
            self.pressure.0.retain(|sink, _| !gone.contains(sink));
            self.press();
        }
    }

    /// Lets wait what feeds full sinks, and nothing else. To be called anew when a deployment has joined.
    pub(super) fn press(&mut self) {
        self.pressure.0.retain(|_, on| !on.is_empty());
        let mut pressing: BTreeMap<ObjectId, ObjectId> = BTreeMap::new();
        for sink in self.pressure.0.keys() {
            pressing.extend(self.catalog.upstream(*sink).into_iter().map(|object| (object, *sink)));
        }
        let choked: BTreeSet<GroupId> =
            pressing.keys().filter_map(|object| self.catalog.entries.get(object)?.push).collect();
        let choked = Arc::new(choked);
        self.broadcast(|| Command::Choke(choked.clone()));
        for object in self.catalog.entries.keys().copied().collect::<Vec<_>>() {
            self.press_one(object, pressing.get(&object).copied());
        }
    }

    fn press_one(&mut self, object: ObjectId, by: Option<ObjectId>) {
        let reads = |group: &GroupId| self.catalog.groups.get(group).is_some_and(|group| !group.pushed);
        let Some(entry) = self.catalog.entries.get(&object) else { return };
        let reads = entry.groups.iter().any(reads);
        let by = by.filter(|_| reads && entry.failure().is_none());
        let waiting = by.and_then(|sink| self.catalog.entries.get(&sink)).map(|sink| {
            format!("sink {} holds as many rows as it may, because its target does not take them", sink.spec.name())
        });
        let Some(entry) = self.catalog.entries.get_mut(&object) else { return };
        let pressed = std::mem::replace(&mut entry.pressed, by.is_some());
        match (&entry.state, waiting) {
            (ObjectState::Running, Some(why)) => entry.state = ObjectState::Waiting(why),
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
            (true, false) if entry.pressed => self.part(object, Reply::ignored()),
            (false, true) => self.unpart(object, Reply::ignored()),
            _ => {}
        }
    }
}
