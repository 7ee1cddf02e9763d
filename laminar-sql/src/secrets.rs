//! Statements and objects as they may be shown: without the values of secret options.
//!
//! Invariant: the value that the parser would give to a secret option of any connector or format is
//! never part of the result, however name and value are written.

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use laminar_core::connector::Registry;
use laminar_core::connector::options::OptionSpec;
use laminar_core::graph::ObjectSpec;

use crate::parse::LineMap;

/// What is shown instead.
const HIDDEN: &str = "***";

/// The text with every secret's value replaced.
pub fn without_secrets(sql: &str, registry: &Registry) -> String {
    hidden(sql, &secrets(registry))
}

/// The object with every secret's value replaced.
pub fn spec_without_secrets(spec: &ObjectSpec, registry: &Registry) -> ObjectSpec {
    let mut shown = spec.clone();
    let options = match &mut shown {
        ObjectSpec::Source(source) => &mut source.options,
        ObjectSpec::Sink(sink) => &mut sink.options,
        ObjectSpec::Table(_) | ObjectSpec::Pipeline(_) => return shown,
    };
    let secrets = secrets(registry);
    for (_, value) in options.iter_mut().filter(|(name, _)| is_secret(name, &secrets)) {
        HIDDEN.clone_into(value);
    }
    shown
}

fn secrets(registry: &Registry) -> Vec<&'static OptionSpec> {
    let connectors = registry.sources.values().map(|factory| factory.options());
    let connectors = connectors.chain(registry.sinks.values().map(|factory| factory.options()));
    let formats = registry.decoders.values().map(|factory| factory.options());
    let formats = formats.chain(registry.encoders.values().map(|factory| factory.options()));
    connectors.chain(formats).flatten().filter(|option| option.secret).collect()
}

fn is_secret(name: &str, secrets: &[&OptionSpec]) -> bool {
    let names = |declared: &str| match declared.strip_suffix('*') {
        Some(prefix) => name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)),
        None => declared.eq_ignore_ascii_case(name),
    };
    secrets.iter().any(|option| names(option.name) || option.aliases.iter().any(|alias| names(alias)))
}

/// Follows the parser: a name of parts with dots between, `=` or `=>`, a value of one literal or word, with
/// INTERVAL or a sign before it.
fn hidden(sql: &str, secrets: &[&OptionSpec]) -> String {
    let mut tokens = Vec::new();
    let torn = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location_into_buf(&mut tokens).is_err();
    let map = LineMap::new(sql);
    let (mut out, mut copied) = (String::with_capacity(sql.len()), 0);
    let mut hide = |from: usize, to: usize| {
        out.push_str(&sql[copied..from]);
        out.extend(["'", HIDDEN, "'"]);
        copied = to;
    };
    // The name as far as it was read, whether a dot ends it, and where a secret's value began.
    let (mut name, mut dotted, mut armed, mut began) = (String::new(), false, false, None);
    for token in tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF)) {
        let (start, end) = (token.span.start.into(), token.span.end.into());
        if armed {
            let from = *began.get_or_insert_with(|| map.byte(start));
            let more = matches!(&token.token, Token::Plus | Token::Minus)
                || matches!(&token.token, Token::Word(word) if word.keyword == Keyword::INTERVAL);
            if !more {
                hide(from, map.byte(end));
                (armed, began) = (false, None);
            }
            continue;
        }
        match &token.token {
            Token::SingleQuotedString(part) => push_part(&mut name, &mut dotted, part),
            Token::Word(word) => push_part(&mut name, &mut dotted, &word.value),
            Token::Period => dotted = true,
            Token::Eq | Token::RArrow => {
                armed = is_secret(&name, secrets);
                name.clear();
            }
            _ => name.clear(),
        }
    }
    if torn || armed {
        // What cannot be read to its end may hold anything.
        let last = tokens.last().map_or(0, |token| map.byte(token.span.end.into()));
        hide(began.unwrap_or(last), sql.len());
    }
    out.push_str(&sql[copied..]);
    out
}

fn push_part(name: &mut String, dotted: &mut bool, part: &str) {
    if std::mem::take(dotted) && !name.is_empty() {
        name.push('.');
    } else {
        name.clear();
    }
    name.push_str(part);
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

    const MORE: OptionSpec = OptionSpec { name: "more.secret.*", aliases: &[], ..PASSWORD };

    #[test]
    fn values_of_secret_options_are_hidden_however_they_are_written() {
        for (given, shown) in [
            ("WITH (user = 'u', password = 'se''cret', x = 1)", "WITH (user = 'u', password = '***', x = 1)"),
            ("WITH ('PassWord'='secret')", "WITH ('PassWord'='***')"),
            ("WITH (\"sasl.password\" =\n 'secret')", "WITH (\"sasl.password\" =\n '***')"),
            ("(sasl.password = E'sec\"ret')", "(sasl.password = '***')"),
            ("(password = $$sec'ret, x$$, y = $t$a$t$)", "(password = '***', y = $t$a$t$)"),
            ("(password = secret)", "(password = '***')"),
            ("(password => 'secret', x = 1)", "(password => '***', x = 1)"),
            ("(password /* it's */ = 'secret', x = 1)", "(password /* it's */ = '***', x = 1)"),
            ("(password = /* here: */ 'secret')", "(password = /* here: */ '***')"),
            ("(x = 1, -- don't\n password = -- it's\n 'secret')", "(x = 1, -- don't\n password = -- it's\n '***')"),
            (
                "(sasl . password = 'secret', \"sasl\".'password'='secret')",
                "(sasl . password = '***', \"sasl\".'password'='***')",
            ),
            ("(password = INTERVAL '1' day, password = - 5)", "(password = '***' day, password = '***')"),
            ("(größe = 'é', password = 'sécret',\nβ = 1)", "(größe = 'é', password = '***',\nβ = 1)"),
            ("(more.secret.x = 1, more.public = 2)", "(more.secret.x = '***', more.public = 2)"),
            ("(password = 'secret", "(password = '***'"),
            ("(password =", "(password ='***'"),
            ("(x = 'half of something", "(x = '***'"),
        ] {
            assert_eq!(hidden(given, &[&PASSWORD, &MORE]), shown);
        }
    }

    #[test]
    fn everything_else_is_shown_as_it_is() {
        for text in [
            "SELECT 'password = ''x''' AS a, \"password\" FROM t WHERE k = 'é' AND password <> 'x' -- don't",
            "SELECT $1, $$a$$, 1.5e-3 <= x FROM \"a\"\"b\"",
            "SELECT t.password = u.password FROM t JOIN u ON t.k = u.k",
            "",
        ] {
            assert_eq!(hidden(text, &[&PASSWORD, &MORE]), text);
        }
    }
}
