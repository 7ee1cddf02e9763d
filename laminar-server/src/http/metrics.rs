//! `/metrics`: everything that can be counted, in the Prometheus text format.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::router::Shared;
use crate::telemetry::prometheus;

/// Answers also while the server starts, with what is known then.
pub async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    let status = match shared.gate.database() {
        Some(database) => database.status().await.ok(),
        None => None,
    };
    let body = prometheus::text(shared.gate.started().elapsed(), status.as_ref());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], body)
}
