//! Tells statements apart by their first words, and reads the short ones: transactions, settings,
//! CHECKPOINT, FLUSH, ADVANCE WATERMARK, ALTER … SET, PAUSE, RESUME.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::split::Piece;
use super::statement::{AdvanceWatermark, AlterQuery, RelationKind, StatementKind};
use super::{create, data, emit, options, show};
use crate::error::{Kind, SqlError};

/// Statements of PostgreSQL and of peers that are refused by name, with what to do instead.
const REFUSED: &[(&[&str], &str)] = &[
    (&["UPDATE"], "INSERT … ON CONFLICT (key) DO UPDATE replaces a row of a table"),
    (&["DELETE"], "rows of a table can be replaced, not deleted yet"),
    (&["MERGE"], "INSERT … ON CONFLICT (key) DO UPDATE replaces a row of a table"),
    (&["TRUNCATE"], "DROP TABLE and CREATE TABLE again"),
    (&["DECLARE"], "SUBSCRIBE inside COPY (…) TO STDOUT delivers rows as they come"),
    (&["FETCH"], "SUBSCRIBE inside COPY (…) TO STDOUT delivers rows as they come"),
    (&["CLOSE"], "there are no cursors"),
    (&["MOVE"], "there are no cursors"),
    (&["PREPARE"], "use the extended protocol of your driver"),
    (&["EXECUTE"], "use the extended protocol of your driver"),
    (&["GRANT"], "access rules stand in the configuration"),
    (&["REVOKE"], "access rules stand in the configuration"),
    (&["LISTEN"], "SUBSCRIBE to a stream or view"),
    (&["UNLISTEN"], "SUBSCRIBE to a stream or view"),
    (&["NOTIFY"], "INSERT into a push source"),
    (&["LOCK"], "reads never block"),
    (&["VACUUM"], "there is nothing to vacuum"),
    (&["ANALYZE"], "there are no statistics to gather"),
    (&["COMMENT"], "keep comments with the SQL"),
    (&["CALL"], "there are no procedures"),
    (&["DO"], "there are no procedures"),
    (&["RESTORE"], "start the server on the data directory of the backup"),
    (&["TERMINATE"], "use DROP"),
];

/// Reads one statement.
pub(super) fn statement(piece: Piece) -> Result<StatementKind, SqlError> {
    let mut cursor = Cursor::new(piece.tokens.clone());
    let at = cursor.here();
    for (words, hint) in REFUSED {
        if cursor.looking_at(words) {
            return Err(SqlError::unsupported(words.join(" "), *hint).at(at));
        }
    }
    let Some(word) = cursor.word() else { return query(&mut cursor) };
    let c = &mut cursor;
    match word.as_str() {
        "SELECT" | "WITH" | "VALUES" | "TABLE" | "FROM" => return query(c),
        "CREATE" | "DROP" | "INSERT" | "COPY" | "SUBSCRIBE" | "TAIL" | "SHOW" | "LIST" | "DESCRIBE" | "DESC"
        | "EXPLAIN" | "BEGIN" | "START" | "COMMIT" | "END" | "ROLLBACK" | "ABORT" | "SAVEPOINT" | "RELEASE" | "SET"
        | "RESET" | "DISCARD" | "DEALLOCATE" | "CHECKPOINT" | "FLUSH" | "WAIT" | "ADVANCE" | "ALTER" | "PAUSE"
        | "RESUME" => {}
        _ => return Err(c.unexpected("a statement")),
    }
    c.next();
    match word.as_str() {
        "CREATE" => create::create(c),
        "DROP" => create::drop(c),
        "INSERT" => data::insert(c),
        "COPY" => data::copy(c),
        "SUBSCRIBE" | "TAIL" => data::subscribe(c),
        "SHOW" | "LIST" => show::show(c),
        "DESCRIBE" | "DESC" => show::describe(c),
        "EXPLAIN" => show::explain(c, &piece),
        "BEGIN" | "START" => begin(c),
        "COMMIT" | "END" => end(c, StatementKind::Commit),
        "ROLLBACK" | "ABORT" => end(c, StatementKind::Rollback),
        "SAVEPOINT" => savepoint(c, StatementKind::Savepoint),
        "RELEASE" => {
            c.accept(&["SAVEPOINT"]);
            savepoint(c, StatementKind::Release)
        }
        "SET" => set(c),
        "RESET" => reset(c),
        "DISCARD" => {
            c.next();
            c.finish().map(|()| StatementKind::Reset { name: None, at })
        }
        "DEALLOCATE" => {
            c.accept(&["PREPARE"]);
            let name = if c.accept(&["ALL"]) { None } else { Some(c.name()?) };
            c.finish().map(|()| StatementKind::Deallocate { name })
        }
        "CHECKPOINT" => c.finish().map(|()| StatementKind::Checkpoint),
        "FLUSH" | "WAIT" => c.finish().map(|()| StatementKind::Flush),
        "ADVANCE" => advance(c),
        "ALTER" => alter(c, at),
        "PAUSE" => {
            let (object, at) = object(c)?;
            Ok(StatementKind::Pause { object, at })
        }
        _ => {
            let (object, at) = object(c)?;
            Ok(StatementKind::Resume { object, at })
        }
    }
}

fn query(cursor: &mut Cursor) -> Result<StatementKind, SqlError> {
    let query = emit::query(cursor)?;
    let tail = emit::tail(cursor)?;
    cursor.finish()?;
    Ok(StatementKind::Query { query, tail })
}

fn object(cursor: &mut Cursor) -> Result<(String, super::Location), SqlError> {
    for words in [&["SOURCE"][..], &["STREAM"], &["MATERIALIZED", "VIEW"], &["SINK"], &["PIPELINE"]] {
        if cursor.looking_at(words) && matches!(cursor.peek_at(words.len()), Token::Word(_)) {
            cursor.accept(words);
            break;
        }
    }
    let at = cursor.here();
    let name = cursor.object()?;
    cursor.finish()?;
    Ok((name, at))
}

/// ALTER of what can be changed while it runs.
fn alter(cursor: &mut Cursor, at: super::Location) -> Result<StatementKind, SqlError> {
    let kind = if cursor.accept(&["STREAM"]) {
        RelationKind::Stream
    } else if cursor.accept(&["MATERIALIZED", "VIEW"]) {
        RelationKind::View
    } else {
        let hint =
            "ALTER STREAM and ALTER MATERIALIZED VIEW … SET (memory_limit = …) exist; DROP and CREATE change the rest";
        return Err(SqlError::unsupported("ALTER", hint).at(at));
    };
    let at = cursor.here();
    let name = cursor.object()?;
    if !cursor.accept(&["SET"]) {
        let hint = "ALTER … SET (memory_limit = …, memory_policy = …) exists; CREATE OR REPLACE changes a query";
        return Err(SqlError::unsupported("ALTER of a query but for SET", hint).at(cursor.here()));
    }
    let list = cursor.here();
    let options = options::list(cursor)?;
    if options.is_empty() {
        let error = SqlError::new(Kind::Syntax, "syntax error: SET () names nothing to change");
        return Err(error.hint("name memory_limit, memory_policy or both").at(list));
    }
    cursor.finish()?;
    Ok(StatementKind::AlterQuery(AlterQuery { kind, name, options, at }))
}

/// BEGIN's modes change nothing: reads see one epoch, writes become visible in one.
fn begin(cursor: &mut Cursor) -> Result<StatementKind, SqlError> {
    if !cursor.accept(&["TRANSACTION"]) {
        cursor.accept(&["WORK"]);
    }
    modes(cursor)?;
    cursor.finish()?;
    Ok(StatementKind::Begin)
}

fn modes(cursor: &mut Cursor) -> Result<(), SqlError> {
    loop {
        if cursor.accept(&["ISOLATION", "LEVEL"]) {
            let known =
                [&["READ", "UNCOMMITTED"][..], &["READ", "COMMITTED"], &["REPEATABLE", "READ"], &["SERIALIZABLE"]];
            let at = cursor.here();
            let Some(level) = known.into_iter().find(|words| cursor.accept(words)) else {
                return Err(cursor.unexpected("an isolation level"));
            };
            if level == ["SERIALIZABLE"] {
                return Err(SqlError::unsupported(
                    "ISOLATION LEVEL SERIALIZABLE",
                    "a transaction reads one epoch and writes into one, the last commit wins: REPEATABLE READ",
                )
                .at(at));
            }
        } else if !cursor.accept(&["READ", "WRITE"])
            && !cursor.accept(&["READ", "ONLY"])
            && !cursor.accept(&["NOT", "DEFERRABLE"])
            && !cursor.accept(&["DEFERRABLE"])
            && !cursor.accept_token(&Token::Comma)
        {
            return Ok(());
        }
    }
}

fn end(cursor: &mut Cursor, kind: StatementKind) -> Result<StatementKind, SqlError> {
    if !cursor.accept(&["TRANSACTION"]) {
        cursor.accept(&["WORK"]);
    }
    let at = cursor.here();
    if matches!(kind, StatementKind::Rollback) && cursor.accept(&["TO"]) {
        cursor.accept(&["SAVEPOINT"]);
        return savepoint(cursor, StatementKind::RollbackTo);
    }
    if cursor.accept(&["AND", "NO", "CHAIN"]) || !cursor.looking_at(&["AND"]) {
        cursor.finish()?;
        return Ok(kind);
    }
    Err(SqlError::unsupported("AND CHAIN", "send BEGIN").at(at))
}

fn savepoint(cursor: &mut Cursor, kind: fn(String) -> StatementKind) -> Result<StatementKind, SqlError> {
    let name = cursor.name()?;
    cursor.finish()?;
    Ok(kind(name))
}

/// `a`, `a.b`
pub(super) fn setting_name(cursor: &mut Cursor) -> Result<String, SqlError> {
    let mut name = cursor.name()?;
    while cursor.accept_token(&Token::Period) {
        name.push('.');
        name.push_str(&cursor.name()?);
    }
    Ok(name.to_lowercase())
}

fn set(cursor: &mut Cursor) -> Result<StatementKind, SqlError> {
    let at = cursor.here();
    if cursor.accept(&["SESSION", "CHARACTERISTICS", "AS", "TRANSACTION"]) || cursor.accept(&["TRANSACTION"]) {
        modes(cursor)?;
        cursor.finish()?;
        return Ok(StatementKind::Set {
            name: "transaction_isolation".into(),
            value: Some("repeatable read".into()),
            at,
        });
    }
    if cursor.looking_at(&["LOCAL"]) {
        return Err(SqlError::unsupported("SET LOCAL", "SET holds for the session").at(at));
    }
    cursor.accept(&["SESSION"]);
    let (name, needs_sign) = if cursor.accept(&["TIME", "ZONE"]) {
        ("timezone".to_owned(), false)
    } else if cursor.accept(&["NAMES"]) {
        ("client_encoding".to_owned(), false)
    } else {
        (setting_name(cursor)?, true)
    };
    if needs_sign && !cursor.accept_token(&Token::Eq) && !cursor.accept(&["TO"]) {
        return Err(cursor.unexpected("TO or '='"));
    }
    if cursor.accept(&["DEFAULT"]) {
        cursor.finish()?;
        return Ok(StatementKind::Set { name, value: None, at });
    }
    let values = cursor.comma_separated(options::value)?;
    cursor.finish()?;
    Ok(StatementKind::Set { name, value: Some(values.join(", ")), at })
}

fn reset(cursor: &mut Cursor) -> Result<StatementKind, SqlError> {
    let at = cursor.here();
    let name = if cursor.accept(&["ALL"]) {
        None
    } else if cursor.accept(&["TIME", "ZONE"]) {
        Some("timezone".to_owned())
    } else {
        Some(setting_name(cursor)?)
    };
    cursor.finish()?;
    Ok(StatementKind::Reset { name, at })
}

fn advance(cursor: &mut Cursor) -> Result<StatementKind, SqlError> {
    cursor.expect(&["WATERMARK", "FOR"])?;
    let at = cursor.here();
    let source = cursor.object()?;
    cursor.expect(&["TO"])?;
    let to = Box::new(cursor.expr()?);
    cursor.finish()?;
    if source.is_empty() {
        return Err(SqlError::new(Kind::Syntax, "syntax error: expected a source").at(at));
    }
    Ok(StatementKind::AdvanceWatermark(AdvanceWatermark { source, to, at }))
}
