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

/// 200 once clients are served, 503 with the step before that.
pub async fn ready(State(shared): State<Shared>) -> (StatusCode, Json<Value>) {
    let elapsed_ms = shared.gate.started().elapsed().as_millis() as u64;
    match shared.gate.phase() {
        Phase::Ready(_) => (StatusCode::OK, Json(json!({ "status": "ready" }))),
        Phase::Starting { step } => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({ "status": "starting", "step": step, "elapsed_ms": elapsed_ms })),
        ),
        Phase::Stopping => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "stopping" }))),
    }
}
