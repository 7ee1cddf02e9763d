//! The tree as text: each tracked file with its product lines apart from its tests.

use std::collections::BTreeMap;

/// One text file.
pub struct Source {
    /// All of it.
    pub text: String,
    /// Whether every line of it is test code.
    pub test_only: bool,
}

/// Tracked text files by path.
pub struct Tree {
    /// The files.
    pub files: BTreeMap<String, Source>,
}

impl Tree {
    /// Reads the files that are text; others are passed over.
    pub fn read(paths: Vec<String>) -> Self {
        let files = paths
            .into_iter()
            .filter_map(|path| {
                let text = std::fs::read_to_string(&path).ok()?;
                let test_only = is_test_path(&path);
                Some((path, Source { text, test_only }))
            })
            .collect();
        Self { files }
    }

    /// Rust files with their paths.
    pub fn rust(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.files.iter().filter(|(p, _)| p.ends_with(".rs")).map(|(p, s)| (p.as_str(), s))
    }
}

impl Source {
    /// Product lines with their numbers: up to the test module, without comments and blank lines.
    pub fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let take = !self.test_only;
        self.text
            .lines()
            .enumerate()
            .take_while(move |(_, line)| take && !line.starts_with("#[cfg(test)]"))
            .map(|(i, line)| (i + 1, line.trim()))
            .filter(|(_, line)| !line.is_empty() && !line.starts_with("//"))
    }
}

fn is_test_path(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    parts.iter().any(|p| matches!(*p, "tests" | "examples"))
        || path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
}
