//! `/api/v1/sources/{name}/rows`: rows of a body into a push source or table; answered when they are durable.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use laminar_db::BodyFormat;
use serde_json::{Value, json};

use super::problem::Problem;
use super::router::Shared;

/// Inserts all rows or none.
pub async fn insert(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let rows = shared.database()?.ingest(&name, format(&headers)?, &body).await?;
    Ok(Json(json!({ "rows": rows })))
}

fn format(headers: &HeaderMap) -> Result<BodyFormat, Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("nothing");
    match given.split(';').next().map(str::trim).unwrap_or_default() {
        "application/x-ndjson" | "application/jsonl" | "application/json" => Ok(BodyFormat::JsonLines),
        "text/csv" => Ok(BodyFormat::Csv),
        "application/vnd.apache.arrow.stream" => Ok(BodyFormat::ArrowStream),
        _ => Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("rows cannot be read from {given}"))
            .hint("send Content-Type: application/x-ndjson (a JSON object a line), text/csv (with a header line) or application/vnd.apache.arrow.stream")),
    }
}
