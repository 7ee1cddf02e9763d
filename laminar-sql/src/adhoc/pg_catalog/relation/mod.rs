//! The relations of `pg_catalog` that have rows, a family a file.

mod objects;
mod server;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;

use super::empty;
use super::snapshot::Snapshot;
use super::table::Table;

/// Schema numbers.
pub const PG_CATALOG: u32 = 11;
/// The schema of all objects of users.
pub const PUBLIC: u32 = 2200;
/// The SQL standard's schema.
pub const INFORMATION_SCHEMA: u32 = 13_000;
/// The one role.
pub const OWNER: u32 = 10;
/// The one database.
pub const DATABASE: u32 = 16_000;

/// Numbers of system relations, for `'pg_class'::regclass`.
pub const SYSTEM: [(&str, u32); 12] = [
    ("pg_type", 1247),
    ("pg_attribute", 1249),
    ("pg_proc", 1255),
    ("pg_class", 1259),
    ("pg_database", 1262),
    ("pg_attrdef", 2604),
    ("pg_constraint", 2606),
    ("pg_description", 2609),
    ("pg_index", 2610),
    ("pg_namespace", 2615),
    ("pg_trigger", 2620),
    ("pg_extension", 3079),
];

type Build = fn(&Snapshot) -> Table;

/// Name and maker of each relation with rows.
const RELATIONS: &[(&str, Build)] = &[
    ("pg_am", server::pg_am),
    ("pg_attribute", objects::pg_attribute),
    ("pg_class", objects::pg_class),
    ("pg_constraint", objects::pg_constraint),
    ("pg_database", server::pg_database),
    ("pg_description", objects::pg_description),
    ("pg_extension", server::pg_extension),
    ("pg_foreign_server", objects::pg_foreign_server),
    ("pg_foreign_table", objects::pg_foreign_table),
    ("pg_index", objects::pg_index),
    ("pg_matviews", objects::pg_matviews),
    ("pg_namespace", server::pg_namespace),
    ("pg_proc", server::pg_proc),
    ("pg_roles", server::pg_roles),
    ("pg_settings", server::pg_settings),
    ("pg_tables", objects::pg_tables),
    ("pg_tablespace", server::pg_tablespace),
    ("pg_type", server::pg_type),
    ("pg_user", server::pg_user),
    ("pg_views", objects::pg_views),
];

/// Names of all relations.
pub fn names() -> Vec<String> {
    let with_rows = RELATIONS.iter().map(|(name, _)| *name);
    with_rows.chain(empty::EMPTY.iter().map(|(name, _)| *name)).map(str::to_owned).collect()
}

/// Whether there is such a relation.
pub fn exists(name: &str) -> bool {
    RELATIONS.iter().any(|(n, _)| *n == name) || empty::columns(name).is_some()
}

/// The rows of a relation; none = there is no such relation.
pub fn build(name: &str, snapshot: &Snapshot) -> Option<Result<RecordBatch, ArrowError>> {
    if let Some((_, build)) = RELATIONS.iter().find(|(n, _)| *n == name) {
        return Some(build(snapshot).build());
    }
    let columns = empty::columns(name)?;
    Some(columns.iter().fold(Table::new(0), |table, (name, kind)| table.absent(name, *kind)).build())
}
