//! From text to statements.
//!
//! Statements of our own are read from sqlparser's tokens; bodies of queries go to sqlparser. Limits
//! on length, nesting and number of tokens come first. Invariant: each statement keeps its own text
//! and each error its place in the text that was given.

mod admin;
mod columns;
mod create;
mod cursor;
mod data;
mod emit;
mod options;
mod show;
mod split;
mod statement;

pub(crate) use cursor::fold;
pub(crate) use split::LineMap;
pub use split::Location;
pub use statement::{
    AdvanceWatermark, AlterQuery, ColumnDef, ColumnOrigin, Conflict, CopyFormat, CopyIn, CreateQuery, CreateSink,
    CreateSource, CreateTable, Drop, EmitClause, Existing, Explain, ExplainFormat, FormatClause, Given, Insert,
    QueryTail, RelationKind, Show, SinkInput, Statement, StatementKind, Subscribe, SubscribeTarget, WatermarkClause,
};

use datafusion::sql::sqlparser::parser::ParserError;

use crate::error::{Kind, SqlError};

/// Parses a text of one or more statements, separated by semicolons. Empty statements are left out.
///
/// # Errors
/// [`Kind::Syntax`] with the position, [`Kind::TooComplex`], [`Kind::Unsupported`].
pub fn parse(sql: &str) -> Result<Vec<Statement>, SqlError> {
    let map = split::LineMap::new(sql);
    split::statements(sql, &map)
        .and_then(|pieces| {
            pieces
                .into_iter()
                .map(|piece| {
                    let text = piece.text.clone();
                    let (start, before) = (piece.start, piece.before);
                    let kind = admin::statement(piece)?;
                    Ok(Statement { kind, text, start, before })
                })
                .collect()
        })
        .map_err(|e: SqlError| map.place(e))
}

/// Turns sqlparser's error into ours; the place is read from its text.
pub(crate) fn from_parser(error: &ParserError) -> SqlError {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.as_str(),
        ParserError::RecursionLimitExceeded => {
            return SqlError::new(Kind::TooComplex, "the statement is nested too deeply")
                .hint("split it into several views or CTEs");
        }
    };
    let (message, location) = match text.rfind(" at Line: ") {
        Some(at) => (&text[..at], split::Location::read(&text[at..])),
        None => (text, None),
    };
    let message = match message.strip_prefix("Expected: ") {
        Some(rest) => format!("syntax error: expected {rest}"),
        None => format!("syntax error: {message}"),
    };
    let made = SqlError::new(Kind::Syntax, message);
    match location {
        Some(location) => made.at(location),
        None => made,
    }
}
