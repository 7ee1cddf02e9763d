//! Runs tasks (control, connectors, appliers) on threads of their own.
//!
//! Invariant: a task's thread is not pinned to the core of whoever started it: a new thread takes
//! the affinity of its creator, so the spawner is made, and its first call done, before any reactor
//! is pinned, or it sets the whole mask itself.

use std::sync::Arc;
use std::time::Duration;

use super::port::{Clock, Next, Spawn, SpawnError, Task};
use super::{Parker, SystemClock};

/// Starts one thread a task.
pub struct ThreadSpawn {
    clock: Arc<dyn Clock>,
}

impl ThreadSpawn {
    /// Tasks see the time of `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

impl Default for ThreadSpawn {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock::default()))
    }
}

impl Spawn for ThreadSpawn {
    fn spawn(&self, name: String, parker: Arc<Parker>, mut task: Box<dyn Task>) -> Result<(), SpawnError> {
        let clock = self.clock.clone();
        let run = move || {
            loop {
                match task.step(clock.now()) {
                    Next::Again => {}
                    Next::Wait(None) => parker.park(None),
                    Next::Wait(Some(until)) => {
                        let wait = until.saturating_sub(clock.now().micros);
                        parker.park(Some(Duration::from_micros(wait)));
                    }
                    Next::Done => return,
                }
            }
        };
        let started = std::thread::Builder::new().name(name).spawn(run);
        started.map(drop).map_err(|e| SpawnError { message: format!("cannot start a thread: {e}") })
    }
}
