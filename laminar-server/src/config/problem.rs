//! What is wrong in a configuration file, with the place.

use std::fmt;
use std::path::{Path, PathBuf};

/// One mistake at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Byte offset in the file; none = the file as a whole.
    pub offset: Option<usize>,
    /// What is wrong and what to do.
    pub message: String,
}

impl Problem {
    /// A mistake at a byte offset.
    pub fn at(offset: usize, message: impl Into<String>) -> Self {
        Self { offset: Some(offset), message: message.into() }
    }
}

/// All mistakes of one file, in the order of their places.
#[derive(Debug)]
pub struct Problems {
    path: PathBuf,
    /// One message per mistake, `file:line:column: text`.
    pub(super) lines: Vec<String>,
}

impl Problems {
    /// Resolves the places against the text they were found in.
    pub fn new(path: &Path, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|p| p.offset);
        problems.dedup();
        let lines = problems
            .into_iter()
            .map(|p| match p.offset {
                Some(offset) => {
                    let (line, column) = line_and_column(text, offset);
                    format!("{}:{line}:{column}: {}", path.display(), p.message)
                }
                None => format!("{}: {}", path.display(), p.message),
            })
            .collect();
        Self { path: path.to_owned(), lines }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        let count = self.lines.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(f, "{count} {noun} in {}", self.path.display())
    }
}

impl std::error::Error for Problems {}

/// Line and column of a byte offset, both from 1; columns count characters.
pub fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let start = before.rfind('\n').map_or(0, |i| i + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_one_based_and_counts_characters() {
        let text = "a\näöü = 1\n";
        assert_eq!(line_and_column(text, 0), (1, 1));
        assert_eq!(line_and_column(text, text.find('=').unwrap()), (2, 5));
        assert_eq!(line_and_column(text, 10_000), (3, 1));
    }
}
