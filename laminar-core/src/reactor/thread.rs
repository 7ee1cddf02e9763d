//! The plain-thread shell: reactors and tasks on parked threads.
//!
//! Invariant: a reactor that announces its sleep looks once more before it parks, so no wake is lost;
//! an idle thread costs nothing.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::{Bell, Clock, Next, Parker, Spawn, SpawnError, Task};
use crate::engine::{Engine, Turn};

/// A turn longer than this is counted as a stall, in microseconds.
pub const STALL_US: u64 = 5_000;

/// Runs tasks on threads of their own.
pub struct ThreadSpawn {
    clock: Arc<dyn Clock>,
}

impl ThreadSpawn {
    /// Threads that read this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

impl Spawn for ThreadSpawn {
    fn spawn(&self, name: String, parker: Arc<Parker>, mut task: Box<dyn Task>) -> Result<(), SpawnError> {
        let clock = self.clock.clone();
        let run = move || {
            loop {
                let now = clock.now();
                match task.step(now) {
                    Next::Again => {}
                    Next::Wait(until) => {
                        parker.park(until.map(|at| Duration::from_micros(at.saturating_sub(clock.now().micros))));
                    }
                    Next::Done => return,
                }
            }
        };
        let started = Builder::new().name(name).spawn(run);
        started.map(drop).map_err(|error| SpawnError { message: error.to_string() })
    }
}

/// Runs one engine on a thread of its own.
///
/// # Errors
/// The system refuses the thread.
pub fn run(
    engine: Engine,
    bell: Arc<Bell>,
    parker: Arc<Parker>,
    clock: Arc<dyn Clock>,
    name: String,
) -> Result<JoinHandle<()>, SpawnError> {
    let run = move || turn_until_stopped(engine, &bell, &parker, clock.as_ref());
    Builder::new().name(name).spawn(run).map_err(|error| SpawnError { message: error.to_string() })
}

fn turn_until_stopped(mut engine: Engine, bell: &Bell, parker: &Parker, clock: &dyn Clock) {
    loop {
        let begin = clock.now();
        let turn = engine.turn(begin);
        let end = clock.now().micros;
        if end.saturating_sub(begin.micros) > STALL_US {
            engine.stalled();
        }
        match turn {
            Turn::Busy => {}
            Turn::Stopped => return,
            Turn::Idle(until) => {
                bell.prepare();
                if !engine.has_work() {
                    parker.park(until.map(|at| Duration::from_micros(at.saturating_sub(end))));
                }
                bell.awake();
            }
        }
    }
}
