//! `/api/v1/sources`: what is read, and how far.

use axum::Json;
use axum::extract::State;
use laminar_db::status::Source;

use super::problem::Problem;
use super::router::Shared;

/// Every source with its splits, positions, lag and watermark.
pub async fn list(State(shared): State<Shared>) -> Result<Json<Vec<Source>>, Problem> {
    Ok(Json(shared.database()?.status().await?.sources))
}
