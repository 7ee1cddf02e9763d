//! The tidy check: reads the tree as text, runs every rule, prints each breach with its place.

mod docs;
mod imports;
mod names;
mod ports;
mod size;
mod source;
mod unsafety;

use std::process::{Command, ExitCode};

use source::Tree;

/// One breach of a rule.
pub struct Breach {
    /// `path` or `path:line`.
    pub place: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Breach {
    fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into() }
    }
}

type Rule = fn(&Tree) -> Vec<Breach>;

const RULES: &[(&str, Rule)] = &[
    ("imports", imports::check),
    ("size", size::check),
    ("names", names::check),
    ("unsafe", unsafety::check),
    ("ports", ports::check),
    ("docs", docs::check),
];

/// Runs all rules over the tracked files of the repository; success when there is no breach.
pub fn run() -> ExitCode {
    let tree = match tracked_files() {
        Ok(paths) => Tree::read(paths),
        Err(message) => {
            eprintln!("tidy: {message}");
            return ExitCode::from(2);
        }
    };
    let mut breaches = 0;
    for (name, rule) in RULES {
        for breach in rule(&tree) {
            eprintln!("tidy[{name}] {}: {}", breach.place, breach.message);
            breaches += 1;
        }
    }
    println!("tidy: {} files, {} rules, {breaches} breaches", tree.files.len(), RULES.len());
    if breaches == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tracked_files() -> Result<Vec<String>, String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .output()
        .map_err(|e| format!("cannot run git: {e}"))?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}
