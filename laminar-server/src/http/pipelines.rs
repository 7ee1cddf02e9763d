//! `/api/v1/pipelines`: the continuous queries, their graphs, and stopping them for a while.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use laminar_db::status::Pipeline;
use serde_json::{Value, json};

use super::problem::Problem;
use super::router::Shared;

/// All of them.
pub async fn list(State(shared): State<Shared>) -> Result<Json<Vec<Pipeline>>, Problem> {
    Ok(Json(shared.database()?.status().await?.pipelines))
}

/// One, with its graph.
pub async fn show(State(shared): State<Shared>, Path(name): Path<String>) -> Result<Json<Pipeline>, Problem> {
    let all = shared.database()?.status().await?.pipelines;
    all.into_iter().find(|p| p.name == name).map(Json).ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, format!("there is no pipeline `{name}`"))
            .hint("GET /api/v1/pipelines lists them")
    })
}

/// Detaches one from its input; its state and its place are kept.
pub async fn pause(State(shared): State<Shared>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    shared.database()?.pause(&name).await?;
    Ok(Json(json!({ "name": name, "state": "paused" })))
}

/// Goes on where it was.
pub async fn resume(State(shared): State<Shared>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    shared.database()?.resume(&name).await?;
    Ok(Json(json!({ "name": name, "state": "running" })))
}
