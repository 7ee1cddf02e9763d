//! The accept loop and the limits of a connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::cancel::Cancels;
use super::connection;
use super::fault::{Fault, put_error};
use super::wire::Wire;
use crate::config::Server;
use crate::gate::Gate;

/// Wait after a failed accept (mostly: no file descriptors left), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The bounds of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most connections at one time.
    pub connections: usize,
    /// Largest message after start-up, in bytes.
    pub message_bytes: usize,
    /// How long the start-up may take.
    pub startup_timeout: Duration,
}

impl Limits {
    /// The configured bounds.
    pub fn of(server: &Server) -> Self {
        Self {
            connections: server.max_connections,
            message_bytes: server.max_message_bytes,
            startup_timeout: server.startup_timeout,
        }
    }
}

/// Accepts until the gate stops; a connection beyond the limit is told so and closed.
pub async fn serve(listener: TcpListener, gate: Gate, limits: Limits, tasks: TaskTracker) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let cancels = Cancels::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = gate.stop().cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let slot = slots.clone().try_acquire_owned().ok();
                let (gate, cancels) = (gate.clone(), cancels.clone());
                tasks.spawn(async move {
                    let _ = stream.set_nodelay(true);
                    let wire = Wire::new(stream, limits.message_bytes);
                    match &slot {
                        Some(_) => connection::serve(wire, gate, cancels, limits).await,
                        None => refuse(wire, limits).await,
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!("accepting a PostgreSQL connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn refuse(mut wire: Wire<TcpStream>, limits: Limits) {
    let message = format!("sorry, too many clients already ({})", limits.connections);
    if let Fault::Fatal(error) = Fault::fatal("53300", message).hint("raise `max_connections` in [server]") {
        put_error(&mut wire.output, "FATAL", &error);
    }
    // The client may not read at all; its own start-up time is all it gets.
    let _ = tokio::time::timeout(limits.startup_timeout, wire.close()).await;
}
