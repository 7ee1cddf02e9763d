//! An object as the catalog holds and stores it.
//!
//! Invariant: a restart runs the stored spec and never plans again, so the record holds everything
//! that planning decided.

use std::collections::BTreeMap;

use laminar_core::data::StreamSchema;
use laminar_core::graph::ObjectSpec;
use laminar_core::ids::ObjectId;
use serde::{Deserialize, Serialize};

use crate::error::{Kind, SqlError};
use crate::plan::Claim;

/// The version of [`CatalogRecord`] that this build writes.
pub const FORMAT_VERSION: u16 = 1;

/// An object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogEntry {
    /// What it is.
    pub spec: ObjectSpec,
    /// The statement that made it.
    pub sql: String,
    /// Ids of the objects it reads.
    pub depends_on: Vec<ObjectId>,
    /// The sink for whose `AS SELECT` this stream was made; it is dropped with it and not listed.
    pub belongs_to: Option<ObjectId>,
    /// Versions of the functions it uses.
    pub functions: BTreeMap<String, u16>,
    /// Which operator executes which clause.
    pub coverage: Vec<Claim>,
    /// The session's TimeZone at CREATE.
    pub time_zone: String,
    /// What ALTER has changed since, as one statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub altered: Option<String>,
}

impl CatalogEntry {
    /// Its id.
    pub fn id(&self) -> ObjectId {
        self.spec.id()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.spec.name()
    }

    /// The statements that make it as it is: the one that made it, and what ALTER has changed since.
    pub fn definition(&self) -> String {
        let altered = self.altered.iter().map(|sql| format!(";\n{sql}"));
        std::iter::once(self.sql.clone()).chain(altered).collect()
    }

    /// The schema of its rows.
    pub fn schema(&self) -> &StreamSchema {
        match &self.spec {
            ObjectSpec::Source(s) => &s.schema,
            ObjectSpec::Table(t) => &t.schema,
            ObjectSpec::Sink(s) => &s.schema,
            ObjectSpec::Pipeline(p) => {
                &p.nodes.last().unwrap_or_else(|| unreachable!("a pipeline has an output node")).output
            }
        }
    }
}

/// An object as it stands in the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogRecord {
    /// [`FORMAT_VERSION`] of the build that wrote it.
    pub format: u16,
    /// The object.
    pub entry: CatalogEntry,
}

impl CatalogRecord {
    /// The record of an entry.
    pub fn from_entry(entry: &CatalogEntry) -> Self {
        Self { format: FORMAT_VERSION, entry: entry.clone() }
    }

    /// The entry of a record.
    ///
    /// # Errors
    /// A newer format, or a function version that this build does not have.
    pub fn into_entry(self) -> Result<CatalogEntry, SqlError> {
        if self.format > FORMAT_VERSION {
            return Err(SqlError::new(
                Kind::InvalidDefinition,
                format!(
                    "\"{}\" was stored in catalog format {}, this build reads up to {FORMAT_VERSION}",
                    self.entry.name(),
                    self.format
                ),
            )
            .hint("start the newer build again"));
        }
        for (function, version) in &self.entry.functions {
            let known = crate::function::version(function);
            if known != Some(*version) {
                return Err(SqlError::new(
                    Kind::UndefinedFunction,
                    format!(
                        "\"{}\" uses version {version} of function {function}, this build has {}",
                        self.entry.name(),
                        known.map_or_else(|| "none".to_owned(), |v| v.to_string())
                    ),
                )
                .hint("start the build that made it, drop it there and create it again here"));
            }
        }
        Ok(self.entry)
    }

    /// As JSON text.
    ///
    /// # Errors
    /// A defect of ours.
    pub fn to_json(&self) -> Result<String, SqlError> {
        serde_json::to_string(self).map_err(|e| SqlError::internal(e.to_string()))
    }

    /// From JSON text.
    ///
    /// # Errors
    /// A text that is no record.
    pub fn from_json(text: &str) -> Result<Self, SqlError> {
        serde_json::from_str(text)
            .map_err(|e| SqlError::new(Kind::InvalidDefinition, format!("a catalog record does not read: {e}")))
    }
}
