//! Law 2: core and storage reach clock, threads, files and chance only through their ports.

use super::Breach;
use super::source::Tree;

const FLOORS: &[&str] = &["laminar-core/src/", "laminar-storage/src/"];

/// (what, where it may stand).
const WORLD: &[(&str, &[&str])] = &[
    ("Instant::now", &["laminar-core/src/reactor/"]),
    ("SystemTime::now", &["laminar-core/src/reactor/"]),
    ("thread::spawn", &["laminar-core/src/reactor/", "laminar-storage/src/disk/real"]),
    ("thread::Builder", &["laminar-core/src/reactor/", "laminar-storage/src/disk/real"]),
    ("thread::sleep", &["laminar-core/src/reactor/"]),
    ("std::fs", &["laminar-core/src/reactor/", "laminar-storage/src/disk/", "laminar-storage/src/lock.rs"]),
    ("fs::File::open", &["laminar-core/src/reactor/", "laminar-storage/src/disk/", "laminar-storage/src/lock.rs"]),
    ("fastrand::Rng::new", &["laminar-core/src/reactor/"]),
    (
        "Mutex<",
        &[
            "laminar-core/src/reactor/",
            "laminar-core/src/engine/driver",
            "laminar-core/src/control/",
            "laminar-storage/src/disk/",
        ],
    ),
];

/// Checks the product lines of the two floors.
pub fn check(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (path, source) in tree.rust().filter(|(p, _)| FLOORS.iter().any(|f| p.starts_with(f))) {
        for (number, line) in source.product_lines() {
            for (word, rooms) in WORLD.iter().filter(|(w, _)| line.contains(w)) {
                if !rooms.iter().any(|room| path.starts_with(room)) {
                    breaches.push(Breach::new(
                        format!("{path}:{number}"),
                        format!("`{word}`: only through a port (law 2)"),
                    ));
                }
            }
        }
    }
    breaches
}
