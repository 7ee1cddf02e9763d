//! Sockets and limits: each connection is a task with a bounded header, body and time.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::router::router;
use crate::config::Server;
use crate::gate::Gate;

/// Most headers of one request.
const MAX_HEADERS: usize = 64;

/// Most bytes of one request's head.
const MAX_HEAD_BYTES: usize = 32 << 10;

/// Wait after a failed accept (mostly: no file descriptors left), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The bounds of a request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most connections at one time.
    pub connections: usize,
    /// Largest body, in bytes.
    pub body_bytes: usize,
    /// Most rows of one SQL answer.
    pub result_rows: usize,
    /// How long the head may take to arrive.
    pub head_timeout: Duration,
    /// How long the answer may take.
    pub request_timeout: Duration,
}

impl Limits {
    /// The configured bounds.
    pub fn of(server: &Server) -> Self {
        Self {
            connections: server.max_connections,
            body_bytes: server.max_body_bytes,
            result_rows: server.max_result_rows,
            head_timeout: server.startup_timeout,
            request_timeout: server.request_timeout,
        }
    }
}

/// Accepts until the gate stops; connections beyond the limit wait to be accepted.
pub async fn serve(listener: TcpListener, gate: Gate, limits: Limits, tasks: TaskTracker) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let router = router(gate.clone(), limits);
    loop {
        let accepted = async {
            let Ok(slot) = slots.clone().acquire_owned().await else { return None };
            Some((slot, listener.accept().await))
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            () = gate.stop().cancelled() => None,
        };
        match accepted {
            Some((slot, Ok((stream, _)))) => {
                let (router, gate) = (router.clone(), gate.clone());
                tasks.spawn(async move {
                    connection(stream, router, gate, limits).await;
                    drop(slot);
                });
            }
            Some((_, Err(error))) => {
                tracing::warn!("accepting an HTTP connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            None => return,
        }
    }
}

async fn connection(stream: TcpStream, router: axum::Router, gate: Gate, limits: Limits) {
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = gate.stop().cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("an HTTP connection ended: {error}");
    }
}
