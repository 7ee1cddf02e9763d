//! The coordinator of epochs: one barrier at a time, all reactors, numbers never reused.
//!
//! Invariants: an epoch is complete when every reactor has reported that all its healthy chains
//! passed the barrier; a checkpoint may be published only when every reactor has also reported its
//! images, logs and outboxes durable; at most one barrier and at most one checkpoint are under way;
//! without data no barrier is injected, except on demand or for a due checkpoint with news.

use crate::ids::{CheckpointNumber, Epoch, Incarnation, ReactorId};
use crate::operator::Barrier;

/// How often barriers and checkpoints are injected. Microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The least distance of two barriers while data flows.
    pub epoch_interval: u64,
    /// The least distance of two checkpoints while there is something new; none = only on demand.
    pub checkpoint_interval: Option<u64>,
    /// An epoch that takes longer is reported as stuck, once.
    pub epoch_timeout: u64,
}

/// A barrier costs at most one part in so many of the time, as far as [`LONGEST_GAP`] allows.
const COST_SHARE: u64 = 50;

/// However much a barrier costs, the next one comes after so many microseconds: most of a great cost is rows
/// that had to be worked off anyway, and results must not stay unseen for minutes because of it.
const LONGEST_GAP: u64 = 1_000_000;

/// What somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// An epoch, at once.
    Epoch,
    /// A checkpoint, at once.
    Checkpoint,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing until a report, a wish, or the given moment.
    Wait(Option<u64>),
    /// Send this barrier to every reactor.
    Inject(Barrier),
    /// The epoch has not completed in time; it is still waited for.
    Stuck(Barrier),
}

struct Flight {
    barrier: Barrier,
    injected: u64,
    waiting: Vec<ReactorId>,
    reported_stuck: bool,
}

/// See the file's invariants.
pub struct Coordinator {
    pace: Pace,
    reactors: Vec<ReactorId>,
    last: Epoch,
    completed: Epoch,
    last_injected: u64,
    last_cost: u64,
    flight: Option<Flight>,
    storing: Option<Flight>,
    news: bool,
    unsaved: bool,
    checkpoints_allowed: bool,
    /// Somebody waits for an epoch; it does not wait for a checkpoint that cannot begin yet.
    epoch_wanted: bool,
    checkpoint_wanted: bool,
    next_checkpoint: CheckpointNumber,
    last_checkpoint: u64,
}

impl Coordinator {
    /// A coordinator of one process life. `newest` is the newest published checkpoint.
    pub fn new(incarnation: Incarnation, newest: CheckpointNumber, reactors: Vec<ReactorId>, pace: Pace) -> Self {
        let zero = Epoch { incarnation, number: 0 };
        Self {
            pace,
            reactors,
            last: zero,
            completed: zero,
            last_injected: 0,
            last_cost: 0,
            flight: None,
            storing: None,
            news: false,
            unsaved: false,
            checkpoints_allowed: true,
            epoch_wanted: false,
            checkpoint_wanted: false,
            next_checkpoint: CheckpointNumber(newest.0 + 1),
            last_checkpoint: 0,
        }
    }

    /// Data has entered a chain since the last barrier.
    pub fn data_flows(&mut self) {
        self.news = true;
        self.unsaved = true;
    }

    /// Takes no checkpoint before [`Coordinator::allow_checkpoints`].
    #[must_use]
    pub fn without_checkpoints(self) -> Self {
        Self { checkpoints_allowed: false, ..self }
    }

    /// Checkpoints may be taken from now on.
    pub fn allow_checkpoints(&mut self) {
        self.checkpoints_allowed = true;
    }

    /// From now on there are no checkpoints any more: the last one is under way.
    pub const fn forbid_checkpoints(&mut self) {
        self.checkpoints_allowed = false;
    }

    /// Asks for an epoch or a checkpoint at once; returns the epoch that will serve the wish.
    pub fn want(&mut self, wanted: Wanted) -> Epoch {
        match wanted {
            Wanted::Epoch => self.epoch_wanted = true,
            Wanted::Checkpoint => self.checkpoint_wanted = true,
        }
        self.last.next()
    }

    /// The newest injected epoch.
    pub const fn injected(&self) -> Epoch {
        self.last
    }

    /// The newest complete epoch.
    pub const fn completed(&self) -> Epoch {
        self.completed
    }

    /// The cost of the last complete epoch, from injection to the last report, in microseconds.
    pub const fn last_cost(&self) -> u64 {
        self.last_cost
    }

    /// Decides what to do at `now`.
    pub fn poll(&mut self, now: u64) -> Action {
        if let Some(flight) = &mut self.flight {
            let deadline = flight.injected + self.pace.epoch_timeout;
            if flight.reported_stuck {
                return Action::Wait(None);
            }
            if now >= deadline {
                flight.reported_stuck = true;
                return Action::Stuck(flight.barrier);
            }
            return Action::Wait(Some(deadline));
        }
        let gap = (COST_SHARE * self.last_cost).min(LONGEST_GAP).max(self.pace.epoch_interval);
        let epoch_due = self.last_injected + gap;
        let checkpoint_due = self.pace.checkpoint_interval.map(|interval| self.last_checkpoint + interval);
        let may_checkpoint = self.storing.is_none() && self.checkpoints_allowed;
        let checkpoint = may_checkpoint
            && (self.checkpoint_wanted
                || (self.unsaved && checkpoint_due.is_some_and(|due| now >= due) && now >= epoch_due));
        if checkpoint || self.epoch_wanted || (self.news && now >= epoch_due) {
            return Action::Inject(self.inject(now, checkpoint));
        }
        if self.news {
            return Action::Wait(Some(epoch_due));
        }
        match checkpoint_due {
            Some(due) if self.unsaved && may_checkpoint => Action::Wait(Some(due.max(epoch_due))),
            _ => Action::Wait(None),
        }
    }

    fn inject(&mut self, now: u64, checkpoint: bool) -> Barrier {
        self.last = self.last.next();
        let barrier = Barrier { epoch: self.last, checkpoint: checkpoint.then_some(self.next_checkpoint) };
        let flight = || Flight { barrier, injected: now, waiting: self.reactors.clone(), reported_stuck: false };
        self.flight = Some(flight());
        if checkpoint {
            self.storing = Some(flight());
            self.next_checkpoint.0 += 1;
            self.last_checkpoint = now;
            self.unsaved = false;
            self.checkpoint_wanted = false;
        }
        self.epoch_wanted = false;
        self.news = false;
        self.last_injected = now;
        barrier
    }

    /// A reactor's chains have all passed the barrier. Returns the barrier when it was the last one.
    pub fn passed(&mut self, reactor: ReactorId, epoch: Epoch, now: u64) -> Option<Barrier> {
        let flight = self.flight.as_mut().filter(|flight| flight.barrier.epoch == epoch)?;
        flight.waiting.retain(|r| *r != reactor);
        if !flight.waiting.is_empty() {
            return None;
        }
        let flight = self.flight.take()?;
        self.last_cost = now.saturating_sub(flight.injected);
        self.completed = epoch;
        Some(flight.barrier)
    }

    /// A reactor has made its part of the checkpoint durable. Returns the barrier when it was the last one.
    pub fn stored(&mut self, reactor: ReactorId, epoch: Epoch) -> Option<Barrier> {
        let flight = self.storing.as_mut().filter(|flight| flight.barrier.epoch == epoch)?;
        flight.waiting.retain(|r| *r != reactor);
        flight.waiting.is_empty().then_some(flight.barrier)
    }

    /// The checkpoint was published, or given up; the next one may begin.
    pub fn published(&mut self) {
        self.storing = None;
    }
}

#[cfg(test)]
mod tests;
