//! `/api/v1/sinks`: what is written, and how far.

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use super::problem::Problem;
use super::router::Shared;

/// Every sink with its progress.
pub async fn list(State(shared): State<Shared>) -> Result<Json<Value>, Problem> {
    Ok(Json(
        serde_json::to_value(shared.database()?.status().await).map_err(super::pipelines::unshowable)?["sinks"].take(),
    ))
}
