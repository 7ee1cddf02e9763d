//! CREATE and DROP.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::columns::{self, Columns};
use super::cursor::Cursor;
use super::statement::{
    CreateQuery, CreateSink, CreateSource, CreateTable, Drop, Existing, FormatClause, Given, RelationKind, SinkInput,
    StatementKind,
};
use super::{emit, options};
use crate::error::{Kind, SqlError};

/// Reads what follows CREATE.
pub(super) fn create(cursor: &mut Cursor) -> Result<StatementKind, SqlError> {
    let at = cursor.here();
    let replace = cursor.accept(&["OR", "REPLACE"]);
    for word in ["TEMPORARY", "TEMP", "UNLOGGED"] {
        if cursor.looking_at(&[word]) {
            return Err(SqlError::unsupported(format!("CREATE {word}"), "leave the word out").at(at));
        }
    }
    if cursor.accept(&["SOURCE"]) || cursor.looking_at(&["EXTERNAL", "TABLE"]) && cursor.accept(&["EXTERNAL", "TABLE"])
    {
        return source_or_table(cursor, replace, RelationKind::Source);
    }
    if cursor.accept(&["TABLE"]) {
        return source_or_table(cursor, replace, RelationKind::Table);
    }
    if cursor.accept(&["STREAM"]) {
        return query(cursor, replace, RelationKind::Stream);
    }
    if cursor.accept(&["MATERIALIZED", "VIEW"]) {
        return query(cursor, replace, RelationKind::View);
    }
    if cursor.accept(&["SINK"]) {
        return sink(cursor, replace);
    }
    if cursor.looking_at(&["VIEW"]) {
        return Err(SqlError::unsupported(
            "CREATE VIEW",
            "CREATE MATERIALIZED VIEW keeps the result and serves it; CREATE STREAM keeps nothing",
        )
        .at(at));
    }
    if cursor.looking_at(&["LOOKUP", "TABLE"]) {
        return Err(SqlError::unsupported("CREATE LOOKUP TABLE", "load the rows into a TABLE").at(at));
    }
    if let Some(word) = cursor.word() {
        return Err(SqlError::unsupported(
            format!("CREATE {word}"),
            "CREATE SOURCE, TABLE, STREAM, MATERIALIZED VIEW and SINK exist",
        )
        .at(at));
    }
    Err(cursor.unexpected("SOURCE, TABLE, STREAM, MATERIALIZED VIEW or SINK"))
}

fn existing(cursor: &mut Cursor, replace: bool) -> Result<Existing, SqlError> {
    let at = cursor.here();
    if cursor.accept(&["IF", "NOT", "EXISTS"]) {
        if replace {
            return Err(
                SqlError::new(Kind::Syntax, "syntax error: OR REPLACE and IF NOT EXISTS exclude each other").at(at)
            );
        }
        return Ok(Existing::Keep);
    }
    Ok(if replace { Existing::Replace } else { Existing::Refuse })
}

/// The clauses after the columns, in any order.
#[derive(Default)]
struct Connection {
    connector: Option<String>,
    options: Vec<Given>,
    format: Option<FormatClause>,
}

impl Connection {
    fn read(cursor: &mut Cursor, word: &str) -> Result<Self, SqlError> {
        let mut all = Self::default();
        loop {
            if cursor.looking_at(&[word]) && all.connector.is_none() {
                cursor.next();
                let (name, mut options) = options::connector(cursor)?;
                all.connector = Some(name);
                all.options.append(&mut options);
            } else if cursor.looking_at(&["WITH"]) && cursor.peek_at(1) == Token::LParen {
                all.options.append(&mut options::with(cursor)?);
            } else if cursor.looking_at(&["FORMAT"]) && all.format.is_none() {
                all.format = options::format(cursor)?;
            } else {
                return Ok(all);
            }
        }
    }
}

fn source_or_table(cursor: &mut Cursor, replace: bool, kind: RelationKind) -> Result<StatementKind, SqlError> {
    let existing = existing(cursor, replace)?;
    let at = cursor.here();
    let name = cursor.object()?;
    if cursor.looking_at(&["AS"]) {
        return Err(SqlError::unsupported("CREATE TABLE … AS", "CREATE MATERIALIZED VIEW … AS keeps a query's result")
            .at(cursor.here()));
    }
    let mut list = if cursor.peek() == Token::LParen { Columns::read(cursor)? } else { Columns::default() };
    columns::include(cursor, &mut list.columns)?;
    let mut connection = Connection::read(cursor, "FROM")?;
    columns::include(cursor, &mut list.columns)?;
    let more = Connection::read(cursor, "FROM")?;
    connection.connector = connection.connector.or(more.connector);
    connection.options.extend(more.options);
    connection.format = connection.format.or(more.format);
    if cursor.looking_at(&["ON", "ERROR"]) {
        return Err(
            SqlError::unsupported("ON ERROR", "records that do not decode are skipped and counted").at(cursor.here())
        );
    }
    cursor.finish()?;
    let Columns { columns, primary_key, watermark } = list;
    let Connection { connector, options, format } = connection;
    let connected = connector.is_some() || options.iter().any(|o| o.key.eq_ignore_ascii_case("connector"));
    if kind == RelationKind::Table && !connected {
        if let Some(given) = options.first() {
            return Err(SqlError::new(Kind::InvalidOption, format!("a table has no option \"{}\"", given.key))
                .hint("a table with connector = '…' is a source; CREATE SOURCE without a connector is a push source")
                .at(given.at));
        }
        return Ok(StatementKind::CreateTable(CreateTable {
            name,
            existing,
            columns,
            primary_key,
            options,
            watermark,
            at,
        }));
    }
    Ok(StatementKind::CreateSource(CreateSource {
        name,
        existing,
        columns,
        primary_key,
        watermark,
        connector,
        options,
        format,
        at,
    }))
}

fn query(cursor: &mut Cursor, replace: bool, kind: RelationKind) -> Result<StatementKind, SqlError> {
    let existing = existing(cursor, replace)?;
    let at = cursor.here();
    let name = cursor.object()?;
    let columns = if cursor.peek() == Token::LParen { cursor.parenthesised(Cursor::name)? } else { Vec::new() };
    let mut options = options::with(cursor)?;
    cursor.expect(&["AS"])?;
    let query = emit::query(cursor)?;
    let tail = emit::tail(cursor)?;
    options.append(&mut options::with(cursor)?);
    cursor.finish()?;
    Ok(StatementKind::CreateQuery(CreateQuery { kind, name, existing, columns, options, query, tail, at }))
}

fn sink(cursor: &mut Cursor, replace: bool) -> Result<StatementKind, SqlError> {
    let existing = existing(cursor, replace)?;
    let at = cursor.here();
    let name = cursor.object()?;
    let mut before = Connection::read(cursor, "INTO")?;
    let input = if cursor.accept(&["FROM"]) {
        SinkInput::Object(cursor.object()?)
    } else if cursor.accept(&["AS"]) {
        let query = emit::query(cursor)?;
        SinkInput::Query(query, emit::tail(cursor)?)
    } else {
        return Err(cursor.unexpected("FROM or AS SELECT"));
    };
    let after = Connection::read(cursor, "INTO")?;
    cursor.finish()?;
    before.options.extend(after.options);
    Ok(StatementKind::CreateSink(CreateSink {
        name,
        existing,
        input,
        connector: before.connector.or(after.connector),
        options: before.options,
        format: before.format.or(after.format),
        at,
    }))
}

/// Reads what follows DROP.
pub(super) fn drop(cursor: &mut Cursor) -> Result<StatementKind, SqlError> {
    let at = cursor.here();
    let kind = if cursor.accept(&["SOURCE"]) {
        RelationKind::Source
    } else if cursor.accept(&["TABLE"]) {
        RelationKind::Table
    } else if cursor.accept(&["STREAM"]) {
        RelationKind::Stream
    } else if cursor.accept(&["MATERIALIZED", "VIEW"]) {
        RelationKind::View
    } else if cursor.accept(&["SINK"]) {
        RelationKind::Sink
    } else if let Some(word) = cursor.word() {
        return Err(SqlError::unsupported(
            format!("DROP {word}"),
            "DROP SOURCE, TABLE, STREAM, MATERIALIZED VIEW and SINK exist",
        )
        .at(at));
    } else {
        return Err(cursor.unexpected("SOURCE, TABLE, STREAM, MATERIALIZED VIEW or SINK"));
    };
    let if_exists = cursor.accept(&["IF", "EXISTS"]);
    let names = cursor.comma_separated(|c| {
        let at = c.here();
        Ok((c.object()?, at))
    })?;
    let cascade = cursor.accept(&["CASCADE"]);
    if !cascade {
        cursor.accept(&["RESTRICT"]);
    }
    cursor.finish()?;
    Ok(StatementKind::Drop(Drop { kind, names, if_exists, cascade }))
}
