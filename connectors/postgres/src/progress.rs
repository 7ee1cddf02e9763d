//! The progress row: which checkpoint of a sink this database holds, and which life may write.
//!
//! Invariant: a life that has been followed by another changes no row any more, since every commit
//! begins with its own progress row, which it must find as it left it and holds until it ends.

use laminar_core::ids::{CheckpointNumber, Epoch};
use tokio_postgres::Statement;

use crate::error::Trouble;
use crate::session::Session;

/// How often the table is looked for while others make it at the same time.
const ATTEMPTS: u32 = 5;

/// A life of a sink.
pub struct Progress {
    name: String,
    table: String,
    life: i64,
    mark: Statement,
}

impl Progress {
    /// Takes over the name from all older lives and returns the newest checkpoint that is committed.
    /// Waits for a commit of an older life that is under way.
    ///
    /// # Errors
    /// The server is away or refuses us.
    pub fn take_over(session: &Session, name: &str, table: &str) -> Result<(Self, Option<CheckpointNumber>), Trouble> {
        make_table(session, table)?;
        let take = format!(
            "INSERT INTO {table} AS p (sink, life) VALUES ($1, 1) \
             ON CONFLICT (sink) DO UPDATE SET life = p.life + 1, changed = now() RETURNING life, checkpoint"
        );
        let taken = session.run(async |client| client.query_one(&take, &[&name]).await);
        let row = taken.map_err(|trouble| match trouble {
            Trouble::Denied { server, reason, .. } => {
                let advice = format!("grant SELECT, INSERT and UPDATE on {table} to the user of the sink");
                Trouble::Denied { server, reason, advice }
            }
            other => other,
        })?;
        let (life, checkpoint): (i64, Option<i64>) = (row.get(0), row.get(1));
        let mark =
            format!("UPDATE {table} SET checkpoint = $3, number = $4, changed = now() WHERE sink = $1 AND life = $2");
        let mark = session.run(async |client| client.prepare(&mark).await)?;
        let checkpoint =
            checkpoint.map(|checkpoint| u64::try_from(checkpoint).map(CheckpointNumber)).transpose().map_err(|_| {
                Trouble::Option(format!(
                    "{table}: the marker of {name} is negative; give the sink a progress.table of its own"
                ))
            })?;
        Ok((Self { name: name.to_string(), table: table.to_string(), life, mark }, checkpoint))
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
            Some(row) => Trouble::Fenced { name, found: row.get(0), own: self.life },
            None => Trouble::ProgressGone { name, progress: self.table.clone() },
        })
    }
}

/// Makes the table where it is missing; another sink may do so at the same moment.
fn make_table(session: &Session, table: &str) -> Result<(), Trouble> {
    let create = format!(
        "CREATE TABLE {table} (sink text PRIMARY KEY, life bigint NOT NULL, checkpoint bigint, number text, \
         changed timestamptz NOT NULL DEFAULT now())"
    );
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
