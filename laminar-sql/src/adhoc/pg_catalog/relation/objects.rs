//! The users' objects: `pg_class`, their columns, keys, comments and queries.

use super::super::snapshot::{Column, Relation, RelationKind, Snapshot};
use super::super::table::Table;
use super::super::types::{by_oid, modifier_of, oid_of};
use super::{OWNER, PUBLIC, SYSTEM};

/// Access methods: heap and btree.
const HEAP: u32 = 2;
const BTREE: u32 = 403;

/// Number of the server of a connector: its place among the connectors in use.
fn server_oid(snapshot: &Snapshot, connector: &str) -> u32 {
    15_000 + connectors(snapshot).iter().position(|c| *c == connector).unwrap_or(0) as u32
}

fn connectors(snapshot: &Snapshot) -> Vec<&str> {
    let mut names: Vec<&str> = foreign(snapshot).map(connector).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn foreign(snapshot: &Snapshot) -> impl Iterator<Item = &Relation> {
    snapshot.relations.iter().filter(|r| r.kind.relkind() == 'f')
}

fn connector(relation: &Relation) -> &str {
    relation.connector.as_deref().unwrap_or("push")
}

/// A row of `pg_class`: an object or the index of its key.
struct Class<'a> {
    oid: u32,
    name: String,
    kind: char,
    method: u32,
    columns: usize,
    of: &'a Relation,
}

fn classes(snapshot: &Snapshot) -> Vec<Class<'_>> {
    let objects = snapshot.relations.iter().map(|r| Class {
        oid: r.oid,
        name: r.name.clone(),
        kind: r.kind.relkind(),
        method: if matches!(r.kind, RelationKind::Table | RelationKind::MaterializedView) { HEAP } else { 0 },
        columns: r.columns.len(),
        of: r,
    });
    let indexes = snapshot.with_key().map(|r| Class {
        oid: r.index_oid(),
        name: r.key_name(),
        kind: 'i',
        method: BTREE,
        columns: r.primary_key.len(),
        of: r,
    });
    objects.chain(indexes).collect()
}

/// `pg_class`
pub fn pg_class(snapshot: &Snapshot) -> Table {
    let rows = classes(snapshot);
    let has_key = |c: &Class<'_>| c.kind != 'i' && !c.of.primary_key.is_empty();
    Table::new(rows.len())
        .oid("oid", rows.iter().map(|c| c.oid))
        .text("relname", rows.iter().map(|c| c.name.as_str()))
        .same_oid("relnamespace", PUBLIC)
        .same_oid("reltype", 0)
        .same_oid("reloftype", 0)
        .same_oid("relowner", OWNER)
        .oid("relam", rows.iter().map(|c| c.method))
        .oid("relfilenode", rows.iter().map(|c| c.oid))
        .same_oid("reltablespace", 0)
        .same_int("relpages", 0)
        .same_real("reltuples", -1.0)
        .same_int("relallvisible", 0)
        .same_oid("reltoastrelid", 0)
        .flag("relhasindex", rows.iter().map(has_key))
        .flags(&["relisshared"], false)
        .same("relpersistence", "p")
        .text("relkind", rows.iter().map(|c| c.kind))
        .short("relnatts", rows.iter().map(|c| c.columns as i16))
        .same_short("relchecks", 0)
        .flags(&["relhasrules", "relhastriggers", "relhassubclass", "relrowsecurity", "relforcerowsecurity"], false)
        .flags(&["relispopulated"], true)
        .same("relreplident", "d")
        .flags(&["relispartition"], false)
        .same_oid("relrewrite", 0)
        .same_int("relfrozenxid", 0)
        .same_int("relminmxid", 0)
        .null_list("relacl")
        .null_list("reloptions")
        .null("relpartbound")
}

/// Every column with its object and its number from 1.
fn columns(snapshot: &Snapshot) -> Vec<(&Relation, i16, &Column)> {
    let numbered = |r| move |(i, c): (usize, _)| (r, i as i16 + 1, c);
    snapshot.relations.iter().flat_map(|r| r.columns.iter().enumerate().map(numbered(r))).collect()
}

/// `pg_attribute`
pub fn pg_attribute(snapshot: &Snapshot) -> Table {
    let rows = columns(snapshot);
    let keyed = |r: &Relation, n: i16| r.primary_key.contains(&(n as usize - 1));
    Table::new(rows.len())
        .oid("attrelid", rows.iter().map(|(r, _, _)| r.oid))
        .text("attname", rows.iter().map(|(_, _, c)| c.name.as_str()))
        .oid("atttypid", rows.iter().map(|(_, _, c)| oid_of(&c.data_type) as u32))
        .same_int("attstattarget", -1)
        .short("attlen", rows.iter().map(|(_, _, c)| by_oid(oid_of(&c.data_type)).map_or(-1, |t| t.size)))
        .short("attnum", rows.iter().map(|(_, n, _)| *n))
        .same_int("attndims", 0)
        .same_int("attcacheoff", -1)
        .int("atttypmod", rows.iter().map(|(_, _, c)| modifier_of(&c.data_type)))
        .flags(&["attbyval"], false)
        .same("attalign", "i")
        .same("attstorage", "p")
        .same("attcompression", "")
        .flag("attnotnull", rows.iter().map(|(r, n, c)| !c.nullable || keyed(r, *n)))
        .flags(&["atthasdef", "atthasmissing"], false)
        .same("attidentity", "")
        .same("attgenerated", "")
        .flags(&["attisdropped"], false)
        .flags(&["attislocal"], true)
        .same_int("attinhcount", 0)
        .same_oid("attcollation", 0)
        .null_list("attacl")
        .null_list("attoptions")
        .null_list("attfdwoptions")
}

/// `pg_index`: the primary keys.
pub fn pg_index(snapshot: &Snapshot) -> Table {
    let rows: Vec<&Relation> = snapshot.with_key().collect();
    let key = |r: &Relation| -> Vec<i16> { r.primary_key.iter().map(|i| *i as i16 + 1).collect() };
    Table::new(rows.len())
        .oid("indexrelid", rows.iter().map(|r| r.index_oid()))
        .oid("indrelid", rows.iter().map(|r| r.oid))
        .short("indnatts", rows.iter().map(|r| r.primary_key.len() as i16))
        .short("indnkeyatts", rows.iter().map(|r| r.primary_key.len() as i16))
        .flags(&["indisunique"], true)
        .flags(&["indnullsnotdistinct"], false)
        .flags(&["indisprimary"], true)
        .flags(&["indisexclusion"], false)
        .flags(&["indimmediate"], true)
        .flags(&["indisclustered"], false)
        .flags(&["indisvalid"], true)
        .flags(&["indcheckxmin"], false)
        .flags(&["indisready", "indislive"], true)
        .flags(&["indisreplident"], false)
        .shorts("indkey", rows.iter().map(|r| Some(key(r))))
        .oids("indcollation", rows.iter().map(|r| vec![0; r.primary_key.len()]))
        .oids("indclass", rows.iter().map(|r| vec![0; r.primary_key.len()]))
        .shorts("indoption", rows.iter().map(|r| Some(vec![0; r.primary_key.len()])))
        .null("indexprs")
        .null("indpred")
}

/// `pg_constraint`: the primary keys.
pub fn pg_constraint(snapshot: &Snapshot) -> Table {
    let rows: Vec<&Relation> = snapshot.with_key().collect();
    let key = |r: &Relation| -> Vec<i16> { r.primary_key.iter().map(|i| *i as i16 + 1).collect() };
    Table::new(rows.len())
        .oid("oid", rows.iter().map(|r| r.constraint_oid()))
        .text("conname", rows.iter().map(|r| r.key_name()))
        .same_oid("connamespace", PUBLIC)
        .same("contype", "p")
        .flags(&["condeferrable", "condeferred"], false)
        .flags(&["convalidated"], true)
        .oid("conrelid", rows.iter().map(|r| r.oid))
        .same_oid("contypid", 0)
        .oid("conindid", rows.iter().map(|r| r.index_oid()))
        .same_oid("conparentid", 0)
        .same_oid("confrelid", 0)
        .same("confupdtype", " ")
        .same("confdeltype", " ")
        .same("confmatchtype", " ")
        .flags(&["conislocal"], true)
        .same_int("coninhcount", 0)
        .flags(&["connoinherit"], true)
        .shorts("conkey", rows.iter().map(|r| Some(key(r))))
        .shorts("confkey", rows.iter().map(|_| None))
        .null("conbin")
}

/// `pg_description`: what each object is in our own words.
pub fn pg_description(snapshot: &Snapshot) -> Table {
    let rows: Vec<&Relation> = snapshot.relations.iter().filter(|r| r.comment.is_some()).collect();
    let class = SYSTEM.iter().find(|(n, _)| *n == "pg_class").map_or(0, |(_, oid)| *oid);
    Table::new(rows.len())
        .oid("objoid", rows.iter().map(|r| r.oid))
        .same_oid("classoid", class)
        .same_int("objsubid", 0)
        .optional("description", rows.iter().map(|r| r.comment.clone()))
}

/// `pg_foreign_table`: sources and sinks.
pub fn pg_foreign_table(snapshot: &Snapshot) -> Table {
    let rows: Vec<&Relation> = foreign(snapshot).collect();
    Table::new(rows.len())
        .oid("ftrelid", rows.iter().map(|r| r.oid))
        .oid("ftserver", rows.iter().map(|r| server_oid(snapshot, connector(r))))
        .null_list("ftoptions")
}

/// `pg_foreign_server`: the connectors in use.
pub fn pg_foreign_server(snapshot: &Snapshot) -> Table {
    let rows = connectors(snapshot);
    Table::new(rows.len())
        .oid("oid", rows.iter().map(|c| server_oid(snapshot, c)))
        .text("srvname", rows.iter().copied())
        .same_oid("srvowner", OWNER)
        .same_oid("srvfdw", 0)
        .null("srvtype")
        .null("srvversion")
        .null_list("srvacl")
        .null_list("srvoptions")
}

fn of_kind(snapshot: &Snapshot, kind: char) -> Vec<&Relation> {
    snapshot.relations.iter().filter(|r| r.kind.relkind() == kind).collect()
}

/// `pg_tables`
pub fn pg_tables(snapshot: &Snapshot) -> Table {
    let rows = of_kind(snapshot, 'r');
    Table::new(rows.len())
        .same("schemaname", "public")
        .text("tablename", rows.iter().map(|r| r.name.as_str()))
        .same("tableowner", &snapshot.user)
        .null("tablespace")
        .flag("hasindexes", rows.iter().map(|r| !r.primary_key.is_empty()))
        .flags(&["hasrules", "hastriggers", "rowsecurity"], false)
}

/// `pg_views`: the streams.
pub fn pg_views(snapshot: &Snapshot) -> Table {
    let rows = of_kind(snapshot, 'v');
    Table::new(rows.len())
        .same("schemaname", "public")
        .text("viewname", rows.iter().map(|r| r.name.as_str()))
        .same("viewowner", &snapshot.user)
        .optional("definition", rows.iter().map(|r| r.definition.clone()))
}

/// `pg_matviews`
pub fn pg_matviews(snapshot: &Snapshot) -> Table {
    let rows = of_kind(snapshot, 'm');
    Table::new(rows.len())
        .same("schemaname", "public")
        .text("matviewname", rows.iter().map(|r| r.name.as_str()))
        .same("matviewowner", &snapshot.user)
        .null("tablespace")
        .flag("hasindexes", rows.iter().map(|r| !r.primary_key.is_empty()))
        .flags(&["ispopulated"], true)
        .optional("definition", rows.iter().map(|r| r.definition.clone()))
}
