//! `/api/v1/sinks`: what is written, and how far.

use axum::Json;
use axum::extract::State;
use laminar_db::status::Sink;

use super::problem::Problem;
use super::router::Shared;

/// Every sink with its progress.
pub async fn list(State(shared): State<Shared>) -> Result<Json<Vec<Sink>>, Problem> {
    Ok(Json(shared.database()?.status().await?.sinks))
}
