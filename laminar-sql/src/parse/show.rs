//! SHOW, DESCRIBE, EXPLAIN.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::split::Piece;
use super::statement::{Explain, ExplainFormat, RelationKind, Show, Statement, StatementKind};
use crate::error::SqlError;

/// Reads what follows SHOW or LIST.
pub(super) fn show(cursor: &mut Cursor) -> Result<StatementKind, SqlError> {
    let at = cursor.here();
    let made = if cursor.accept(&["SOURCES"]) {
        Show::Objects(RelationKind::Source)
    } else if cursor.accept(&["TABLES"]) {
        Show::Objects(RelationKind::Table)
    } else if cursor.accept(&["STREAMS"]) {
        Show::Objects(RelationKind::Stream)
    } else if cursor.accept(&["MATERIALIZED", "VIEWS"]) || cursor.accept(&["VIEWS"]) {
        Show::Objects(RelationKind::View)
    } else if cursor.accept(&["SINKS"]) {
        Show::Objects(RelationKind::Sink)
    } else if cursor.accept(&["PIPELINES"]) || cursor.accept(&["QUERIES"]) {
        Show::Pipelines
    } else if cursor.accept(&["CHECKPOINTS"]) {
        Show::Checkpoints
    } else if cursor.accept(&["FUNCTIONS"]) {
        Show::Functions
    } else if cursor.accept(&["CONNECTORS"]) {
        Show::Connectors
    } else if cursor.accept(&["PLAN", "COVERAGE"]) {
        cursor.accept(&["FOR"]);
        let at = cursor.here();
        Show::PlanCoverage(if cursor.at_end() { None } else { Some((cursor.object()?, at)) })
    } else if cursor.accept(&["COLUMNS"]) {
        if !cursor.accept(&["FROM"]) {
            cursor.expect(&["IN"])?;
        }
        let at = cursor.here();
        Show::Columns(cursor.object()?, at)
    } else if cursor.accept(&["CREATE"]) {
        for words in [&["SOURCE"][..], &["TABLE"], &["STREAM"], &["MATERIALIZED", "VIEW"], &["VIEW"], &["SINK"]] {
            if cursor.accept(words) {
                break;
            }
        }
        let at = cursor.here();
        Show::Create(cursor.object()?, at)
    } else if cursor.accept(&["ALL"]) {
        Show::AllSettings
    } else if cursor.accept(&["TIME", "ZONE"]) {
        Show::Setting("timezone".into(), at)
    } else if cursor.accept(&["TRANSACTION", "ISOLATION", "LEVEL"]) {
        Show::Setting("transaction_isolation".into(), at)
    } else {
        Show::Setting(super::admin::setting_name(cursor)?, at)
    };
    cursor.finish()?;
    Ok(StatementKind::Show(made))
}

/// Reads what follows DESCRIBE.
pub(super) fn describe(cursor: &mut Cursor) -> Result<StatementKind, SqlError> {
    for words in [&["SOURCE"][..], &["TABLE"], &["STREAM"], &["MATERIALIZED", "VIEW"], &["SINK"]] {
        if cursor.looking_at(words) && matches!(cursor.peek_at(words.len()), Token::Word(_)) {
            cursor.accept(words);
            break;
        }
    }
    let at = cursor.here();
    let object = cursor.object()?;
    cursor.finish()?;
    Ok(StatementKind::Describe { object, at })
}

/// Reads what follows EXPLAIN; `piece` holds the rest of its text for the statement inside.
pub(super) fn explain(cursor: &mut Cursor, piece: &Piece) -> Result<StatementKind, SqlError> {
    let at = cursor.here();
    if cursor.accept(&["WATERMARK"]) {
        cursor.accept(&["FOR"]);
        let at = cursor.here();
        let object = cursor.object()?;
        cursor.finish()?;
        return Ok(StatementKind::Explain(Explain::Watermark(object, at)));
    }
    if cursor.looking_at(&["ANALYZE"]) {
        return Err(
            SqlError::unsupported("EXPLAIN ANALYZE", "the metrics laminar_operator_* count rows per operator").at(at)
        );
    }
    let mut format = ExplainFormat::Text;
    if cursor.peek() == Token::LParen && super::cursor::is_word(&cursor.peek_at(1), "FORMAT") {
        cursor.expect_token(&Token::LParen)?;
        cursor.expect(&["FORMAT"])?;
        format = if cursor.accept(&["JSON"]) {
            ExplainFormat::Json
        } else {
            cursor.expect(&["TEXT"])?;
            ExplainFormat::Text
        };
        cursor.expect_token(&Token::RParen)?;
    }
    cursor.accept(&["VERBOSE"]);
    let start = cursor.here();
    if matches!(cursor.peek(), Token::Word(_))
        && (cursor.peek_at(1) == Token::EOF || (cursor.peek_at(1) == Token::Period && cursor.peek_at(3) == Token::EOF))
    {
        let name = cursor.object()?;
        return Ok(StatementKind::Explain(Explain::Object(name, format, start)));
    }
    let tokens: Vec<_> =
        piece.tokens.iter().skip_while(|t| super::Location::from(t.span.start) != start).cloned().collect();
    if tokens.is_empty() {
        return Err(cursor.unexpected("a statement or an object"));
    }
    let text = tail_text(&piece.text, piece.start, start);
    let before = piece.before + piece.text.chars().count() - text.chars().count();
    let kind = super::admin::statement(Piece { tokens, text: text.clone(), start, before })?;
    Ok(StatementKind::Explain(Explain::Statement(Box::new(Statement { kind, text, start, before }), format)))
}

/// The part of a text that begins at `from`, where the text itself begins at `start`.
fn tail_text(text: &str, start: super::Location, from: super::Location) -> String {
    let mut line = start.line;
    let mut column = start.column;
    for (byte, c) in text.char_indices() {
        if line == from.line && column == from.column {
            return text[byte..].to_owned();
        }
        if c == '\n' {
            line += 1;
            column = 1;
        } else {
            column += 1;
        }
    }
    String::new()
}
