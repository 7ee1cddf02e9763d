//! The one door to the database: closed while it recovers and once it stops.
//!
//! Both protocols start before the database does, so that a client and a load balancer get an
//! answer ("starting, 3 of 8") instead of a refused connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use laminar_db::{Database, StartProgress};
use tokio_util::sync::CancellationToken;

/// What the process is doing.
#[derive(Clone)]
pub enum Phase {
    /// Recovery or the first deployment is running.
    Starting {
        /// What exactly, for `/ready`.
        step: &'static str,
        /// How far the database is with it.
        progress: Arc<StartProgress>,
    },
    /// Clients are served.
    Ready(Database),
    /// The last checkpoint is being taken.
    Stopping,
}

/// Shared by boot, shutdown and both protocols.
#[derive(Clone)]
pub struct Gate {
    phase: Arc<Mutex<Phase>>,
    started: Instant,
    stop: CancellationToken,
}

impl Gate {
    /// A gate of a process that starts now.
    pub fn new() -> Self {
        let phase = Phase::Starting { step: "opening the data directory", progress: Arc::default() };
        Self { phase: Arc::new(Mutex::new(phase)), started: Instant::now(), stop: CancellationToken::new() }
    }

    /// What the process is doing now.
    pub fn phase(&self) -> Phase {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes to the next phase; stopping is final.
    pub fn enter(&self, phase: Phase) {
        let mut current = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*current, Phase::Stopping) {
            *current = phase;
        }
    }

    /// The database, if clients are served.
    pub fn database(&self) -> Option<Database> {
        match self.phase() {
            Phase::Ready(database) => Some(database),
            Phase::Starting { .. } | Phase::Stopping => None,
        }
    }

    /// Cancelled when no new work is taken.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// When the process started.
    pub fn started(&self) -> Instant {
        self.started
    }
}
