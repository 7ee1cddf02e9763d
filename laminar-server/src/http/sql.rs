//! `/api/v1/sql`: runs a script and answers with the result of its last statement.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use futures::StreamExt;
use laminar_db::{Notice, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::problem::Problem;
use super::result_json::{append_rows, columns};
use super::router::Shared;

/// What a client sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// One or more statements.
    sql: String,
    /// Values of `$1`, `$2`, …, as text; for a single statement.
    #[serde(default)]
    parameters: Vec<Option<String>>,
}

/// What a client gets.
#[derive(Default, Serialize)]
pub struct Answer {
    columns: Vec<Value>,
    rows: Vec<Value>,
    tag: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notices: Vec<String>,
}

/// Runs the statements in one session, in order, until the first that fails.
pub async fn run(
    State(shared): State<Shared>,
    request: Result<Json<Request>, JsonRejection>,
) -> Result<Json<Answer>, Problem> {
    let Json(request) = request.map_err(|rejection| {
        Problem::new(rejection.status(), rejection.body_text())
            .hint("send `{\"sql\": \"SELECT 1\"}` as application/json")
    })?;
    let mut session = shared.database()?.session("http");
    let statements = session.parse(&request.sql)?;
    if statements.len() > 1 && !request.parameters.is_empty() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "parameters need a single statement"));
    }
    let mut answer = Answer::default();
    let mut notices = Vec::new();
    for statement in &statements {
        let response = session.execute(statement, &request.parameters).await?;
        answer = collect(response, shared.limits.result_rows, &mut notices).await?;
    }
    answer.notices = notices;
    Ok(Json(answer))
}

async fn collect(response: Response, most: usize, notices: &mut Vec<String>) -> Result<Answer, Problem> {
    let mut note = |list: Vec<Notice>| notices.extend(list.into_iter().map(|n| n.message));
    match response {
        Response::Rows { schema, mut batches, tag, notices } => {
            note(notices);
            let mut answer = Answer { columns: columns(&schema), ..Answer::default() };
            while let Some(batch) = batches.next().await {
                let batch = batch?;
                if answer.rows.len() + batch.num_rows() > most {
                    return Err(Problem::new(
                        StatusCode::PAYLOAD_TOO_LARGE,
                        format!("the result has more than {most} rows"),
                    )
                    .hint(
                        "add a LIMIT, raise `max_result_rows` in [server], or read it over the PostgreSQL protocol",
                    ));
                }
                append_rows(&batch, most, &mut answer.rows)
                    .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
            }
            answer.tag = format!("{tag} {}", answer.rows.len());
            Ok(answer)
        }
        Response::Done { tag, notices } => {
            note(notices);
            Ok(Answer { tag, ..Answer::default() })
        }
        Response::CopyIn(_) | Response::CopyOut { .. } => Err(copy_refused()),
    }
}

fn copy_refused() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "COPY needs a stream of bytes, which this resource has not")
        .hint("use psql, or INSERT and SELECT")
}
