//! `/api/v1/sources/{name}/rows`: rows of a body into a push source or table; answered when they are durable.
//!
//! A request without an answer is sent again with its `Idempotency-Key`: its rows are in once, and the answer is the
//! first one, with `"repeated": true`.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use laminar_db::{BodyFormat, DbError, KEY_REUSED};
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
    let key = idempotency_key(&headers)?;
    let ingested = shared.database()?.ingest(&name, format(&headers)?, body, key).await.map_err(refused)?;
    let mut answer = json!({ "rows": ingested.rows });
    if ingested.repeated {
        answer["repeated"] = Value::Bool(true);
    }
    Ok(Json(answer))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let wrong = |title: &str| Problem::new(StatusCode::BAD_REQUEST, title).hint("a UUID for each request will do");
    let mut given = headers.get_all("idempotency-key").iter();
    let key = given.next().map(|key| key.to_str().map_err(|_| wrong("the Idempotency-Key is not printable ASCII")));
    match given.next() {
        None => key.transpose(),
        Some(_) => Err(wrong("a request has one Idempotency-Key, not more")),
    }
}

/// A key that came before with another body is the draft standard's 422.
fn refused(error: DbError) -> Problem {
    let reused = error.code == KEY_REUSED;
    let problem = Problem::from(error);
    if reused { problem.with_status(StatusCode::UNPROCESSABLE_ENTITY) } else { problem }
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
