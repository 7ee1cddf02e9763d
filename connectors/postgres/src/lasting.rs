//! Whether a table keeps its rows as long as the marker keeps its number.
//!
//! Invariant: what passes is a table of this server itself, with all its partitions, whose rows survive a
//! crash of the server and are committed together with those of other tables.

use crate::error::Trouble;
use crate::session::Session;

const FLEETING: &str = "SELECT c.oid::regclass::text, c.relkind::text FROM pg_class c WHERE (c.oid = to_regclass($1) \
     OR c.oid IN (SELECT relid FROM pg_partition_tree(to_regclass($1)))) \
     AND (c.relkind NOT IN ('r', 'p') OR c.relpersistence <> 'p') LIMIT 1";

/// Refuses a table that does not; `table` is SQL.
///
/// # Errors
/// It is unlogged, foreign or a view, or has such a part; or the server fails.
pub fn check(session: &Session, table: &str) -> Result<(), Trouble> {
    let Some(found) = session.run(async |client| client.query_opt(FLEETING, &[&table]).await)? else { return Ok(()) };
    let (part, kind): (String, String) = (found.get(0), found.get(1));
    let why = match kind.as_str() {
        "f" => format!("{part} is a foreign table, whose rows are committed apart from the marker"),
        "r" | "p" => format!(
            "{part} is not logged: a crash of the server empties it, and not the marker; ALTER TABLE {part} SET LOGGED"
        ),
        _ => format!("{part} is no table, and what it writes to may not be committed with the marker; name the table"),
    };
    Err(Trouble::Unfit {
        table: table.to_string(),
        why: format!("{why}; exactly-once delivery needs tables that last, delivery = 'at_least_once' does not"),
    })
}
