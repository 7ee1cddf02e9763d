//! Reads given options against their declarations.
//!
//! Invariant: what is not declared is refused with the nearest declared name; each value is found
//! under its canonical name, whatever alias it was given by.

use std::collections::BTreeMap;
use std::time::Duration;

use laminar_core::connector::options::{OptionKind, OptionSpec, Options};

use crate::error::Trouble;
use crate::properties::refuse_reserved;

/// Options by canonical name.
pub type Given = BTreeMap<&'static str, String>;

/// Resolves names and checks kinds.
///
/// # Errors
/// A key is unknown, given twice, refused, of the wrong kind, or missing.
pub fn resolve(specs: &[OptionSpec], options: &Options) -> Result<Given, Trouble> {
    let mut given = Given::new();
    for (key, value) in options {
        refuse_reserved(key, value)?;
        let Some(spec) = specs.iter().find(|spec| spec.name == key || spec.aliases.contains(&key.as_str())) else {
            return Err(unknown(specs, key));
        };
        check_kind(spec, value)?;
        if given.insert(spec.name, value.trim().to_string()).is_some() {
            return Err(Trouble::Option(format!("option \"{}\" is given twice (once as \"{key}\")", spec.name)));
        }
    }
    for spec in specs.iter().filter(|spec| spec.required) {
        required(&given, spec.name)?;
    }
    Ok(given)
}

/// The value of an option that must be there.
///
/// # Errors
/// It is not.
pub fn required<'a>(given: &'a Given, name: &'static str) -> Result<&'a str, Trouble> {
    given
        .get(name)
        .map(String::as_str)
        .filter(|value| !value.is_empty())
        .ok_or_else(|| Trouble::Option(format!("option \"{name}\" is missing")))
}

/// A length of time.
///
/// # Errors
/// It is not one.
pub fn duration(given: &Given, name: &'static str) -> Result<Option<Duration>, Trouble> {
    given
        .get(name)
        .map(|text| parse_duration(text).ok_or_else(|| wrong(name, text, "a time such as '30 s'")))
        .transpose()
}

fn check_kind(spec: &OptionSpec, value: &str) -> Result<(), Trouble> {
    let value = value.trim();
    let (fits, expected) = match spec.kind {
        OptionKind::Text => (true, String::new()),
        OptionKind::Integer => (value.parse::<i64>().is_ok(), "a whole number".to_string()),
        OptionKind::Number => (value.parse::<f64>().is_ok_and(f64::is_finite), "a number".to_string()),
        OptionKind::Bool => (matches!(value, "true" | "false"), "true or false".to_string()),
        OptionKind::Duration => (parse_duration(value).is_some(), "a time such as '30 s'".to_string()),
        OptionKind::Bytes => (true, String::new()),
        OptionKind::Choice(words) => (words.contains(&value), format!("one of {}", words.join(", "))),
    };
    if fits { Ok(()) } else { Err(wrong(spec.name, if spec.secret { "…" } else { value }, &expected)) }
}

fn wrong(name: &str, value: &str, expected: &str) -> Trouble {
    Trouble::Option(format!("option \"{name}\": \"{value}\" is not {expected}"))
}

fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let millis = match text[digits..].trim() {
        "ms" => 1,
        "s" => 1000,
        "min" | "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

fn unknown(specs: &[OptionSpec], key: &str) -> Trouble {
    let names = specs.iter().flat_map(|spec| std::iter::once(&spec.name).chain(spec.aliases));
    let nearest = names.map(|name| (distance(key, name), *name)).min();
    let hint = match nearest {
        Some((distance, name)) if distance <= 2 + key.len() / 4 => format!("; did you mean \"{name}\"?"),
        _ => String::new(),
    };
    Trouble::Option(format!("option \"{key}\" is not known to the kafka connector{hint}"))
}

/// Levenshtein's edit distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
