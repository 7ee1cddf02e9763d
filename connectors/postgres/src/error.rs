//! What can go wrong with PostgreSQL, whose fault it is and what to do.
//!
//! Invariant: every failure of the client that leaves this crate has passed [`Trouble::of`], so that
//! retrying is decided in one place; PostgreSQL's own words are always shown.

use std::error::Error as _;
use std::time::Duration;

use laminar_core::connector::{ConnectorError, Fault};
use tokio_postgres::error::DbError;

/// Characters of PostgreSQL's words that are shown: a failing row may be long.
const SHOWN: usize = 600;

/// A statement's failure.
#[derive(Debug)]
pub enum Failure {
    /// The server's answer, or the connection's end.
    Postgres(tokio_postgres::Error),
    /// No answer in this time.
    Silent(Duration),
}

/// Where something failed.
#[derive(Clone, Debug)]
pub struct Place {
    /// Host, port and database.
    pub server: String,
    /// The table, quoted.
    pub table: String,
    /// Whether its rows replace each other by a key.
    pub keyed: bool,
}

/// A failure of the PostgreSQL connector.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Trouble {
    /// An option is wrong.
    #[error("{0}")]
    Option(String),
    /// The server does not answer.
    #[error(
        "postgres at {server} cannot be reached ({reason}); check host and port and that it runs; it is tried again"
    )]
    Unreachable {
        /// The server.
        server: String,
        /// What the client says.
        reason: String,
    },
    /// The table is not there (yet).
    #[error(
        "table {table} does not exist in postgres at {server}; create it with the columns {columns}; it is looked for again"
    )]
    NoTable {
        /// The table.
        table: String,
        /// The server.
        server: String,
        /// What it must hold.
        columns: String,
    },
    /// The table cannot take these rows or markers.
    #[error("table {table} of postgres does not fit: {why}; it is looked at again")]
    Unfit {
        /// The table.
        table: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// The server forbids it.
    #[error("postgres at {server} refuses access ({reason}); {advice}")]
    Denied {
        /// The server.
        server: String,
        /// PostgreSQL's words.
        reason: String,
        /// What to do.
        advice: String,
    },
    /// A row that PostgreSQL does not take.
    #[error(
        "table {table} of postgres refuses rows ({reason}); change the table or the query, nothing is skipped: the rows are \
         tried again from time to time"
    )]
    Refused {
        /// The table.
        table: String,
        /// PostgreSQL's words.
        reason: String,
    },
    /// The server gave up a transaction that may succeed later.
    #[error("postgres at {server} has broken off the transaction on {table} ({reason}); it is tried again")]
    BrokenOff {
        /// The server.
        server: String,
        /// The table.
        table: String,
        /// PostgreSQL's words.
        reason: String,
    },
    /// Another process writes under our name.
    #[error(
        "another process writes as {name} (its life {found} has followed {own}): a copy of this data directory runs \
         elsewhere; this sink has stopped for good; run one of them only, then drop the sink and create it anew"
    )]
    Fenced {
        /// The writer's name.
        name: String,
        /// The life in the progress row.
        found: i64,
        /// Ours.
        own: i64,
    },
    /// Somebody removed our row.
    #[error("the row of {name} in {progress} is gone; leave the rows of living sinks there; it is made anew")]
    ProgressGone {
        /// The writer's name.
        name: String,
        /// The table of the markers.
        progress: String,
    },
    /// A defect of ours.
    #[error("postgres client: {0}")]
    Client(String),
}

impl Trouble {
    /// A failed statement.
    pub fn of(failure: &Failure, place: &Place) -> Self {
        let (server, table) = (place.server.clone(), place.table.clone());
        let error = match failure {
            Failure::Silent(limit) => {
                return Self::Unreachable { server, reason: format!("no answer within {limit:?}") };
            }
            Failure::Postgres(error) => error,
        };
        let Some(answer) = error.as_db_error() else {
            let reason = chain(error);
            let personal =
                ["authentication error", "invalid configuration"].iter().any(|kind| reason.starts_with(kind));
            return if personal {
                Self::Denied { server, reason, advice: "check the options user and password".into() }
            } else {
                Self::Unreachable { server, reason }
            };
        };
        let (code, reason) = (answer.code().code(), words(answer));
        match (code.get(..2).unwrap_or_default(), code) {
            ("28", _) => Self::Denied { server, reason, advice: "check user and password, and pg_hba.conf".into() },
            ("3D", _) => Self::Denied { server, reason, advice: "create the database, or name another one".into() },
            (_, "42501") => {
                let advice = format!("grant SELECT, INSERT, UPDATE and DELETE on {table} to the user of the sink");
                Self::Denied { server, reason, advice }
            }
            ("08", _) | (_, "57P01" | "57P02" | "57P03") => Self::Unreachable { server, reason },
            ("40" | "53" | "55" | "57" | "58" | "XX", _) | (_, "25006" | "25P03") => {
                Self::BrokenOff { server, table, reason }
            }
            (_, "23505") => {
                let advice = if place.keyed {
                    "a value that passes from one row to another needs its constraint DEFERRABLE INITIALLY DEFERRED"
                } else {
                    "rows of this sink are only added: state key = 'column, …' so that a row replaces the one before it, or \
                     drop the constraint"
                };
                Self::Refused { table, reason: format!("{reason}; {advice}") }
            }
            _ => Self::Refused { table, reason },
        }
    }

    const fn code(&self) -> &'static str {
        match self {
            Self::Option(_) => "LDB-6601",
            Self::Unreachable { .. } => "LDB-6602",
            Self::NoTable { .. } => "LDB-6603",
            Self::Unfit { .. } => "LDB-6604",
            Self::Denied { .. } => "LDB-6605",
            Self::Refused { .. } => "LDB-6606",
            Self::BrokenOff { .. } => "LDB-6607",
            Self::Fenced { .. } => "LDB-6608",
            Self::ProgressGone { .. } => "LDB-6609",
            Self::Client(_) => "LDB-6610",
        }
    }

    const fn fault(&self) -> Fault {
        match self {
            Self::Option(_) | Self::Unfit { .. } | Self::Denied { .. } | Self::Refused { .. } => Fault::User,
            Self::Unreachable { .. } | Self::NoTable { .. } | Self::BrokenOff { .. } | Self::ProgressGone { .. } => {
                Fault::External
            }
            Self::Fenced { .. } => Fault::Fenced,
            Self::Client(_) => Fault::Internal,
        }
    }
}

/// An error with its causes.
fn chain(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// What PostgreSQL says, with its code first.
fn words(answer: &DbError) -> String {
    let parts = [Some(answer.message()), answer.detail(), answer.hint()];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
    let shown: String = text.chars().take(SHOWN).collect();
    format!("{}: {shown}{}", answer.code().code(), if shown.len() < text.len() { "…" } else { "" })
}

impl From<Trouble> for ConnectorError {
    fn from(trouble: Trouble) -> Self {
        Self { code: trouble.code(), fault: trouble.fault(), message: trouble.to_string() }
    }
}
