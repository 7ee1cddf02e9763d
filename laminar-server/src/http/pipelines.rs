//! `/api/v1/pipelines`: the continuous queries, their graphs, and stopping them for a while.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::problem::Problem;
use super::router::Shared;

/// All of them.
pub async fn list(State(shared): State<Shared>) -> Result<Json<Value>, Problem> {
    Ok(Json(serde_json::to_value(shared.database()?.status().await).map_err(unshowable)?["pipelines"].take()))
}

/// One, with its graph.
pub async fn show(State(shared): State<Shared>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    let Json(all) = list(State(shared)).await?;
    let found = all.as_array().into_iter().flatten().find(|p| p["name"] == name.as_str());
    found.cloned().map(Json).ok_or_else(|| {
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

/// A status that has no JSON form.
pub fn unshowable(error: serde_json::Error) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the status cannot be shown: {error}"))
}
