//! What belongs to the server as a whole: schemas, roles, types, settings, the database.

use super::super::snapshot::Snapshot;
use super::super::table::Table;
use super::super::types::TYPES;
use super::{DATABASE, INFORMATION_SCHEMA, OWNER, PG_CATALOG, PUBLIC};

/// `pg_namespace`
pub fn pg_namespace(_: &Snapshot) -> Table {
    Table::new(3)
        .oid("oid", [PG_CATALOG, PUBLIC, INFORMATION_SCHEMA])
        .text("nspname", ["pg_catalog", "public", "information_schema"])
        .same_oid("nspowner", OWNER)
        .null_list("nspacl")
}

/// `pg_am`
pub fn pg_am(_: &Snapshot) -> Table {
    Table::new(2)
        .oid("oid", [2, 403])
        .text("amname", ["heap", "btree"])
        .same_oid("amhandler", 0)
        .text("amtype", ["t", "i"])
}

/// `pg_database`
pub fn pg_database(_: &Snapshot) -> Table {
    Table::new(1)
        .oid("oid", [DATABASE])
        .same("datname", "laminardb")
        .same_oid("datdba", OWNER)
        .same_int("encoding", 6)
        .same("datlocprovider", "c")
        .flags(&["datistemplate"], false)
        .flags(&["datallowconn"], true)
        .same_int("datconnlimit", -1)
        .same_int("datfrozenxid", 0)
        .same_int("datminmxid", 0)
        .same_oid("dattablespace", 1663)
        .same("datcollate", "C.UTF-8")
        .same("datctype", "C.UTF-8")
        .null("daticulocale")
        .null("daticurules")
        .null("datcollversion")
        .null_list("datacl")
}

/// `pg_tablespace`
pub fn pg_tablespace(_: &Snapshot) -> Table {
    Table::new(1)
        .oid("oid", [1663])
        .same("spcname", "pg_default")
        .same_oid("spcowner", OWNER)
        .null_list("spcacl")
        .null_list("spcoptions")
}

/// `pg_extension`
pub fn pg_extension(_: &Snapshot) -> Table {
    Table::new(0)
        .oid("oid", [])
        .same("extname", "")
        .same_oid("extowner", OWNER)
        .same_oid("extnamespace", PUBLIC)
        .same("extversion", "")
}

/// `pg_roles`: the session's user, who may do everything until there are roles.
pub fn pg_roles(snapshot: &Snapshot) -> Table {
    Table::new(1)
        .oid("oid", [OWNER])
        .same("rolname", &snapshot.user)
        .flags(&["rolsuper", "rolinherit", "rolcreaterole", "rolcreatedb", "rolcanlogin"], true)
        .flags(&["rolreplication", "rolbypassrls"], false)
        .same_int("rolconnlimit", -1)
        .null("rolpassword")
        .null("rolvaliduntil")
        .null_list("rolconfig")
}

/// `pg_user`
pub fn pg_user(snapshot: &Snapshot) -> Table {
    Table::new(1)
        .same("usename", &snapshot.user)
        .oid("usesysid", [OWNER])
        .flags(&["usecreatedb", "usesuper"], true)
        .flags(&["userepl", "usebypassrls"], false)
        .null("passwd")
        .null("valuntil")
        .null_list("useconfig")
}

/// `pg_settings`
pub fn pg_settings(snapshot: &Snapshot) -> Table {
    let rows = &snapshot.settings;
    Table::new(rows.len())
        .text("name", rows.iter().map(|s| s.name.as_str()))
        .text("setting", rows.iter().map(|s| s.value.as_str()))
        .null("unit")
        .same("category", "LaminarDB")
        .text("short_desc", rows.iter().map(|s| s.description.as_str()))
        .null("extra_desc")
        .same("context", "user")
        .same("vartype", "string")
        .same("source", "session")
        .null("min_val")
        .null("max_val")
        .null_list("enumvals")
        .text("boot_val", rows.iter().map(|s| s.value.as_str()))
        .text("reset_val", rows.iter().map(|s| s.value.as_str()))
        .flags(&["pending_restart"], false)
}

/// A row of `pg_type`: a scalar type or its array type.
struct Row {
    oid: u32,
    name: String,
    size: i16,
    category: char,
    element: u32,
    array: u32,
}

/// `pg_type`
pub fn pg_type(_: &Snapshot) -> Table {
    let scalars = TYPES.iter().map(|t| Row {
        oid: t.oid as u32,
        name: t.name.to_owned(),
        size: t.size,
        category: t.category,
        element: 0,
        array: t.array as u32,
    });
    let arrays = TYPES.iter().filter(|t| t.array != 0).map(|t| Row {
        oid: t.array as u32,
        name: format!("_{}", t.name),
        size: -1,
        category: 'A',
        element: t.oid as u32,
        array: 0,
    });
    let rows: Vec<Row> = scalars.chain(arrays).collect();
    Table::new(rows.len())
        .oid("oid", rows.iter().map(|t| t.oid))
        .text("typname", rows.iter().map(|t| t.name.as_str()))
        .same_oid("typnamespace", PG_CATALOG)
        .same_oid("typowner", OWNER)
        .short("typlen", rows.iter().map(|t| t.size))
        .flag("typbyval", rows.iter().map(|t| (1..=8).contains(&t.size)))
        .text("typtype", rows.iter().map(|t| if t.category == 'P' { 'p' } else { 'b' }))
        .text("typcategory", rows.iter().map(|t| t.category))
        .flags(&["typispreferred"], false)
        .flags(&["typisdefined"], true)
        .same("typdelim", ",")
        .same_oid("typrelid", 0)
        .oid("typsubscript", rows.iter().map(|_| 0))
        .oid("typelem", rows.iter().map(|t| t.element))
        .oid("typarray", rows.iter().map(|t| t.array))
        .text(
            "typinput",
            rows.iter().map(|t| if t.category == 'A' { "array_in".to_owned() } else { format!("{}in", t.name) }),
        )
        .text(
            "typoutput",
            rows.iter().map(|t| if t.category == 'A' { "array_out".to_owned() } else { format!("{}out", t.name) }),
        )
        .text("typreceive", rows.iter().map(|t| format!("{}recv", t.name)))
        .text("typsend", rows.iter().map(|t| format!("{}send", t.name)))
        .same("typalign", "i")
        .same("typstorage", "p")
        .flags(&["typnotnull"], false)
        .same_oid("typbasetype", 0)
        .same_int("typtypmod", -1)
        .same_int("typndims", 0)
        .same_oid("typcollation", 0)
        .null("typdefault")
        .null_list("typacl")
}

/// `pg_proc`: names and kinds; DataFusion resolves arguments by coercion, so none are listed.
pub fn pg_proc(snapshot: &Snapshot) -> Table {
    let rows = &snapshot.functions;
    Table::new(rows.len())
        .oid("oid", (0..rows.len()).map(|i| 20_000 + i as u32))
        .text("proname", rows.iter().map(|(name, _)| name.as_str()))
        .same_oid("pronamespace", PG_CATALOG)
        .same_oid("proowner", OWNER)
        .same_oid("prolang", 0)
        .text("prokind", rows.iter().map(|(_, kind)| *kind))
        .flags(&["prosecdef", "proleakproof", "proisstrict", "proretset"], false)
        .same("provolatile", "i")
        .same("proparallel", "s")
        .same_short("pronargs", 0)
        .same_oid("prorettype", 2276)
        .oids("proargtypes", rows.iter().map(|_| Vec::new()))
        .null_list("proargnames")
        .null("prosrc")
        .null_list("proacl")
}
