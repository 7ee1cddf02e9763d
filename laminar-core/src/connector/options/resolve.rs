//! Resolves options as written to canonical names.
//!
//! Invariant: what comes out holds declared names only, each once, each of its kind, and every
//! required one; defaults are not filled in (the reader of an option knows them).

use super::{OptionSpec, Options, check_value};
use crate::connector::ConnectorError;

/// Resolves names and aliases, checks kinds and what must be there. `owner` names the connector and
/// format in messages; the lists of `specs` are looked through in order.
///
/// # Errors
/// `LDB-6001` unknown key (with the nearest known one and the list), `LDB-6002` a key given twice,
/// `LDB-6003` a wrong value, `LDB-6004` a missing one.
pub fn resolve(owner: &str, specs: &[&[OptionSpec]], given: &Options) -> Result<Options, ConnectorError> {
    let mut resolved = Options::new();
    for (key, value) in given {
        let Some((name, spec)) = find(specs, key) else {
            return Err(unknown(owner, specs, key));
        };
        check_value(spec, value)?;
        if resolved.insert(name.clone(), value.clone()).is_some() {
            return Err(ConnectorError::user("LDB-6002", format!("option '{name}' is given twice (once as '{key}')")));
        }
    }
    for spec in specs.iter().flat_map(|list| list.iter()).filter(|spec| spec.required) {
        if resolved.get(spec.name).is_none_or(|value| value.trim().is_empty()) {
            return Err(ConnectorError::user(
                "LDB-6004",
                format!("{owner} needs option '{}': {}", spec.name, spec.doc),
            ));
        }
    }
    Ok(resolved)
}

/// The declaration that a key names, and its canonical form (which keeps what stands for a `*`).
fn find<'a>(specs: &[&'a [OptionSpec]], key: &str) -> Option<(String, &'a OptionSpec)> {
    let all = || specs.iter().flat_map(|list| list.iter());
    let exact = |spec: &&OptionSpec| {
        let mut names = std::iter::once(spec.name).chain(spec.aliases.iter().copied());
        names.any(|name| name.eq_ignore_ascii_case(key))
    };
    if let Some(spec) = all().find(exact) {
        return Some((spec.name.to_string(), spec));
    }
    all().find_map(|spec| {
        let prefix = spec.name.strip_suffix('*')?;
        let rest = key.strip_prefix(prefix).filter(|rest| !rest.is_empty())?;
        Some((format!("{prefix}{rest}"), spec))
    })
}

fn unknown(owner: &str, specs: &[&[OptionSpec]], key: &str) -> ConnectorError {
    let all = || specs.iter().flat_map(|list| list.iter());
    let spelled = all().flat_map(|spec| std::iter::once(spec.name).chain(spec.aliases.iter().copied()));
    let hint = nearest(key, spelled).map_or(String::new(), |name| format!("; did you mean '{name}'?"));
    let list: Vec<&str> = all().map(|spec| spec.name).collect();
    let list = if list.is_empty() { "it takes none".to_string() } else { format!("it takes {}", list.join(", ")) };
    ConnectorError::user("LDB-6001", format!("{owner} does not know option '{key}'{hint} ({list})"))
}

/// The candidate with the smallest edit distance, where that is small enough to be a slip of the hand.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = 1 + word.chars().count() / 4;
    let near = candidates.into_iter().map(|candidate| (distance(word, candidate), candidate));
    near.filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance over lower-cased characters, one row at a time.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().flat_map(char::to_lowercase).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().flat_map(char::to_lowercase).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::super::OptionKind;
    use super::*;

    const SPECS: &[OptionSpec] = &[
        OptionSpec {
            name: "bootstrap.servers",
            aliases: &["properties.bootstrap.servers", "properties.bootstrap.server"],
            kind: OptionKind::Text,
            default: None,
            required: true,
            secret: false,
            doc: "brokers",
        },
        OptionSpec {
            name: "password",
            aliases: &[],
            kind: OptionKind::Integer,
            default: None,
            required: false,
            secret: true,
            doc: "secret",
        },
        OptionSpec {
            name: "linger",
            aliases: &[],
            kind: OptionKind::Duration,
            default: Some("5 ms"),
            required: false,
            secret: false,
            doc: "wait",
        },
    ];

    fn options(pairs: &[(&str, &str)]) -> Options {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn alias_becomes_the_canonical_name() {
        let resolved = resolve("kafka", &[SPECS], &options(&[("properties.bootstrap.server", "a:1")])).unwrap();
        assert_eq!(resolved, options(&[("bootstrap.servers", "a:1")]));
    }

    #[test]
    fn unknown_key_is_refused_with_the_nearest_and_the_list() {
        let error = resolve("kafka", &[SPECS], &options(&[("bootstrap.server", "a:1")])).unwrap_err();
        assert_eq!(error.code, "LDB-6001");
        assert!(error.message.contains("did you mean 'bootstrap.servers'?"), "{error}");
        assert!(error.message.contains("password, linger"), "{error}");
    }

    #[test]
    fn key_given_under_two_names_is_refused() {
        let both = options(&[("bootstrap.servers", "a:1"), ("properties.bootstrap.servers", "b:1")]);
        assert_eq!(resolve("kafka", &[SPECS], &both).unwrap_err().code, "LDB-6002");
    }

    #[test]
    fn missing_required_key_is_named() {
        let error = resolve("kafka", &[SPECS], &Options::new()).unwrap_err();
        assert_eq!(error.code, "LDB-6004");
        assert!(error.message.contains("bootstrap.servers"), "{error}");
    }

    #[test]
    fn wrong_secret_value_is_not_shown() {
        let error = resolve("kafka", &[SPECS], &options(&[("password", "hunter2")])).unwrap_err();
        assert_eq!(error.code, "LDB-6003");
        assert!(!error.message.contains("hunter2"), "{error}");
    }

    #[test]
    fn durations_and_sizes_read_their_units() {
        use super::super::{parse_bytes, parse_duration};
        use std::time::Duration;
        assert_eq!(parse_duration("500 ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2 hours"), Some(Duration::from_secs(7200)));
        assert_eq!(parse_duration("5"), None, "a bare number has no unit");
        assert_eq!(parse_duration("-1 s"), None);
        assert_eq!(parse_bytes("64 KiB"), Some(65_536));
        assert_eq!(parse_bytes("10"), Some(10));
        assert_eq!(parse_bytes("1 MB"), Some(1_000_000));
        assert_eq!(parse_bytes("1 parsec"), None);
    }
}
