//! Cuts off what our dialect lets follow a query: EMIT, ALLOW LATENESS, WITH (…), FORMAT, INTO.
//!
//! sqlparser would read `FROM t EMIT …` as an alias, so the tail is found among the tokens, at
//! parenthesis depth 0, before the query is parsed.

use datafusion::sql::sqlparser::ast::Query;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::cursor::{Cursor, is_word};
use super::statement::{EmitClause, QueryTail};
use crate::error::SqlError;

/// First words of tails, longest match not needed: each is refused as an alias by what follows it.
const TAILS: &[&[&str]] = &[
    &["EMIT", "ON"],
    &["EMIT", "CHANGES"],
    &["EMIT", "CHANGELOG"],
    &["EMIT", "FINAL"],
    &["EMIT", "AFTER"],
    &["EMIT", "EVERY"],
    &["EMIT", "PERIODIC"],
    &["EMIT", "PERIODICALLY"],
    &["ALLOW", "LATENESS"],
    &["LATE", "DATA", "TO"],
    &["ON", "CONFLICT"],
    &["ON", "ERROR"],
    &["ON", "DUPLICATE"],
    &["AS", "OF", "EPOCH"],
    &["RETURNING"],
    &["FORMAT", "PLAIN"],
    &["FORMAT", "JSON"],
    &["FORMAT", "CSV"],
    &["FORMAT", "UPSERT"],
    &["FORMAT", "DEBEZIUM"],
];

/// Reads a query up to its tail or the end of the statement.
pub(super) fn query(cursor: &mut Cursor) -> Result<Box<Query>, SqlError> {
    let mut tokens: Vec<TokenWithSpan> = Vec::new();
    let mut depth = 0usize;
    loop {
        if cursor.at_end() {
            break;
        }
        let next = cursor.peek();
        if depth == 0 && (next == Token::RParen || (!tokens.is_empty() && begins_tail(cursor))) {
            break;
        }
        match next {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
            _ => {}
        }
        let drop_it = is_word(&next, "TABLE") && is_table_argument(cursor, tokens.last());
        let token = cursor.next();
        if !drop_it {
            tokens.push(token);
        }
    }
    if tokens.is_empty() {
        return Err(cursor.unexpected("SELECT"));
    }
    refuse_by_name(&tokens)?;
    let mut inner = Cursor::new(tokens);
    let query = inner.query()?;
    inner.finish()?;
    Ok(query)
}

/// `TUMBLE(TABLE s, …)`: the word TABLE says nothing more than the name after it.
fn is_table_argument(cursor: &Cursor, before: Option<&TokenWithSpan>) -> bool {
    before.is_some_and(|t| t.token == Token::LParen)
        && matches!(cursor.peek_at(1), Token::Word(_))
        && matches!(cursor.peek_at(2), Token::Comma | Token::Period | Token::RParen)
}

fn begins_tail(cursor: &Cursor) -> bool {
    if TAILS.iter().any(|words| cursor.looking_at(words)) {
        return true;
    }
    (is_word(&cursor.peek(), "WITH") && cursor.peek_at(1) == Token::LParen)
        || (is_word(&cursor.peek(), "INTO")
            && matches!(cursor.peek_at(1), Token::Word(_))
            && cursor.peek_at(2) == Token::LParen)
}

/// Forms that sqlparser would read as something else or refuse without their name.
fn refuse_by_name(tokens: &[TokenWithSpan]) -> Result<(), SqlError> {
    const NAMED: &[(&[&str], &str, &str)] = &[
        (&["FOR", "SYSTEM_TIME"], "FOR SYSTEM_TIME AS OF (a temporal join)", "join in the application for now"),
        (&["ASOF", "JOIN"], "ASOF JOIN", "join in the application for now"),
        (&["WINDOW", "TUMBLING"], "WINDOW TUMBLING (…)", "write GROUP BY TUMBLE(ts, INTERVAL '1 minute')"),
        (&["WINDOW", "HOPPING"], "WINDOW HOPPING (…)", "write GROUP BY HOP(ts, slide, size)"),
        (&["WINDOW", "SESSION"], "WINDOW SESSION (…)", "use TUMBLE or HOP"),
        (&["MATCH_RECOGNIZE"], "MATCH_RECOGNIZE", ""),
    ];
    let significant: Vec<&TokenWithSpan> = tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).collect();
    for (i, token) in significant.iter().enumerate() {
        for (words, name, hint) in NAMED {
            let here = words
                .iter()
                .enumerate()
                .all(|(k, word)| significant.get(i + k).is_some_and(|t| is_word(&t.token, word)));
            if here {
                return Err(SqlError::unsupported(name, *hint).at(token.span.start.into()));
            }
        }
    }
    Ok(())
}

/// Reads EMIT, ALLOW LATENESS and LATE DATA TO, in any order, each at most once.
pub(super) fn tail(cursor: &mut Cursor) -> Result<QueryTail, SqlError> {
    let mut tail = QueryTail::default();
    loop {
        let at = cursor.here();
        if cursor.accept(&["EMIT"]) {
            if tail.emit.is_some() {
                return Err(cursor.unexpected("one EMIT clause only"));
            }
            tail.emit = Some((emit(cursor, at)?, at));
        } else if cursor.accept(&["ALLOW", "LATENESS"]) {
            if tail.lateness.is_some() {
                return Err(cursor.unexpected("one ALLOW LATENESS clause only"));
            }
            tail.lateness = Some((Box::new(cursor.expr()?), at));
        } else if cursor.looking_at(&["LATE", "DATA", "TO"]) {
            return Err(SqlError::unsupported(
                "LATE DATA TO",
                "late rows are dropped and counted (rows_late_dropped); ALLOW LATENESS keeps windows open longer",
            )
            .at(at));
        } else if cursor.looking_at(&["ON", "ERROR"]) {
            return Err(SqlError::unsupported("ON ERROR", "rows that fail are skipped and counted").at(at));
        } else {
            return Ok(tail);
        }
    }
}

fn emit(cursor: &mut Cursor, at: super::Location) -> Result<EmitClause, SqlError> {
    for (words, clause) in [
        (&["ON", "WINDOW", "CLOSE"][..], EmitClause::OnWindowClose),
        (&["ON", "WATERMARK"], EmitClause::OnWindowClose),
        (&["AFTER", "WATERMARK"], EmitClause::OnWindowClose),
        (&["FINAL"], EmitClause::OnWindowClose),
        (&["ON", "UPDATE"], EmitClause::OnUpdate),
        (&["CHANGES"], EmitClause::Changes),
        (&["CHANGELOG"], EmitClause::Changes),
    ] {
        if cursor.accept(words) {
            return Ok(clause);
        }
    }
    if cursor.looking_at(&["EVERY"]) || cursor.looking_at(&["PERIODIC"]) || cursor.looking_at(&["PERIODICALLY"]) {
        return Err(SqlError::unsupported(
            "EMIT EVERY",
            "use EMIT ON UPDATE: changed groups leave with each epoch (20 ms by default)",
        )
        .at(at));
    }
    Err(cursor.unexpected("ON WINDOW CLOSE, ON UPDATE or CHANGES"))
}
