//! The catalog: the objects of the database with their SQL and plans.
//!
//! Invariant: an object id is never given twice, also not after a DROP and a restart; each change
//! raises the version by one.

use std::collections::BTreeMap;

use crate::ids::ObjectId;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// CREATE SOURCE.
    Source,
    /// CREATE TABLE.
    Table,
    /// CREATE STREAM.
    Stream,
    /// CREATE MATERIALIZED VIEW.
    View,
    /// CREATE SINK.
    Sink,
}

impl ObjectKind {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Source => 1,
            Self::Table => 2,
            Self::Stream => 3,
            Self::View => 4,
            Self::Sink => 5,
        }
    }

    pub(super) const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Source,
            2 => Self::Table,
            3 => Self::Stream,
            4 => Self::View,
            5 => Self::Sink,
            _ => return None,
        })
    }
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogEntry {
    /// Its id.
    pub id: ObjectId,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: ObjectKind,
    /// The statement that made it.
    pub sql: String,
    /// Its compiled plan as JSON.
    pub plan: String,
    /// Format version of `plan`.
    pub plan_version: u32,
    /// Free for the owner: paused, altered and so on, as JSON.
    pub settings: String,
}

/// All objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Number of changes so far.
    pub version: u64,
    /// The id that the next object gets; ids start at 1.
    pub next_id: u64,
    /// The objects by id.
    pub entries: BTreeMap<ObjectId, CatalogEntry>,
}

/// One change of the catalog: what a DDL statement does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatalogChange {
    /// Objects that are new or replace the one with the same id.
    pub upserts: Vec<CatalogEntry>,
    /// Objects that go.
    pub drops: Vec<ObjectId>,
}

impl Catalog {
    /// The id for the next new object.
    pub fn next_object_id(&self) -> ObjectId {
        ObjectId(self.next_id.max(1))
    }

    /// The object with this name.
    pub fn by_name(&self, name: &str) -> Option<&CatalogEntry> {
        self.entries.values().find(|entry| entry.name == name)
    }

    /// Applies a change.
    pub fn apply(&mut self, change: &CatalogChange) {
        self.version += 1;
        for id in &change.drops {
            self.entries.remove(id);
        }
        for entry in &change.upserts {
            self.next_id = self.next_id.max(entry.id.0 + 1);
            self.entries.insert(entry.id, entry.clone());
        }
    }
}
