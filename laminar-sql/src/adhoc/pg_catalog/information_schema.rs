//! `information_schema`: the same objects in the SQL standard's words.

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::snapshot::{Column, Relation, RelationKind, Snapshot};
use super::table::Table;
use super::types::{by_oid, format, oid_of};

const CATALOG: &str = "laminardb";
const SCHEMA: &str = "public";

type Build = fn(&Snapshot) -> Table;

/// Name and maker of each relation.
const RELATIONS: &[(&str, Build)] = &[
    ("columns", columns),
    ("constraint_column_usage", key_column_usage),
    ("key_column_usage", key_column_usage),
    ("referential_constraints", referential_constraints),
    ("routines", routines),
    ("schemata", schemata),
    ("sequences", sequences),
    ("table_constraints", table_constraints),
    ("tables", tables),
    ("views", views),
];

/// Names of all relations.
pub fn names() -> Vec<String> {
    RELATIONS.iter().map(|(name, _)| (*name).to_owned()).collect()
}

/// Whether there is such a relation.
pub fn exists(name: &str) -> bool {
    RELATIONS.iter().any(|(n, _)| *n == name)
}

/// The rows of a relation; none = there is no such relation.
pub fn build(name: &str, snapshot: &Snapshot) -> Option<Result<RecordBatch, ArrowError>> {
    RELATIONS.iter().find(|(n, _)| *n == name).map(|(_, build)| build(snapshot).build())
}

fn schemata(snapshot: &Snapshot) -> Table {
    Table::new(3)
        .same("catalog_name", CATALOG)
        .text("schema_name", ["information_schema", "pg_catalog", SCHEMA])
        .same("schema_owner", &snapshot.user)
        .null("default_character_set_name")
        .null("sql_path")
}

fn tables(snapshot: &Snapshot) -> Table {
    let rows = &snapshot.relations;
    let writable = |r: &Relation| match r.kind {
        RelationKind::Table => true,
        RelationKind::Source => r.connector.is_none(),
        RelationKind::Stream | RelationKind::MaterializedView | RelationKind::Sink => false,
    };
    Table::new(rows.len())
        .same("table_catalog", CATALOG)
        .same("table_schema", SCHEMA)
        .text("table_name", rows.iter().map(|r| r.name.as_str()))
        .text("table_type", rows.iter().map(|r| r.kind.table_type()))
        .null("self_referencing_column_name")
        .text("is_insertable_into", rows.iter().map(|r| yes(writable(r))))
        .same("is_typed", "NO")
        .text("laminar_kind", rows.iter().map(|r| r.kind.word()))
}

fn yes(value: bool) -> &'static str {
    if value { "YES" } else { "NO" }
}

fn all_columns(snapshot: &Snapshot) -> Vec<(&Relation, usize, &Column)> {
    let numbered = |r| move |(i, c): (usize, _)| (r, i, c);
    snapshot.relations.iter().flat_map(|r| r.columns.iter().enumerate().map(numbered(r))).collect()
}

fn columns(snapshot: &Snapshot) -> Table {
    let rows = all_columns(snapshot);
    let name = |c: &Column| match oid_of(&c.data_type) {
        oid if by_oid(oid).is_some() => format(oid, None),
        _ => "ARRAY".to_owned(),
    };
    let required = |r: &Relation, i: usize, c: &Column| !c.nullable || r.primary_key.contains(&i);
    Table::new(rows.len())
        .same("table_catalog", CATALOG)
        .same("table_schema", SCHEMA)
        .text("table_name", rows.iter().map(|(r, _, _)| r.name.as_str()))
        .text("column_name", rows.iter().map(|(_, _, c)| c.name.as_str()))
        .int("ordinal_position", rows.iter().map(|(_, i, _)| *i as i32 + 1))
        .null("column_default")
        .text("is_nullable", rows.iter().map(|(r, i, c)| yes(!required(r, *i, c))))
        .text("data_type", rows.iter().map(|(_, _, c)| name(c)))
        .optional_int("character_maximum_length", rows.iter().map(|_| None))
        .optional_int("numeric_precision", rows.iter().map(|(_, _, c)| decimal(&c.data_type).map(|(p, _)| p)))
        .optional_int("numeric_scale", rows.iter().map(|(_, _, c)| decimal(&c.data_type).map(|(_, s)| s)))
        .optional_int("datetime_precision", rows.iter().map(|_| None))
        .same("udt_catalog", CATALOG)
        .same("udt_schema", "pg_catalog")
        .text("udt_name", rows.iter().map(|(_, _, c)| by_oid(oid_of(&c.data_type)).map_or("_text", |t| t.name)))
        .same("is_identity", "NO")
        .same("is_generated", "NEVER")
        .same("is_updatable", "NO")
}

fn decimal(data_type: &DataType) -> Option<(i32, i32)> {
    match data_type {
        DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => Some((i32::from(*p), i32::from(*s))),
        DataType::Int16 => Some((16, 0)),
        DataType::Int32 => Some((32, 0)),
        DataType::Int64 => Some((64, 0)),
        _ => None,
    }
}

fn views(snapshot: &Snapshot) -> Table {
    let rows: Vec<&Relation> = snapshot.relations.iter().filter(|r| r.kind.table_type() == "VIEW").collect();
    Table::new(rows.len())
        .same("table_catalog", CATALOG)
        .same("table_schema", SCHEMA)
        .text("table_name", rows.iter().map(|r| r.name.as_str()))
        .optional("view_definition", rows.iter().map(|r| r.definition.clone()))
        .same("check_option", "NONE")
        .same("is_updatable", "NO")
        .same("is_insertable_into", "NO")
}

fn table_constraints(snapshot: &Snapshot) -> Table {
    let rows: Vec<&Relation> = snapshot.with_key().collect();
    Table::new(rows.len())
        .same("constraint_catalog", CATALOG)
        .same("constraint_schema", SCHEMA)
        .text("constraint_name", rows.iter().map(|r| r.key_name()))
        .same("table_catalog", CATALOG)
        .same("table_schema", SCHEMA)
        .text("table_name", rows.iter().map(|r| r.name.as_str()))
        .same("constraint_type", "PRIMARY KEY")
        .same("is_deferrable", "NO")
        .same("initially_deferred", "NO")
        .same("enforced", "YES")
}

fn key_column_usage(snapshot: &Snapshot) -> Table {
    let placed = |r| move |(at, i): (usize, &usize)| (r, at, *i);
    let rows: Vec<(&Relation, usize, usize)> =
        snapshot.with_key().flat_map(|r| r.primary_key.iter().enumerate().map(placed(r))).collect();
    let name = |r: &Relation, i: usize| r.columns.get(i).map(|c| c.name.clone());
    Table::new(rows.len())
        .same("constraint_catalog", CATALOG)
        .same("constraint_schema", SCHEMA)
        .text("constraint_name", rows.iter().map(|(r, _, _)| r.key_name()))
        .same("table_catalog", CATALOG)
        .same("table_schema", SCHEMA)
        .text("table_name", rows.iter().map(|(r, _, _)| r.name.as_str()))
        .optional("column_name", rows.iter().map(|(r, _, i)| name(r, *i)))
        .int("ordinal_position", rows.iter().map(|(_, at, _)| *at as i32 + 1))
        .optional_int("position_in_unique_constraint", rows.iter().map(|_| None))
}

fn referential_constraints(_: &Snapshot) -> Table {
    Table::new(0)
        .null("constraint_catalog")
        .null("constraint_schema")
        .null("constraint_name")
        .null("unique_constraint_name")
        .null("update_rule")
        .null("delete_rule")
}

fn routines(_: &Snapshot) -> Table {
    Table::new(0)
        .null("specific_name")
        .null("routine_schema")
        .null("routine_name")
        .null("routine_type")
        .null("data_type")
}

fn sequences(_: &Snapshot) -> Table {
    Table::new(0).null("sequence_catalog").null("sequence_schema").null("sequence_name").null("data_type")
}
