//! The end of an engine: a last checkpoint, and what it holds brought to the targets; or, when storage has failed,
//! at once.
//!
//! Invariants: rows behind the last checkpoint's barrier are not staged, because the next start makes them
//! anew, and no other checkpoint follows it; what the targets have acknowledged by the end is kept with it,
//! so that the next start does not send it again (D2); a target that takes nothing delays the end by
//! [`DRAIN_US`] at most; an end without its last checkpoint is told as one.

use super::boot::BootStep;
use super::core::Control;
use super::deploy::DeployFlight;
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
        if self.store.is_none() || !matches!(self.boot, BootStep::Ready) {
            return self.stop_reactors();
        }
        let hint = "there is no last checkpoint: the next start replays what the one before does not hold";
        let (what, limit) = ("the time of an epoch in seconds", self.options.epoch_timeout.as_secs());
        self.unsaved = Some(EngineError::Limit { what, limit, hint });
        if self.stuck {
            return self.stop_reactors();
        }
        self.broadcast(|| Command::Closing);
        let mailbox = self.mailbox.clone();
        let saved = move |published: Result<_, EngineError>| {
            mailbox.post(ControlLetter::Event(Event::Saved(published.map(drop))));
        };
        self.checkpoints.push(Reply::new(saved));
        self.coordinator.want(Wanted::Checkpoint);
    }

    /// The last checkpoint is published, or cannot be.
    pub(super) fn saved(&mut self, saved: Result<(), EngineError>, now: Now) {
        self.unsaved = saved.err();
        let sinks = || self.catalog.entries.values().filter(|entry| entry.kind() == ObjectKind::Sink);
        if self.unsaved.is_some() || sinks().next().is_none() {
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

    /// The objects of the catalog cannot run: the engine does not start.
    pub(super) fn refuse_start(&mut self, error: EngineError) {
        if let Some(ready) = self.ready.take() {
            ready.send(Err(error));
        }
        self.stop_reactors();
    }

    /// Durable storage has failed: nothing more may be accepted (W4). Who waits hears the reason.
    pub(super) fn fatal(&mut self, error: &EngineError) {
        if let Some(hook) = self.options.on_fatal.as_ref() {
            hook(error);
        }
        let starting = self.ready.take();
        let ending = self.stopping.take().into_iter().flatten();
        starting.into_iter().chain(ending).for_each(|reply| reply.send(Err(error.clone())));
        let checkpoints = std::mem::take(&mut self.checkpoints).into_iter();
        let saving = std::mem::take(&mut self.collecting).replies;
        checkpoints.chain(saving).for_each(|reply| reply.send(Err(error.clone())));
        let joining = self.deploying.take().map(DeployFlight::into_reply);
        let deploys = std::mem::take(&mut self.deploys).into_iter().map(|(_, reply)| reply);
        joining.into_iter().chain(deploys).for_each(|reply| reply.send(Err(error.clone())));
        self.flushes.drain(..).for_each(|(_, reply)| reply.send(Err(error.clone())));
        self.fail_reads(error);
        self.stop_reactors();
        self.over = true;
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
