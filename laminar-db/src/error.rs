//! What a caller of the database is told when something fails.
//!
//! Invariant: every error carries a SQLSTATE and a stable code, a lowercase message with the value
//! and the limit, and a hint where the user can act.

/// A failed command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DbError {
    /// Stable code, `LDB-nnnn`.
    pub code: String,
    /// SQLSTATE, five characters.
    pub sqlstate: String,
    /// What is wrong.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// Where in the SQL text, in characters from 1.
    pub position: Option<usize>,
}

impl DbError {
    /// An error without place.
    pub fn new(code: &str, sqlstate: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            sqlstate: sqlstate.to_owned(),
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The engine has stopped or is stopping.
    pub fn stopped() -> Self {
        Self::new("LDB-4001", "57P01", "the database is shutting down")
    }

    /// A query was cancelled by its user or its connection.
    pub fn cancelled() -> Self {
        Self::new("LDB-4002", "57014", "canceling statement due to user request")
    }
}

/// How urgent a notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// `NOTICE`
    Notice,
    /// `WARNING`
    Warning,
}

/// Something a user should know though the command was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How urgent.
    pub severity: Severity,
    /// SQLSTATE, `00000` for plain notices.
    pub sqlstate: String,
    /// The message.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Notice {
    /// A plain notice.
    pub fn new(message: impl Into<String>) -> Self {
        Self { severity: Severity::Notice, sqlstate: "00000".to_owned(), message: message.into(), hint: None }
    }
}
