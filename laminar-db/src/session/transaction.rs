//! A transaction block: writes or definitions that wait in the session for COMMIT.
//!
//! Invariants: nothing of a block is visible to others before COMMIT; a block holds either rows or
//! definitions; its rows are bounded and become one unit of the log.

use arrow::array::RecordBatch;
use laminar_core::engine::{Insert, OnConflict};
use laminar_core::ids::ObjectId;
use laminar_sql::catalog::Catalog;
use laminar_sql::plan::Planned;

use super::Session;
use crate::ask::ask;
use crate::deploy::Change;
use crate::error::{DbError, Notice};

/// Bytes of rows that one block may hold.
const MAX_BLOCK_BYTES: usize = 64 << 20;

/// The content of an open block.
#[derive(Default)]
pub(crate) struct Block {
    failed: bool,
    write: Option<Insert>,
    bytes: usize,
    change: Option<(Change, Catalog)>,
    savepoints: Vec<Savepoint>,
}

/// What a block held when SAVEPOINT was said: drivers wrap what may fail in one.
struct Savepoint {
    name: String,
    /// Batches of rows; none = no row was written.
    batches: Option<usize>,
    bytes: usize,
    change: Option<(Change, Catalog)>,
}

impl Block {
    pub fn fail(&mut self) {
        self.failed = true;
    }

    pub fn failed(&self) -> bool {
        self.failed
    }

    /// Remembers what the block holds now.
    pub fn save(&mut self, name: &str) {
        let batches = self.write.as_ref().map(|w| w.rows.len());
        let (bytes, change) = (self.bytes, self.change.clone());
        self.savepoints.push(Savepoint { name: name.to_owned(), batches, bytes, change });
    }

    /// Forgets a savepoint and those after it; what the block holds stays.
    ///
    /// # Errors
    /// There is no such savepoint.
    pub fn release(&mut self, name: &str) -> Result<(), DbError> {
        let at = self.savepoint(name)?;
        self.savepoints.truncate(at);
        Ok(())
    }

    /// Goes back to what the block held at a savepoint, which stays; a failed block is open again.
    ///
    /// # Errors
    /// There is no such savepoint.
    pub fn roll_back_to(&mut self, name: &str) -> Result<(), DbError> {
        let at = self.savepoint(name)?;
        self.savepoints.truncate(at + 1);
        let there = &self.savepoints[at];
        match there.batches {
            None => self.write = None,
            Some(batches) => self.write.iter_mut().for_each(|w| w.rows.truncate(batches)),
        }
        (self.bytes, self.change, self.failed) = (there.bytes, there.change.clone(), false);
        Ok(())
    }

    fn savepoint(&self, name: &str) -> Result<usize, DbError> {
        let found = self.savepoints.iter().rposition(|s| s.name == name);
        found.ok_or_else(|| DbError::new("LDB-4047", "3B001", format!("savepoint \"{name}\" does not exist")))
    }

    /// The catalog with the block's own definitions, if it has any.
    pub fn catalog(&self) -> Option<&Catalog> {
        self.change.as_ref().map(|(_, catalog)| catalog)
    }

    /// Whether the block has uncommitted rows of an object.
    pub fn wrote(&self, object: ObjectId) -> bool {
        self.write.as_ref().is_some_and(|w| w.object == object)
    }

    /// Adds rows to the block.
    ///
    /// # Errors
    /// The block holds definitions, rows of another object, or too many bytes.
    pub fn insert(&mut self, object: ObjectId, rows: RecordBatch, on_conflict: OnConflict) -> Result<(), DbError> {
        if self.change.is_some() {
            return Err(mixed());
        }
        self.bytes += rows.get_array_memory_size();
        if self.bytes > MAX_BLOCK_BYTES {
            let message = format!("the transaction holds more than {MAX_BLOCK_BYTES} bytes of rows");
            return Err(DbError::new("LDB-4042", "54000", message).with_hint("commit in smaller parts"));
        }
        match &mut self.write {
            None => self.write = Some(Insert { object, rows: vec![rows], on_conflict, request: None }),
            Some(write) if write.object == object && write.on_conflict == on_conflict => write.rows.push(rows),
            Some(_) => {
                let message = "a transaction block writes one table or source in one way";
                return Err(DbError::new("LDB-4043", "0A000", message).with_hint("commit before writing another"));
            }
        }
        Ok(())
    }

    /// Adds a planned CREATE or DROP to the block.
    ///
    /// # Errors
    /// The block holds rows, or the change does not fit the catalog.
    pub fn define(&mut self, planned: Planned, present: &Catalog) -> Result<(), DbError> {
        if self.write.is_some() {
            return Err(mixed());
        }
        let (mut change, catalog) = self.change.take().unwrap_or_else(|| (Change::default(), present.clone()));
        let catalog = change.take(planned, catalog)?;
        self.change = Some((change, catalog));
        Ok(())
    }

    /// Makes it durable and visible, all at once.
    ///
    /// # Errors
    /// The engine refuses; nothing of the block has happened then.
    pub async fn commit(self, session: &mut Session) -> Result<Vec<Notice>, DbError> {
        if let Some(write) = self.write {
            let inserted = ask(|reply| session.inner.engine.insert(write, reply)).await?;
            session.inner.wrote(inserted.epoch);
            session.last_write = session.last_write.max(Some(inserted.epoch));
        }
        let Some((change, catalog)) = self.change else { return Ok(Vec::new()) };
        let inner = session.inner.clone();
        let _deploying = inner.deploying.lock().await;
        let begun_with = catalog.version() - u64::try_from(change.add.len() + change.drop.len()).unwrap_or(0);
        if inner.catalog().version() != begun_with {
            let message = "another session changed the catalog while this transaction was open";
            return Err(DbError::new("LDB-4044", "40001", message).with_hint("run the transaction again"));
        }
        change.apply(&inner, catalog).await
    }
}

fn mixed() -> DbError {
    DbError::new("LDB-4045", "0A000", "a transaction block holds either definitions or rows, not both")
        .with_hint("commit the definitions first")
}
