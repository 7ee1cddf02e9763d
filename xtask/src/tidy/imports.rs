//! Who may import whom (docs/architecture.md, "The floors"): checked in the manifests and, where only one
//! room of a crate may use a dependency, in the `use` lines.

use super::Breach;
use super::source::Tree;

/// (manifest folder, what it may depend on of the things that matter).
const ALLOWED: &[(&str, &[&str])] = &[
    ("laminar-storage", &[]),
    ("laminar-core", &["laminar-storage", "arrow", "glommio", "io-uring", "core_affinity"]),
    ("laminar-sql", &["laminar-core", "laminar-connector-kit", "datafusion", "arrow", "tokio"]),
    ("connectors/kit-derive", &[]),
    ("connectors/kit", &["laminar-core", "laminar-connector-kit-derive", "arrow"]),
    ("connectors/formats", &["laminar-core", "laminar-connector-kit", "arrow"]),
    ("connectors/generator", &["laminar-core", "laminar-connector-kit", "laminar-formats", "arrow"]),
    ("connectors/file", &["laminar-core", "laminar-connector-kit", "laminar-formats", "arrow"]),
    (
        "connectors/kafka",
        &["laminar-core", "laminar-connector-kit", "laminar-formats", "arrow", "rdkafka", "rdkafka-sys"],
    ),
    ("connectors/postgres", &["laminar-core", "laminar-connector-kit", "arrow", "tokio", "tokio-postgres"]),
    ("connectors/blackhole", &["laminar-core", "laminar-connector-kit", "arrow"]),
    ("laminar-db", &["laminar-core", "laminar-sql", "laminar-storage", "laminar-connector-kit", "arrow", "tokio"]),
];

/// Dependencies that only some crates may have.
const GUARDED: &[&str] = &[
    "arrow",
    "datafusion",
    "glommio",
    "io-uring",
    "core_affinity",
    "tokio",
    "axum",
    "pgwire",
    "rdkafka",
    "rdkafka-sys",
    "tokio-postgres",
];

/// (crate name in `use`, the only places of product code that may name it).
const ROOMS: &[(&str, &[&str])] = &[
    ("glommio", &["laminar-core/src/reactor/"]),
    ("io_uring", &["laminar-core/src/reactor/", "benches/"]),
    ("core_affinity", &["laminar-core/src/reactor/", "benches/"]),
    ("datafusion", &["laminar-sql/", "benches/"]),
    ("rdkafka", &["connectors/kafka/", "laminar-server/src/bin/"]),
    ("pgwire", &["laminar-server/src/pgwire/"]),
    ("axum", &["laminar-server/src/http/"]),
    ("tokio_postgres", &["connectors/postgres/"]),
    ("tokio", &["laminar-sql/", "laminar-db/", "laminar-server/", "connectors/postgres/", "benches/"]),
];

/// Checks manifests and `use` lines.
pub fn check(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (folder, allowed) in ALLOWED {
        let path = format!("{folder}/Cargo.toml");
        match tree.files.get(&path).map(|s| s.text.parse::<toml::Table>()) {
            Some(Ok(manifest)) => manifest_breaches(&path, &manifest, allowed, &mut breaches),
            Some(Err(e)) => breaches.push(Breach::new(&path, format!("does not parse: {e}"))),
            None => breaches.push(Breach::new(&path, "is in the import table but does not exist")),
        }
    }
    for (path, source) in tree.rust() {
        for (number, line) in source.product_lines() {
            for (name, rooms) in ROOMS {
                if names_crate(line, name) && !rooms.iter().any(|room| path.starts_with(room)) {
                    breaches.push(Breach::new(
                        format!("{path}:{number}"),
                        format!("only {} may use `{name}`", rooms.join(", ")),
                    ));
                }
            }
        }
    }
    breaches
}

fn manifest_breaches(path: &str, manifest: &toml::Table, allowed: &[&str], breaches: &mut Vec<Breach>) {
    let Some(dependencies) = manifest.get("dependencies").and_then(|d| d.as_table()) else { return };
    for (name, value) in dependencies {
        let guarded = name.starts_with("laminar-") || GUARDED.contains(&name.as_str());
        if guarded && !allowed.contains(&name.as_str()) {
            breaches
                .push(Breach::new(path, format!("may not depend on `{name}` (docs/architecture.md, import table)")));
        }
        if value.get("workspace").is_none() {
            breaches.push(Breach::new(path, format!("`{name}`: versions stand once, in the workspace manifest")));
        }
    }
}

fn names_crate(line: &str, name: &str) -> bool {
    line.find(name).is_some_and(|at| {
        let before = line[..at].chars().next_back();
        line[at + name.len()..].starts_with("::")
            && !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '.')
    })
}
