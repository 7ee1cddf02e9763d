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
        let mut files: BTreeMap<String, Source> = paths
            .into_iter()
            .filter_map(|path| {
                let text = std::fs::read_to_string(&path).ok()?;
                let test_only = is_test_path(&path);
                Some((path, Source { text, test_only }))
            })
            .collect();
        let test_modules: Vec<String> =
            files.iter().flat_map(|(path, source)| test_modules(path, &source.text)).collect();
        for (path, source) in &mut files {
            let of = |module: &String| *path == format!("{module}.rs") || path.starts_with(&format!("{module}/"));
            source.test_only |= test_modules.iter().any(of);
        }
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

/// Paths, without ending, of the modules that a file declares for tests only.
fn test_modules(path: &str, text: &str) -> Vec<String> {
    let folder = match path.rsplit_once('/') {
        Some((folder, "mod.rs" | "lib.rs" | "main.rs")) => folder.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let declared = |pair: &[&str]| {
        let name = pair[1].strip_prefix("pub(crate) ").unwrap_or(pair[1]);
        let name = name.strip_prefix("mod ")?.strip_suffix(';')?;
        pair[0].starts_with("#[cfg(test)]").then(|| format!("{folder}/{name}"))
    };
    lines.windows(2).filter_map(declared).collect()
}
