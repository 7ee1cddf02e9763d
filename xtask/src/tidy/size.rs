//! Size budgets and headers: a file is read in one sitting and says what it is.

use super::Breach;
use super::source::Tree;

/// Product lines (without tests, comments, blank lines) that a file may have.
const MAX_PRODUCT_LINES: usize = 500;
const MAX_WIDTH: usize = 160;

/// Checks size, header and width of Rust files.
pub fn check(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (path, source) in tree.rust() {
        let lines = source.product_lines().count();
        if lines > MAX_PRODUCT_LINES {
            breaches.push(Breach::new(
                path,
                format!("{lines} product lines, at most {MAX_PRODUCT_LINES}: split it by noun"),
            ));
        }
        if !source.test_only && !source.text.trim_start().starts_with("//!") {
            breaches.push(Breach::new(path, "no `//!` header that says what it is"));
        }
        for (number, line) in source.product_lines() {
            if line.chars().count() > MAX_WIDTH && !line.contains('"') {
                breaches.push(Breach::new(format!("{path}:{number}"), format!("wider than {MAX_WIDTH} columns")));
            }
        }
    }
    breaches
}
