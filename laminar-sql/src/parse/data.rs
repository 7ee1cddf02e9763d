//! INSERT, COPY, SUBSCRIBE.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::statement::{Conflict, CopyFormat, CopyIn, Insert, StatementKind, Subscribe, SubscribeTarget};
use super::{emit, options};
use crate::error::{Kind, SqlError};

fn columns(cursor: &mut Cursor) -> Result<Vec<(String, super::Location)>, SqlError> {
    if cursor.peek() != Token::LParen {
        return Ok(Vec::new());
    }
    cursor.parenthesised(|c| {
        let at = c.here();
        Ok((c.name()?, at))
    })
}

/// Reads what follows INSERT.
pub(super) fn insert(cursor: &mut Cursor) -> Result<StatementKind, SqlError> {
    cursor.expect(&["INTO"])?;
    let at = cursor.here();
    let target = cursor.object()?;
    let columns = if matches!(cursor.peek_at(1), Token::Word(ref w) if is_query_word(&w.value)) {
        Vec::new()
    } else {
        columns(cursor)?
    };
    if cursor.looking_at(&["DEFAULT", "VALUES"]) {
        return Err(SqlError::unsupported("DEFAULT VALUES", "columns have no defaults").at(cursor.here()));
    }
    let query = emit::query(cursor)?;
    let mut conflict = (Vec::new(), Conflict::Error, Vec::new());
    if cursor.accept(&["ON", "CONFLICT"]) {
        conflict = on_conflict(cursor)?;
    }
    let tail = emit::tail(cursor)?;
    if cursor.looking_at(&["RETURNING"]) {
        return Err(SqlError::unsupported("RETURNING", "SELECT the rows afterwards").at(cursor.here()));
    }
    cursor.finish()?;
    let (conflict_columns, conflict, updated) = conflict;
    Ok(StatementKind::Insert(Insert { target, columns, query, tail, conflict_columns, conflict, updated, at }))
}

fn is_query_word(word: &str) -> bool {
    ["SELECT", "WITH", "VALUES"].iter().any(|w| word.eq_ignore_ascii_case(w))
}

fn on_conflict(cursor: &mut Cursor) -> Result<(Vec<String>, Conflict, Vec<String>), SqlError> {
    let target = if cursor.peek() == Token::LParen { cursor.parenthesised(Cursor::name)? } else { Vec::new() };
    cursor.expect(&["DO"])?;
    if cursor.accept(&["NOTHING"]) {
        return Ok((target, Conflict::Nothing, Vec::new()));
    }
    cursor.expect(&["UPDATE", "SET"])?;
    let updated = cursor.comma_separated(|c| {
        let at = c.here();
        let column = c.name()?;
        c.expect_token(&Token::Eq)?;
        if !c.accept(&["EXCLUDED"]) || !c.accept_token(&Token::Period) || c.name()? != column {
            return Err(SqlError::unsupported(
                "ON CONFLICT DO UPDATE with another value than EXCLUDED's",
                format!("write {column} = excluded.{column} for every column outside the key"),
            )
            .at(at));
        }
        Ok(column)
    })?;
    if cursor.looking_at(&["WHERE"]) {
        return Err(SqlError::unsupported("WHERE in ON CONFLICT DO UPDATE", "leave it out").at(cursor.here()));
    }
    Ok((target, Conflict::Replace, updated))
}

/// Reads what follows COPY.
pub(super) fn copy(cursor: &mut Cursor) -> Result<StatementKind, SqlError> {
    let at = cursor.here();
    if cursor.accept_token(&Token::LParen) {
        let inner = if cursor.accept(&["SUBSCRIBE"]) || cursor.accept(&["TAIL"]) {
            Err(subscribe_target(cursor)?)
        } else {
            Ok(emit::query(cursor)?)
        };
        cursor.expect_token(&Token::RParen)?;
        cursor.expect(&["TO", "STDOUT"])?;
        let format = copy_format(cursor)?;
        cursor.finish()?;
        return Ok(match inner {
            Ok(query) => StatementKind::CopyQuery { query, format },
            Err(subscribe) => StatementKind::CopySubscribe { subscribe, format },
        });
    }
    let target = cursor.object()?;
    let columns = columns(cursor)?;
    if cursor.accept(&["TO"]) {
        return Err(SqlError::unsupported("COPY object TO", "write COPY (SELECT * FROM object) TO STDOUT").at(at));
    }
    cursor.expect(&["FROM"])?;
    if !cursor.accept(&["STDIN"]) {
        return Err(SqlError::unsupported("COPY FROM a file or program", "use COPY … FROM STDIN (\\copy in psql)")
            .at(cursor.here()));
    }
    let format = copy_format(cursor)?;
    cursor.finish()?;
    Ok(StatementKind::CopyIn(CopyIn { target, columns, format, at }))
}

fn copy_format(cursor: &mut Cursor) -> Result<CopyFormat, SqlError> {
    let mut format =
        CopyFormat { csv: false, header: false, delimiter: '\t', null: "\\N".into(), quote: '"', escape: '"' };
    let mut delimiter = None;
    let mut null = None;
    cursor.accept(&["WITH"]);
    let listed = cursor.accept_token(&Token::LParen);
    while let Some(word) = cursor.word() {
        let at = cursor.here();
        cursor.next();
        match word.as_str() {
            "FORMAT" => match options::value(cursor)?.to_lowercase().as_str() {
                "csv" => format.csv = true,
                "text" => format.csv = false,
                other => return Err(SqlError::unsupported(format!("COPY format {other}"), "use csv or text").at(at)),
            },
            "CSV" => format.csv = true,
            "HEADER" => {
                let off = !matches!(cursor.peek(), Token::Comma | Token::RParen | Token::EOF)
                    && listed
                    && !["true", "on", "1"].contains(&options::value(cursor)?.as_str());
                format.header = !off;
            }
            "DELIMITER" => {
                cursor.accept(&["AS"]);
                delimiter = Some(one_char(cursor)?);
            }
            "NULL" => {
                cursor.accept(&["AS"]);
                null = Some(cursor.text()?);
            }
            "QUOTE" => format.quote = one_char(cursor)?,
            "ESCAPE" => format.escape = one_char(cursor)?,
            "ENCODING" => {
                let name = cursor.text()?;
                if !["utf8", "utf-8", "unicode"].contains(&name.to_lowercase().as_str()) {
                    return Err(SqlError::unsupported(format!("encoding {name}"), "send UTF8").at(at));
                }
            }
            other => {
                return Err(SqlError::unsupported(
                    format!("COPY option {other}"),
                    "FORMAT, HEADER, DELIMITER, NULL, QUOTE and ESCAPE exist",
                )
                .at(at));
            }
        }
        if listed && !cursor.accept_token(&Token::Comma) {
            break;
        }
    }
    if listed {
        cursor.expect_token(&Token::RParen)?;
    }
    if format.csv {
        format.delimiter = ',';
        format.null = String::new();
    }
    format.delimiter = delimiter.unwrap_or(format.delimiter);
    format.null = null.unwrap_or(format.null);
    Ok(format)
}

fn one_char(cursor: &mut Cursor) -> Result<char, SqlError> {
    let at = cursor.here();
    let text = cursor.text()?;
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) => Ok(c),
        _ => Err(SqlError::new(Kind::InvalidOption, format!("'{text}' is not one character")).at(at)),
    }
}

/// Reads what follows SUBSCRIBE.
pub(super) fn subscribe(cursor: &mut Cursor) -> Result<StatementKind, SqlError> {
    let made = subscribe_target(cursor)?;
    cursor.finish()?;
    Ok(StatementKind::Subscribe(made))
}

fn subscribe_target(cursor: &mut Cursor) -> Result<Subscribe, SqlError> {
    cursor.accept(&["TO"]);
    let at = cursor.here();
    let target = if cursor.accept_token(&Token::LParen) {
        let query = emit::query(cursor)?;
        emit::tail(cursor)?;
        cursor.expect_token(&Token::RParen)?;
        SubscribeTarget::Query(query)
    } else if cursor.looking_at(&["SELECT"]) {
        SubscribeTarget::Query(emit::query(cursor)?)
    } else {
        SubscribeTarget::Object(cursor.object()?)
    };
    let mut as_of = None;
    if cursor.accept(&["AS", "OF", "EPOCH"]) {
        let place = cursor.here();
        as_of = Some(options::value(cursor)?.parse().map_err(|_| {
            SqlError::new(Kind::Syntax, "syntax error: an epoch is a whole number (column laminar_epoch)").at(place)
        })?);
    }
    let given = options::with(cursor)?;
    Ok(Subscribe { target, as_of, options: given, at })
}
