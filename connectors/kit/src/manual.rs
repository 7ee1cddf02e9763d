//! The option manual, made from the declarations.

use std::fmt::Write as _;

use crate::{OptionKind, OptionSpec};

/// A Markdown table of the options, one line each.
pub fn manual(options: &[OptionSpec]) -> String {
    let mut text = String::from("| option | value | default | meaning |\n|---|---|---|---|\n");
    for option in options {
        let value = match option.kind {
            OptionKind::Text => "text".to_string(),
            OptionKind::Integer => "whole number".to_string(),
            OptionKind::Number => "number".to_string(),
            OptionKind::Bool => "`true`, `false`".to_string(),
            OptionKind::Duration => "time (`500 ms`)".to_string(),
            OptionKind::Bytes => "size (`64 KiB`)".to_string(),
            OptionKind::Choice(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        };
        let default = match (option.default, option.required) {
            (Some(default), _) => format!("`{default}`"),
            (None, true) => "required".to_string(),
            (None, false) => String::new(),
        };
        let secret = if option.secret { " Secret: never shown." } else { "" };
        let aliases: Vec<String> = option.aliases.iter().map(|alias| format!("`{alias}`")).collect();
        let also = if aliases.is_empty() { String::new() } else { format!(" Also written {}.", aliases.join(", ")) };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| `{}` | {value} | {default} | {}{secret}{also} |", option.name, option.doc);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_shows_default_aliases_and_secrecy() {
        let option = OptionSpec {
            name: "password",
            aliases: &["sasl.password"],
            kind: OptionKind::Text,
            default: None,
            required: true,
            secret: true,
            doc: "Proves who we are.",
        };
        let text = manual(&[option]);
        assert!(
            text.ends_with("| `password` | text | required | Proves who we are. Secret: never shown. Also written `sasl.password`. |\n"),
            "{text}"
        );
    }
}
