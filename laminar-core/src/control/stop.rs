//! The end of an engine: a last checkpoint, and what it holds brought to the targets.
//!
//! Invariants: rows behind the last checkpoint's barrier are not staged, because the next start makes them
//! anew, and no other checkpoint follows it; what the targets have acknowledged by the end is kept with it,
//! so that the next start does not send it again (D2); a target that takes nothing delays the end by
//! [`DRAIN_US`] at most.

use super::boot::BootStep;
use super::core::Control;
use crate::engine::message::{Command, ControlLetter, Event};
use crate::engine::status::{ObjectKind, ObjectState};
use crate::engine::{EngineError, Reply};
use crate::epoch::Wanted;
use crate::ids::{ObjectId, ReactorId};
use crate::reactor::Now;
use laminar_storage::StorageError;
use laminar_storage::manifest::{CheckpointDraft, OutboxMark};

/// How long the end waits for targets, in microseconds.
const DRAIN_US: u64 = 5_000_000;

/// How long reactors then have to say how far they have come, in microseconds: they answer at once.
const LAST_CALL_US: u64 = 500_000;

/// The reactors whose sinks have rows of the last checkpoint left.
pub(super) struct Draining {
    until: u64,
    waiting: Vec<ReactorId>,
    /// How far targets are.
    outboxes: Vec<OutboxMark>,
    /// Whether targets are not waited for any more.
    last_call: bool,
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
        let sinks = || self.catalog.entries.values().filter(|entry| entry.kind() == ObjectKind::Sink);
        if !published || sinks().next().is_none() {
            return self.stop_reactors();
        }
        // The others have no target that could be waited for.
        let working = sinks().filter(|entry| entry.state == ObjectState::Running);
        let working: Vec<ObjectId> = working.map(|entry| entry.spec.id()).collect();
        let until = now.micros + DRAIN_US;
        self.draining = Some(Draining { until, waiting: self.all_reactors(), outboxes: Vec::new(), last_call: false });
        self.broadcast(|| Command::Drain(working.clone()));
    }

    /// The sinks of a reactor have nothing left that is waited for.
    pub(super) fn drained(&mut self, reactor: ReactorId, outboxes: Vec<OutboxMark>) {
        let Some(draining) = &mut self.draining else { return };
        draining.waiting.retain(|waiting| *waiting != reactor);
        draining.outboxes.extend(outboxes);
        if draining.waiting.is_empty() {
            self.drained_all();
        }
    }

    /// Ends the wait for targets when it has lasted long enough; returns when that is.
    pub(super) fn end_drain(&mut self, now: Now) -> Option<u64> {
        let draining = self.draining.as_mut()?;
        if now.micros < draining.until {
            return Some(draining.until);
        }
        if draining.last_call {
            self.drained_all();
            return None;
        }
        (draining.last_call, draining.until) = (true, now.micros + LAST_CALL_US);
        let until = draining.until;
        self.broadcast(|| Command::Drain(Vec::new()));
        Some(until)
    }

    /// Keeps with the last checkpoint how far the targets are, and ends.
    fn drained_all(&mut self) {
        let acknowledged = self.draining.take().map(|draining| draining.outboxes).unwrap_or_default();
        let advance = |draft: &mut CheckpointDraft| {
            for kept in draft.islands.iter_mut().flat_map(|island| &mut island.outboxes) {
                let place = (kept.sink, kept.shard, kept.position);
                let mine = acknowledged.iter().filter(|mark| (mark.sink, mark.shard, mark.position) == place);
                kept.acknowledged = mine.map(|mark| mark.acknowledged).fold(kept.acknowledged, Ord::max);
            }
        };
        if let Some(store) = self.store.as_mut() {
            match store.publisher.publish_again(store.disk.as_mut(), advance) {
                // Without room for it the next start sends it again.
                Ok(()) | Err(StorageError::NoSpace { .. }) => {}
                Err(error) => return self.fatal(&error.into()),
            }
        }
        self.stop_reactors();
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
