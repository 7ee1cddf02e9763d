//! `/health`: the process lives. `/ready`: clients are served.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::router::Shared;
use crate::gate::Phase;

/// Answers as long as the process can answer at all.
pub async fn health(State(shared): State<Shared>) -> Json<Value> {
    let uptime_ms = shared.gate.started().elapsed().as_millis() as u64;
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION"), "uptime_ms": uptime_ms }))
}

/// 200 once clients are served; before that 503 with the step, and how far it is in bytes.
pub async fn ready(State(shared): State<Shared>) -> (StatusCode, Json<Value>) {
    let elapsed_ms = shared.gate.started().elapsed().as_millis() as u64;
    match shared.gate.phase() {
        Phase::Ready(_) => (StatusCode::OK, Json(json!({ "status": "ready" }))),
        Phase::Starting { step, progress } => {
            let now = progress.now();
            let body = json!({
                "status": "starting", "step": step, "phase": now.phase.name(), "done_bytes": now.done_bytes,
                "total_bytes": now.total_bytes, "elapsed_ms": elapsed_ms,
            });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body))
        }
        Phase::Stopping => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "stopping" }))),
    }
}
