//! The end: stop accepting, take a last checkpoint, leave.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::task::TaskTracker;

use crate::exit::{Exit, Reason};
use crate::gate::{Gate, Phase};

/// How long connections may finish what they are doing.
const GRACE: Duration = Duration::from_secs(3);

/// Ctrl-C and SIGTERM.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next of them.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Stops everything in order; a second signal ends the process at once.
///
/// # Errors
/// The last checkpoint failed or took longer than `limit`: what was acknowledged is still durable
/// in the log and is replayed at the next start.
pub async fn stop(gate: &Gate, connections: &TaskTracker, mut signals: Signals, limit: Duration) -> Result<(), Exit> {
    let database = gate.database();
    gate.enter(Phase::Stopping);
    gate.stop().cancel();
    connections.close();
    let orderly = async {
        if tokio::time::timeout(GRACE, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "closing connections that did not finish in time");
        }
        let Some(database) = database else { return Ok(()) };
        match tokio::time::timeout(limit, database.shutdown()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                Err(Exit::new(Reason::Failed, format!("{}: the last checkpoint failed: {error}", error.code)))
            }
            Err(_) => Err(Exit::new(
                Reason::Failed,
                format!(
                    "the last checkpoint took longer than {limit:?} (`shutdown_timeout` in [server]); the next start replays"
                ),
            )),
        }
    };
    tokio::select! {
        result = orderly => result,
        () = signals.next() => {
            eprintln!("laminardb-server: second signal, stopping at once without a checkpoint");
            #[expect(clippy::disallowed_methods, reason = "the second signal asks for exactly this")]
            std::process::exit(130);
        }
    }
}
