//! The end of an engine: a last checkpoint, and what it holds brought to the targets.
//!
//! Invariants: rows behind the last checkpoint's barrier are not staged, because the next start makes them
//! anew, and no checkpoint follows it; a target that takes nothing delays the end by [`DRAIN_US`] at most.

use super::boot::BootStep;
use super::core::Control;
use crate::engine::message::{Command, ControlLetter, Event};
use crate::engine::status::{ObjectKind, ObjectState};
use crate::engine::{EngineError, Reply};
use crate::epoch::Wanted;
use crate::ids::{ObjectId, ReactorId};
use crate::reactor::Now;

/// How long the end waits for targets, in microseconds.
const DRAIN_US: u64 = 5_000_000;

/// The reactors whose sinks have rows of the last checkpoint left.
pub(super) struct Draining {
    until: u64,
    waiting: Vec<ReactorId>,
}

impl Control {
    /// Ends the engine: first a checkpoint, where something is kept.
    pub(super) fn shutdown(&mut self, reply: Reply<()>) {
        if let Some(replies) = &mut self.stopping {
            replies.push(reply);
            return;
        }
        self.stopping = Some(vec![reply]);
        if self.store.is_some() && matches!(self.boot, BootStep::Ready) && !self.stuck {
            self.broadcast(|| Command::Closing);
            let mailbox = self.mailbox.clone();
            let saved = move |published: Result<_, EngineError>| {
                mailbox.post(ControlLetter::Event(Event::Saved { published: published.is_ok() }));
            };
            self.checkpoints.push(Reply::new(saved));
            self.coordinator.want(Wanted::Checkpoint);
        } else {
            self.stop_reactors();
        }
    }

    /// The last checkpoint is published, or cannot be.
    pub(super) fn saved(&mut self, published: bool, now: Now) {
        let working =
            |entry: &&super::catalog::Entry| entry.kind() == ObjectKind::Sink && entry.state == ObjectState::Running;
        let entries = self.catalog.entries.values();
        let sinks: Vec<ObjectId> = entries.filter(working).map(|entry| entry.spec.id()).collect();
        if !published || sinks.is_empty() {
            return self.stop_reactors();
        }
        self.draining = Some(Draining { until: now.micros + DRAIN_US, waiting: self.all_reactors() });
        self.broadcast(|| Command::Drain(sinks.clone()));
    }

    /// The sinks of a reactor have nothing left.
    pub(super) fn drained(&mut self, reactor: ReactorId) {
        let Some(draining) = &mut self.draining else { return };
        draining.waiting.retain(|waiting| *waiting != reactor);
        if draining.waiting.is_empty() {
            self.stop_reactors();
        }
    }

    /// Ends the wait for targets when it has lasted long enough; returns when that is.
    pub(super) fn end_drain(&mut self, now: Now) -> Option<u64> {
        let until = self.draining.as_ref()?.until;
        if now.micros < until {
            return Some(until);
        }
        self.stop_reactors();
        None
    }

    /// Ends everything now.
    pub(super) fn stop_reactors(&mut self) {
        self.draining = None;
        for running in self.sources.values().chain(self.sinks.values()) {
            running.end();
        }
        self.broadcast(|| Command::Shutdown);
    }
}
