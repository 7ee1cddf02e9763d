//! The shape of every error over HTTP: `application/problem+json` (RFC 9457).

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use laminar_db::DbError;
use serde::Serialize;

/// An error as the client reads it.
#[derive(Debug, Serialize)]
pub struct Problem {
    /// HTTP status.
    status: u16,
    /// What went wrong, in one line.
    title: String,
    /// Stable code, `LDB-nnnn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// PostgreSQL's code for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    sqlstate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// Place in the SQL text, in characters from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<usize>,
}

impl Problem {
    /// A problem of the request itself.
    pub fn new(status: StatusCode, title: impl Into<String>) -> Self {
        Self {
            status: status.as_u16(),
            title: title.into(),
            code: None,
            sqlstate: None,
            detail: None,
            hint: None,
            position: None,
        }
    }

    /// The same with another status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status.as_u16();
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        Self {
            status: status_of(&error.sqlstate).as_u16(),
            title: error.message,
            code: Some(error.code),
            sqlstate: Some(error.sqlstate),
            detail: error.detail,
            hint: error.hint,
            position: error.position,
        }
    }
}

/// The status that fits a class of SQLSTATE.
fn status_of(sqlstate: &str) -> StatusCode {
    match sqlstate {
        "42P01" | "42704" => StatusCode::NOT_FOUND,
        "42P07" | "42710" | "23505" | "2BP01" => StatusCode::CONFLICT,
        "57014" => StatusCode::REQUEST_TIMEOUT,
        _ => match sqlstate.get(..2) {
            Some("0A" | "21" | "22" | "23" | "25" | "2B" | "34" | "3D" | "3F" | "42" | "44" | "55") => {
                StatusCode::BAD_REQUEST
            }
            Some("53" | "57") => StatusCode::SERVICE_UNAVAILABLE,
            Some("54") => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        },
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&self).unwrap_or_else(|_| "{}".to_owned());
        (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}
