//! The reference of functions, generated (`docs/functions.md`).

use std::fmt::Write;

/// The whole page.
pub fn reference() -> String {
    let mut text = String::from(
        "# Functions\n\nGenerated from the registry; a test keeps it in sync. These scalar functions can be used in continuous\n\
         queries: they are immutable, so a replay computes the same rows.\n\n| name | description |\n|---|---|\n",
    );
    for (name, function) in crate::expression::immutable_functions() {
        let description = function.documentation().map_or("", |d| d.description.as_str());
        let first = description.split(['\n', '|']).next().unwrap_or_default().trim();
        let _ = writeln!(text, "| `{name}` | {first} |");
    }
    text.push_str("\nAggregates: `count`, `sum`, `avg`, `min`, `max`, `first_value`, `last_value`.\n");
    text
}
