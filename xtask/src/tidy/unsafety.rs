//! `unsafe` only in the files that `unsafe.allow` lists, and no stale line in that list.

use super::Breach;
use super::source::Tree;

const LIST: &str = "unsafe.allow";

/// Compares the files that use `unsafe` with the list.
pub fn check(tree: &Tree) -> Vec<Breach> {
    let allowed: Vec<&str> = tree.files.get(LIST).map_or("", |s| s.text.as_str()).lines().collect();
    let allowed: Vec<&str> =
        allowed.iter().map(|l| l.trim()).filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    let mut breaches = Vec::new();
    for (path, source) in tree.rust().filter(|(p, _)| !p.starts_with("xtask/")) {
        let used = source.text.lines().map(str::trim).any(uses_unsafe);
        if used && !allowed.contains(&path) {
            breaches.push(Breach::new(path, format!("uses `unsafe` and is not listed in {LIST}")));
        }
        if !used && allowed.contains(&path) {
            breaches.push(Breach::new(path, format!("is listed in {LIST} and uses no `unsafe`: take it off")));
        }
    }
    for path in allowed.iter().filter(|p| !tree.files.contains_key(**p)) {
        breaches.push(Breach::new(LIST, format!("lists `{path}`, which does not exist")));
    }
    breaches
}

fn uses_unsafe(line: &str) -> bool {
    if line.starts_with("//") || line.starts_with('"') {
        return false;
    }
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe trait", "unsafe(", "unsafe{"]
        .iter()
        .any(|word| line.match_indices(word).any(|(at, _)| !line[..at].contains('"') && !line[..at].contains('`')))
}
