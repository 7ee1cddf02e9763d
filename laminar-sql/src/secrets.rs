//! A statement's text as it may be shown: without the values of secret options.
//!
//! Invariant: what stands behind `=` after the name of a secret option of any connector or format is
//! never part of the result, however name and value are quoted.

use laminar_core::connector::Registry;
use laminar_core::connector::options::OptionSpec;

/// What is shown instead.
const HIDDEN: &str = "'***'";

/// The text with every secret's value replaced.
pub fn without_secrets(sql: &str, registry: &Registry) -> String {
    let connectors = registry.sources.values().map(|factory| factory.options());
    let connectors = connectors.chain(registry.sinks.values().map(|factory| factory.options()));
    let formats = registry.decoders.values().map(|factory| factory.options());
    let formats = formats.chain(registry.encoders.values().map(|factory| factory.options()));
    hidden(sql, &connectors.chain(formats).flatten().filter(|option| option.secret).collect::<Vec<_>>())
}

fn hidden(sql: &str, secrets: &[&OptionSpec]) -> String {
    let is_secret = |word: &str| {
        let name = word.trim_matches(['\'', '"']);
        let names = |option: &OptionSpec| -> bool {
            option.name.eq_ignore_ascii_case(name)
                || option.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
        };
        secrets.iter().any(|option| names(option))
    };
    let (mut out, mut rest) = (String::with_capacity(sql.len()), sql);
    // The word before, and whether a secret's value comes next.
    let (mut before, mut armed) = ("", false);
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(piece(rest));
        rest = behind;
        let blank = piece.trim().is_empty();
        if piece == "=" {
            (before, armed) = ("", is_secret(before));
        } else if armed && !blank {
            // A letter before the quote belongs to the value: E'…'.
            let prefix = rest.starts_with('\'') && !piece.starts_with(['\'', '"', '$']);
            if !prefix {
                out.push_str(HIDDEN);
                armed = false;
            }
            continue;
        } else if !blank {
            before = piece;
        }
        out.push_str(piece);
    }
    out
}

/// Length of the first piece: blanks, something quoted, a word, or one other character.
fn piece(text: &str) -> usize {
    let end_of = |part: fn(char) -> bool| text.find(|c: char| !part(c)).unwrap_or(text.len());
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
    match text.chars().next() {
        None => 0,
        Some(quote @ ('\'' | '"')) => {
            let mut end = 1;
            loop {
                let Some(at) = text[end..].find(quote) else { return text.len() };
                end += at + 1;
                if !text[end..].starts_with(quote) {
                    return end;
                }
                end += 1;
            }
        }
        Some('$') => {
            let tag = text[1..].find('$').map(|at| &text[..at + 2]);
            let end = tag.and_then(|tag| text[tag.len()..].find(tag).map(|at| at + 2 * tag.len()));
            end.unwrap_or_else(|| text[1..].find(|c: char| !is_word(c)).map_or(text.len(), |at| at + 1))
        }
        Some(c) if c.is_whitespace() => end_of(char::is_whitespace),
        Some(c) if is_word(c) => end_of(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-')),
        Some(c) => c.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use laminar_core::connector::options::OptionKind;

    use super::*;

    const PASSWORD: OptionSpec = OptionSpec {
        name: "password",
        aliases: &["sasl.password"],
        kind: OptionKind::Text,
        default: None,
        required: false,
        secret: true,
        doc: "Proves who we are.",
    };

    #[test]
    fn values_of_secret_options_are_hidden_however_they_are_written() {
        for (given, shown) in [
            ("WITH (user = 'u', password = 'se''cret', x = 1)", "WITH (user = 'u', password = '***', x = 1)"),
            ("WITH ('PassWord'='secret')", "WITH ('PassWord'='***')"),
            ("WITH (\"sasl.password\" =\n 'secret')", "WITH (\"sasl.password\" =\n '***')"),
            ("(sasl.password = E'sec\"ret')", "(sasl.password = '***')"),
            ("(password = $$sec'ret, x$$, y = $t$a$t$)", "(password = '***', y = $t$a$t$)"),
            ("(password = secret)", "(password = '***')"),
            ("(password = 'secret", "(password = '***'"),
        ] {
            assert_eq!(hidden(given, &[&PASSWORD]), shown);
        }
    }

    #[test]
    fn everything_else_is_shown_as_it_is() {
        for text in [
            "SELECT 'password = ''x''' AS a, \"password\" FROM t WHERE k = 'é' AND password <> 'x' -- don't",
            "SELECT $1, $$a$$, 1.5e-3 <= x FROM \"a\"\"b\"",
            "",
        ] {
            assert_eq!(hidden(text, &[&PASSWORD]), text);
        }
    }
}
