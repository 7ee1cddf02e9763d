//! `pg_catalog` and `information_schema`: what PostgreSQL's tools ask before they show anything.
//!
//! A [`Snapshot`] of the catalog becomes relations built on demand (`provider`), functions
//! (`function`) and a rewriting of the idioms that DataFusion does not plan ([`rewrite`]); a
//! [`SystemQuery`] runs over them, apart from queries over objects.
//! Not here: permissions (everyone may see everything until there are roles) and any state.
//! Invariant: nothing here reads the live catalog; one query sees one snapshot.

mod empty;
mod function;
mod information_schema;
mod output_name;
mod provider;
mod query;
mod relation;
mod rewrite;
mod snapshot;
mod table;
#[cfg(test)]
mod tests;
mod types;

pub use query::{SystemError, SystemQuery, SystemRows};
pub use rewrite::rewrite;
pub use snapshot::{Column, Relation, RelationKind, Setting, Snapshot};
