//! What the engine may ask of the machine: time, a place to sleep, a thread.
//!
//! Invariant: the engine itself reads no clock and starts no thread; whoever drives it passes
//! [`Now`] in, and the rest goes through these traits. The simulated world implements them too.

use std::fmt;
use std::sync::Arc;

use super::Parker;
use crate::data::EventTime;

/// A moment: monotonic for intervals, wall time for event-time comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Microseconds since the engine started; never goes back.
    pub micros: u64,
    /// Wall time.
    pub wall: EventTime,
}

/// A source of [`Now`].
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Now;
}

/// Ends the sleep of one sleeper; callable from any thread, cheap, idempotent.
pub trait Unpark: Send + Sync {
    /// Wakes it, or makes its next sleep return at once.
    fn unpark(&self);
}

/// What a task wants after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another step at once.
    Again,
    /// A step when it is unparked, or at this moment (monotonic microseconds).
    Wait(Option<u64>),
    /// Nothing: it is over.
    Done,
}

/// Work that runs beside the reactors, step by step: control, connectors, appliers. A step may block
/// on the other system, for a bounded time.
pub trait Task: Send {
    /// Does what is there.
    fn step(&mut self, now: Now) -> Next;
}

/// Runs tasks on threads that are not pinned to a core.
pub trait Spawn: Send + Sync {
    /// Starts `task` under a name; `parker` ends its waits.
    ///
    /// # Errors
    /// The system refuses another thread.
    fn spawn(&self, name: String, parker: Arc<Parker>, task: Box<dyn Task>) -> Result<(), SpawnError>;
}

/// The system refused a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpawnError {
    /// The system's words.
    pub message: String,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SpawnError {}
