//! The progress row: which checkpoint of a sink this database holds, and which life may write.
//!
//! Invariant: a life that has been followed by another changes no row any more, since every commit
//! begins with its own progress row, which it must find as it left it and holds until it ends.

use laminar_core::ids::{CheckpointNumber, Epoch};
use tokio_postgres::types::FromSql;
use tokio_postgres::{Row, Statement};

use crate::error::Trouble;
use crate::lasting;
use crate::session::Session;
use crate::target::is_key;

/// How often the table is looked for while others make it at the same time.
const ATTEMPTS: u32 = 5;

/// The columns of the table, and the types that each may have; the first is the one that we make.
const COLUMNS: [(&str, &[&str]); 5] = [
    ("sink", &["text", "character varying"]),
    ("life", &["bigint"]),
    ("checkpoint", &["bigint"]),
    ("number", &["text", "character varying"]),
    ("changed", &["timestamp with time zone", "timestamp without time zone"]),
];
const FOUND: &str = "SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute \
     WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped";

/// What a takeover has come to.
pub enum Taken {
    /// The name is ours; the newest checkpoint that is committed.
    Over(Progress, Option<CheckpointNumber>),
    /// The target holds this checkpoint, which is beyond what we know; nothing was taken.
    Not(CheckpointNumber),
}

/// A life of a sink.
pub struct Progress {
    name: String,
    table: String,
    life: i64,
    mark: Statement,
}

impl Progress {
    /// Takes over the name from all older lives, unless the target holds a checkpoint beyond `known`. Waits for a
    /// commit of an older life that is under way.
    ///
    /// # Errors
    /// The table cannot hold markers, or the server is away or refuses us.
    pub fn take_over(session: &Session, name: &str, table: &str, known: CheckpointNumber) -> Result<Taken, Trouble> {
        make_table(session, table)?;
        lasting::check(session, table)?;
        check_columns(session, table)?;
        let take = format!(
            "INSERT INTO {table} AS p (sink, life) VALUES ($1, 1) \
             ON CONFLICT (sink) DO UPDATE SET life = p.life + 1, changed = now() \
             WHERE p.checkpoint IS NULL OR p.checkpoint <= $2 RETURNING checkpoint, life"
        );
        let limit = i64::try_from(known.0).unwrap_or(i64::MAX);
        let taken = session.run(async |client| client.query_opt(&take, &[&name, &limit]).await);
        let row = taken.map_err(|trouble| match trouble {
            Trouble::Denied { server, reason, .. } => {
                let advice = format!("grant SELECT, INSERT and UPDATE on {table} to the user of the sink");
                Trouble::Denied { server, reason, advice }
            }
            other => other,
        })?;
        let Some(row) = row else {
            let look = format!("SELECT checkpoint FROM {table} WHERE sink = $1");
            let found = session.run(async |client| client.query_opt(&look, &[&name]).await)?;
            let ahead = found.map(|row| marker(&row, name, table)).transpose()?.flatten();
            let gone = || Trouble::ProgressGone { name: name.to_string(), progress: table.to_string() };
            return ahead.map(Taken::Not).ok_or_else(gone);
        };
        let (checkpoint, life) = (marker(&row, name, table)?, read(&row, 1, table)?);
        let mark =
            format!("UPDATE {table} SET checkpoint = $3, number = $4, changed = now() WHERE sink = $1 AND life = $2");
        let mark = session.run(async |client| client.prepare(&mark).await)?;
        Ok(Taken::Over(Self { name: name.to_string(), table: table.to_string(), life, mark }, checkpoint))
    }

    /// First statement of a transaction: the marker, and the proof that this life may still write.
    ///
    /// # Errors
    /// A younger life has followed, the row is gone, or the server fails.
    pub fn mark(&self, session: &Session, checkpoint: CheckpointNumber) -> Result<(), Trouble> {
        let number = i64::try_from(checkpoint.0)
            .map_err(|_| Trouble::Client(format!("checkpoint {checkpoint} is beyond what a marker holds")))?;
        let shown = Epoch::from_u64(checkpoint.0).to_string();
        let marked =
            session.run(async |client| client.execute(&self.mark, &[&self.name, &self.life, &number, &shown]).await)?;
        if marked == 1 {
            return Ok(());
        }
        let look = format!("SELECT life FROM {} WHERE sink = $1", self.table);
        let found = session.run(async |client| client.query_opt(&look, &[&self.name]).await)?;
        let name = self.name.clone();
        Err(match found {
            Some(row) => Trouble::Fenced { name, found: read(&row, 0, &self.table)?, own: self.life },
            None => Trouble::ProgressGone { name, progress: self.table.clone() },
        })
    }
}

/// The marker in the first column of a row.
fn marker(row: &Row, name: &str, table: &str) -> Result<Option<CheckpointNumber>, Trouble> {
    let checkpoint: Option<i64> = read(row, 0, table)?;
    checkpoint.map(|checkpoint| u64::try_from(checkpoint).map(CheckpointNumber)).transpose().map_err(|_| {
        Trouble::Option(format!("{table}: the marker of {name} is negative; give the sink a progress.table of its own"))
    })
}

fn read<'row, T: FromSql<'row>>(row: &'row Row, index: usize, table: &str) -> Result<T, Trouble> {
    row.try_get(index).map_err(|error| unfit(table, &error.to_string()))
}

fn unfit(table: &str, why: &str) -> Trouble {
    let why = format!("{why}; make it as {}, or name another one as progress.table", create(table));
    Trouble::Unfit { table: table.to_string(), why }
}

fn create(table: &str) -> String {
    format!(
        "CREATE TABLE {table} (sink text PRIMARY KEY, life bigint NOT NULL, checkpoint bigint, number text, \
         changed timestamptz NOT NULL DEFAULT now())"
    )
}

/// A table that somebody else made holds what ours does.
fn check_columns(session: &Session, table: &str) -> Result<(), Trouble> {
    let found = session.run(async |client| client.query(FOUND, &[&table]).await)?;
    for (name, types) in COLUMNS {
        let column = found.iter().find(|column| column.get::<_, &str>(0) == name);
        match column.map(|column| column.get::<_, String>(1)) {
            Some(found) if types.contains(&found.as_str()) => {}
            Some(found) => return Err(unfit(table, &format!("its column {name} is {found}, not {}", types[0]))),
            None => return Err(unfit(table, &format!("it has no column {name}, and so holds no markers"))),
        }
    }
    if !is_key(session, table, vec!["sink"])? {
        return Err(unfit(table, "it has no primary key and no unique index over its column sink alone"));
    }
    Ok(())
}

/// Makes the table where it is missing; another sink may do so at the same moment.
fn make_table(session: &Session, table: &str) -> Result<(), Trouble> {
    let create = create(table);
    let mut refused = None;
    for _ in 0..ATTEMPTS {
        let there =
            session.run(async |client| client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&table]).await)?;
        if there.get(0) {
            return Ok(());
        }
        match session.run(async |client| client.batch_execute(&create).await) {
            Ok(()) => return Ok(()),
            Err(Trouble::Refused { reason, .. }) => refused = Some(reason),
            Err(Trouble::Denied { server, reason, .. }) => {
                let advice =
                    format!("create {table} as its owner with: {create}; or name another one as progress.table");
                return Err(Trouble::Denied { server, reason, advice });
            }
            Err(other) => return Err(other),
        }
    }
    Err(Trouble::Refused { table: table.to_string(), reason: refused.unwrap_or_default() })
}
