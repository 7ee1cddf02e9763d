//! A transaction block: writes or definitions that wait in the session for COMMIT.
//!
//! Invariants: nothing of a block is visible to others before COMMIT; a block holds either rows or
//! definitions; its rows fit one record of the log.

use arrow::array::RecordBatch;
use laminar_core::engine::{Insert, OnConflict};
use laminar_core::ids::ObjectId;
use laminar_sql::catalog::Catalog;
use laminar_sql::plan::Planned;
use laminar_storage::log::MAX_RECORD_BYTES;

use super::Session;
use crate::ask::ask;
use crate::deploy::Change;
use crate::error::{DbError, Notice};
use crate::record;

/// The content of an open block.
#[derive(Default)]
pub(crate) struct Block {
    failed: bool,
    write: Option<Insert>,
    bytes: usize,
    definitions: Option<Definitions>,
    savepoints: Vec<Savepoint>,
}

/// What a block held when SAVEPOINT was said: drivers wrap what may fail in one.
struct Savepoint {
    name: String,
    /// Batches of rows; none = no row was written.
    batches: Option<usize>,
    bytes: usize,
    definitions: Option<Definitions>,
}

/// The CREATEs and DROPs of a block.
#[derive(Clone)]
struct Definitions {
    change: Change,
    /// The catalog with them.
    catalog: Catalog,
    /// The version of the catalog that they were planned against.
    begun_with: u64,
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
        let (bytes, definitions) = (self.bytes, self.definitions.clone());
        self.savepoints.push(Savepoint { name: name.to_owned(), batches, bytes, definitions });
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
        (self.bytes, self.definitions, self.failed) = (there.bytes, there.definitions.clone(), false);
        Ok(())
    }

    fn savepoint(&self, name: &str) -> Result<usize, DbError> {
        let found = self.savepoints.iter().rposition(|s| s.name == name);
        found.ok_or_else(|| DbError::new("LDB-4047", "3B001", format!("savepoint \"{name}\" does not exist")))
    }

    /// The catalog with the block's own definitions, if it has any.
    pub fn catalog(&self) -> Option<&Catalog> {
        self.definitions.as_ref().map(|definitions| &definitions.catalog)
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
        if self.definitions.is_some() {
            return Err(mixed());
        }
        self.bytes += record::bytes(&rows);
        if self.bytes > MAX_RECORD_BYTES {
            let message = format!("the transaction holds more than {MAX_RECORD_BYTES} bytes of rows");
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
        let mut definitions = self.definitions.take().unwrap_or_else(|| Definitions {
            change: Change::default(),
            catalog: present.clone(),
            begun_with: present.version(),
        });
        definitions.catalog = definitions.change.take(planned, definitions.catalog)?;
        self.definitions = Some(definitions);
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
        let Some(Definitions { change, catalog, begun_with }) = self.definitions else { return Ok(Vec::new()) };
        let inner = session.inner.clone();
        let deploying = inner.deploying().await;
        if inner.catalog().version() != begun_with {
            let message = "another session changed the catalog while this transaction was open";
            return Err(DbError::new("LDB-4044", "40001", message).with_hint("run the transaction again"));
        }
        change.apply(&inner, deploying, catalog).await
    }
}

fn mixed() -> DbError {
    DbError::new("LDB-4045", "0A000", "a transaction block holds either definitions or rows, not both")
        .with_hint("commit the definitions first")
}
