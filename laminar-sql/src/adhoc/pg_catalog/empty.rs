//! System relations that never have rows here: triggers, policies, partitions, replication, ….
//!
//! They exist so that tools which join them get an answer; [`rewrite`](super::rewrite) uses the
//! fact that they are empty.

use super::table::Kind::{self, Bool, Int, Long, Oid, Short, Text};

/// Name and columns of each.
pub const EMPTY: &[(&str, &[(&str, Kind)])] = &[
    ("pg_attrdef", &[("oid", Oid), ("adrelid", Oid), ("adnum", Short), ("adbin", Text)]),
    ("pg_auth_members", &[("roleid", Oid), ("member", Oid), ("grantor", Oid), ("admin_option", Bool)]),
    ("pg_cast", &[("oid", Oid), ("castsource", Oid), ("casttarget", Oid), ("castfunc", Oid)]),
    ("pg_collation", &[("oid", Oid), ("collname", Text), ("collnamespace", Oid), ("collowner", Oid)]),
    ("pg_conversion", &[("oid", Oid), ("conname", Text), ("connamespace", Oid)]),
    (
        "pg_depend",
        &[
            ("classid", Oid),
            ("objid", Oid),
            ("objsubid", Int),
            ("refclassid", Oid),
            ("refobjid", Oid),
            ("refobjsubid", Int),
            ("deptype", Text),
        ],
    ),
    ("pg_enum", &[("oid", Oid), ("enumtypid", Oid), ("enumsortorder", Int), ("enumlabel", Text)]),
    ("pg_event_trigger", &[("oid", Oid), ("evtname", Text), ("evtevent", Text), ("evtowner", Oid)]),
    ("pg_foreign_data_wrapper", &[("oid", Oid), ("fdwname", Text), ("fdwowner", Oid), ("fdwhandler", Oid)]),
    ("pg_inherits", &[("inhrelid", Oid), ("inhparent", Oid), ("inhseqno", Int), ("inhdetachpending", Bool)]),
    ("pg_language", &[("oid", Oid), ("lanname", Text), ("lanowner", Oid)]),
    (
        "pg_locks",
        &[("locktype", Text), ("database", Oid), ("relation", Oid), ("pid", Int), ("mode", Text), ("granted", Bool)],
    ),
    ("pg_opclass", &[("oid", Oid), ("opcmethod", Oid), ("opcname", Text), ("opcnamespace", Oid), ("opcdefault", Bool)]),
    ("pg_operator", &[("oid", Oid), ("oprname", Text), ("oprnamespace", Oid), ("oprleft", Oid), ("oprright", Oid)]),
    ("pg_partitioned_table", &[("partrelid", Oid), ("partstrat", Text), ("partnatts", Short)]),
    ("pg_policy", &[("oid", Oid), ("polname", Text), ("polrelid", Oid), ("polcmd", Text), ("polpermissive", Bool)]),
    ("pg_prepared_xacts", &[("transaction", Int), ("gid", Text), ("owner", Text), ("database", Text)]),
    ("pg_publication", &[("oid", Oid), ("pubname", Text), ("puballtables", Bool)]),
    ("pg_publication_namespace", &[("oid", Oid), ("pnpubid", Oid), ("pnnspid", Oid)]),
    ("pg_publication_rel", &[("oid", Oid), ("prpubid", Oid), ("prrelid", Oid)]),
    ("pg_publication_tables", &[("pubname", Text), ("schemaname", Text), ("tablename", Text)]),
    ("pg_range", &[("rngtypid", Oid), ("rngsubtype", Oid), ("rngmultitypid", Oid)]),
    ("pg_replication_slots", &[("slot_name", Text), ("plugin", Text), ("active", Bool)]),
    (
        "pg_rewrite",
        &[
            ("oid", Oid),
            ("rulename", Text),
            ("ev_class", Oid),
            ("ev_type", Text),
            ("ev_enabled", Text),
            ("is_instead", Bool),
        ],
    ),
    ("pg_rules", &[("schemaname", Text), ("tablename", Text), ("rulename", Text), ("definition", Text)]),
    ("pg_seclabel", &[("objoid", Oid), ("classoid", Oid), ("objsubid", Int), ("provider", Text), ("label", Text)]),
    ("pg_sequence", &[("seqrelid", Oid), ("seqtypid", Oid), ("seqstart", Long), ("seqincrement", Long)]),
    ("pg_sequences", &[("schemaname", Text), ("sequencename", Text), ("last_value", Long)]),
    ("pg_shdescription", &[("objoid", Oid), ("classoid", Oid), ("description", Text)]),
    (
        "pg_stat_activity",
        &[("datid", Oid), ("datname", Text), ("pid", Int), ("usename", Text), ("state", Text), ("query", Text)],
    ),
    ("pg_statistic_ext", &[("oid", Oid), ("stxrelid", Oid), ("stxname", Text), ("stxnamespace", Oid)]),
    ("pg_subscription", &[("oid", Oid), ("subdbid", Oid), ("subname", Text)]),
    ("pg_timezone_names", &[("name", Text), ("abbrev", Text), ("is_dst", Bool)]),
    (
        "pg_trigger",
        &[
            ("oid", Oid),
            ("tgrelid", Oid),
            ("tgname", Text),
            ("tgfoid", Oid),
            ("tgtype", Short),
            ("tgenabled", Text),
            ("tgisinternal", Bool),
            ("tgparentid", Oid),
            ("tgconstraint", Oid),
        ],
    ),
    ("pg_ts_config", &[("oid", Oid), ("cfgname", Text), ("cfgnamespace", Oid)]),
    ("pg_ts_dict", &[("oid", Oid), ("dictname", Text), ("dictnamespace", Oid)]),
    ("pg_user_mapping", &[("oid", Oid), ("umuser", Oid), ("umserver", Oid)]),
    ("pg_user_mappings", &[("umid", Oid), ("srvid", Oid), ("srvname", Text), ("usename", Text)]),
];

/// The columns of a relation that is always empty.
pub fn columns(name: &str) -> Option<&'static [(&'static str, Kind)]> {
    EMPTY.iter().find(|(n, _)| *n == name).map(|(_, columns)| *columns)
}
