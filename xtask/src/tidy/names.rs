//! Names that say nothing, things left open, panics in product code, and paths of one machine.

use super::Breach;
use super::source::Tree;

const FORBIDDEN_STEMS: &[&str] = &["utils", "util", "helpers", "helper", "common", "misc", "manager"];
const LEFT_OPEN: &[&str] = &["todo!(", "unimplemented!(", "dbg!(", "TODO", "FIXME", "XXX"];
const PANICS: &[&str] = &[".unwrap()", ".expect(\"", "panic!("];
const PANICS_ALLOWED: &[&str] = &["xtask/", "benches/", "sim/", "connectors/kit/src/contract/"];

/// Checks file names and product lines.
pub fn check(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (path, source) in tree.rust() {
        let stem = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".rs");
        if FORBIDDEN_STEMS.contains(&stem) || stem.starts_with("new_") {
            breaches.push(Breach::new(path, format!("`{stem}` names nothing: name the noun it holds")));
        }
        let this_file = path == "xtask/src/tidy/names.rs";
        for (number, line) in source.product_lines().filter(|_| !this_file) {
            let place = || format!("{path}:{number}");
            for word in LEFT_OPEN.iter().filter(|w| line.contains(**w)) {
                breaches.push(Breach::new(place(), format!("`{word}`: finish it or refuse it with an error")));
            }
            let may_panic = PANICS_ALLOWED.iter().any(|p| path.starts_with(p)) || source.test_only;
            for word in PANICS.iter().filter(|w| !may_panic && line.contains(**w)) {
                breaches.push(Breach::new(
                    place(),
                    format!("`{word}` outside tests: return an error, or assert with the reason"),
                ));
            }
        }
    }
    breaches
}
