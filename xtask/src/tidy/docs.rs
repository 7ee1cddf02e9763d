//! Docs move with the code: links lead somewhere, the map names every crate, every recorded decision
//! has its number once, and what the texts name exists.

use std::collections::BTreeMap;

use super::Breach;
use super::source::Tree;

const MAP: &str = "docs/architecture.md";

/// Checks links, the map and the decisions.
pub fn check(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (path, source) in tree.files.iter().filter(|(p, _)| p.ends_with(".md")) {
        let folder = path.rsplit_once('/').map_or("", |(f, _)| f);
        for (number, line) in source.text.lines().enumerate() {
            for target in links(line).filter(|t| !t.contains("://") && !t.starts_with('#')) {
                let target = target.split('#').next().unwrap_or(target);
                let full = normalise(folder, target);
                let exists =
                    tree.files.contains_key(&full) || tree.files.keys().any(|f| f.starts_with(&format!("{full}/")));
                if !exists {
                    breaches.push(Breach::new(
                        format!("{path}:{}", number + 1),
                        format!("links to `{target}`, which does not exist"),
                    ));
                }
            }
        }
    }
    map_breaches(tree, &mut breaches);
    decision_breaches(tree, &mut breaches);
    breaches
}

fn map_breaches(tree: &Tree, breaches: &mut Vec<Breach>) {
    let Some(map) = tree.files.get(MAP) else {
        breaches.push(Breach::new(MAP, "does not exist"));
        return;
    };
    for manifest in tree.files.keys().filter(|p| p.ends_with("/Cargo.toml")) {
        let folder = manifest.trim_end_matches("/Cargo.toml");
        if !map.text.contains(&format!("`{folder}`")) {
            breaches.push(Breach::new(MAP, format!("does not name the crate `{folder}`")));
        }
    }
}

fn decision_breaches(tree: &Tree, breaches: &mut Vec<Breach>) {
    let mut numbers: BTreeMap<&str, &str> = BTreeMap::new();
    for path in tree.files.keys().filter(|p| p.starts_with("docs/decisions/")) {
        let name = path.rsplit('/').next().unwrap_or(path);
        let number = name.split('-').next().unwrap_or(name);
        if number.len() != 4 || !number.bytes().all(|b| b.is_ascii_digit()) {
            breaches.push(Breach::new(path, "is not named NNNN-title.md"));
        } else if let Some(other) = numbers.insert(number, path) {
            breaches.push(Breach::new(path, format!("has the same number as {other}")));
        }
    }
}

fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

fn normalise(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|p| !p.is_empty()).collect();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts.join("/")
}
