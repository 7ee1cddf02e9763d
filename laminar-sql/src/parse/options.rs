//! WITH (…), FROM KAFKA (…), INTO KAFKA (…), FORMAT … ENCODE ….

use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::split::Location;
use super::statement::FormatClause;
use crate::error::SqlError;

/// One `key = value` of WITH (…).
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// The key as written, unquoted keys in lower case.
    pub key: String,
    /// The value as text.
    pub value: String,
    /// The key's place.
    pub at: Location,
}

/// `( key = value, … )`; the list may be empty.
pub(super) fn list(cursor: &mut Cursor) -> Result<Vec<Given>, SqlError> {
    cursor.expect_token(&Token::LParen)?;
    if cursor.accept_token(&Token::RParen) {
        return Ok(Vec::new());
    }
    let all = cursor.comma_separated(given)?;
    cursor.expect_token(&Token::RParen)?;
    Ok(all)
}

/// `WITH ( … )` if it comes next.
pub(super) fn with(cursor: &mut Cursor) -> Result<Vec<Given>, SqlError> {
    if cursor.looking_at(&["WITH"]) && cursor.peek_at(1) == Token::LParen {
        cursor.expect(&["WITH"])?;
        return list(cursor);
    }
    Ok(Vec::new())
}

/// `KAFKA ( … )` after FROM or INTO.
pub(super) fn connector(cursor: &mut Cursor) -> Result<(String, Vec<Given>), SqlError> {
    let name = cursor.name()?.to_lowercase();
    let options = if cursor.peek() == Token::LParen { list(cursor)? } else { Vec::new() };
    Ok((name, options))
}

/// `FORMAT PLAIN ENCODE JSON (…)`, `FORMAT JSON`.
pub(super) fn format(cursor: &mut Cursor) -> Result<Option<FormatClause>, SqlError> {
    if !cursor.accept(&["FORMAT"]) {
        return Ok(None);
    }
    let format = cursor.name()?.to_lowercase();
    let encode = if cursor.accept(&["ENCODE"]) { Some(cursor.name()?.to_lowercase()) } else { None };
    let options = if cursor.peek() == Token::LParen { list(cursor)? } else { Vec::new() };
    Ok(Some(FormatClause { format, encode, options }))
}

fn given(cursor: &mut Cursor) -> Result<Given, SqlError> {
    let at = cursor.here();
    let mut key = key_part(cursor)?;
    while cursor.accept_token(&Token::Period) {
        key.push('.');
        key.push_str(&key_part(cursor)?);
    }
    if !cursor.accept_token(&Token::Eq) && !cursor.accept_token(&Token::RArrow) {
        return Err(cursor.unexpected("'='"));
    }
    let value = value(cursor)?;
    Ok(Given { key, value, at })
}

fn key_part(cursor: &mut Cursor) -> Result<String, SqlError> {
    match cursor.peek() {
        Token::SingleQuotedString(s) => {
            cursor.next();
            Ok(s)
        }
        Token::Word(w) => {
            cursor.next();
            Ok(if w.quote_style.is_some() { w.value } else { w.value.to_lowercase() })
        }
        _ => Err(cursor.unexpected("the name of an option")),
    }
}

/// A literal as text: `'x'`, `12`, `-1.5`, `true`, a bare word, `INTERVAL '1 minute'`.
pub(super) fn value(cursor: &mut Cursor) -> Result<String, SqlError> {
    cursor.accept(&["INTERVAL"]);
    match cursor.peek() {
        Token::SingleQuotedString(_) | Token::EscapedStringLiteral(_) | Token::DollarQuotedString(_) => {
            let mut text = cursor.text()?;
            if let Some(unit) = cursor.word().filter(|w| is_unit(w)) {
                cursor.next();
                text = format!("{text} {}", unit.to_lowercase());
            }
            Ok(text)
        }
        Token::Number(number, _) => {
            cursor.next();
            Ok(number)
        }
        Token::Minus | Token::Plus => {
            let sign = if cursor.next().token == Token::Minus { "-" } else { "" };
            match cursor.peek() {
                Token::Number(number, _) => {
                    cursor.next();
                    Ok(format!("{sign}{number}"))
                }
                _ => Err(cursor.unexpected("a number")),
            }
        }
        Token::Word(w) => {
            cursor.next();
            Ok(if w.quote_style.is_some() { w.value } else { w.value.to_lowercase() })
        }
        _ => Err(cursor.unexpected("a value")),
    }
}

fn is_unit(word: &str) -> bool {
    matches!(
        word,
        "MILLISECOND"
            | "MILLISECONDS"
            | "SECOND"
            | "SECONDS"
            | "MINUTE"
            | "MINUTES"
            | "HOUR"
            | "HOURS"
            | "DAY"
            | "DAYS"
    )
}
