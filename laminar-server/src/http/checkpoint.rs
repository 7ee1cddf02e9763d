//! `/api/v1/checkpoint`: makes everything up to now durable.

use axum::Json;
use axum::extract::State;
use laminar_db::CheckpointInfo;

use super::problem::Problem;
use super::router::Shared;

/// Takes a checkpoint and answers when it is on disk.
pub async fn take(State(shared): State<Shared>) -> Result<Json<CheckpointInfo>, Problem> {
    Ok(Json(shared.database()?.checkpoint().await?))
}
