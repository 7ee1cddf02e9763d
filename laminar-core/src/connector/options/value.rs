//! Reads option values: switches, lengths of time, sizes.

use std::time::Duration;

use super::{OptionKind, OptionSpec};
use crate::connector::ConnectorError;

/// Reads `true`/`false` (any case, also `on`/`off`, `yes`/`no`).
pub fn parse_bool(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" => Some(true),
        "false" | "off" | "no" => Some(false),
        _ => None,
    }
}

/// Reads a length of time: a whole or decimal number and a unit (`ns us ms s min h d`, also spelled out).
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_number(text)?;
    let nanos_per_unit = match unit.to_ascii_lowercase().as_str() {
        "ns" | "nanosecond" | "nanoseconds" => 1.0,
        "us" | "µs" | "microsecond" | "microseconds" => 1e3,
        "ms" | "millisecond" | "milliseconds" => 1e6,
        "s" | "sec" | "second" | "seconds" => 1e9,
        "m" | "min" | "minute" | "minutes" => 60e9,
        "h" | "hour" | "hours" => 3600e9,
        "d" | "day" | "days" => 86_400e9,
        "" if number == 0.0 => 1.0,
        _ => return None,
    };
    let nanos = (number * nanos_per_unit).round();
    (nanos <= u64::MAX as f64).then(|| Duration::from_nanos(nanos as u64))
}

/// Reads a size: a whole or decimal number and a unit (`B KiB MiB GiB TiB kB MB GB TB`); none = bytes.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text)?;
    let bytes_per_unit = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kib" => 1024.0,
        "mib" => 1_048_576.0,
        "gib" => 1_073_741_824.0,
        "tib" => 1_099_511_627_776.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        _ => return None,
    };
    let bytes = (number * bytes_per_unit).round();
    (bytes < 9.0e15).then_some(bytes as u64)
}

fn split_number(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    Some((number, text[end..].trim()))
}

/// Checks a value against its declared kind.
///
/// # Errors
/// `LDB-6003` with the option, the value (unless secret) and what is expected.
pub fn check_value(spec: &OptionSpec, value: &str) -> Result<(), ConnectorError> {
    let text = value.trim();
    let (fits, expected) = match spec.kind {
        OptionKind::Text => (true, String::new()),
        OptionKind::Integer => (text.parse::<i64>().is_ok(), "a whole number".to_string()),
        OptionKind::Number => (text.parse::<f64>().is_ok_and(f64::is_finite), "a number".to_string()),
        OptionKind::Bool => (parse_bool(text).is_some(), "true or false".to_string()),
        OptionKind::Duration => (parse_duration(text).is_some(), "a time such as '500 ms' or '2 s'".to_string()),
        OptionKind::Bytes => (parse_bytes(text).is_some(), "a size such as '64 KiB' or '16 MiB'".to_string()),
        OptionKind::Choice(words) => {
            (words.iter().any(|word| word.eq_ignore_ascii_case(text)), format!("one of {}", words.join(", ")))
        }
    };
    if fits {
        return Ok(());
    }
    let shown = if spec.secret { "the value" } else { &format!("'{value}'") };
    Err(ConnectorError::user("LDB-6003", format!("option '{}': {shown} is not {expected}", spec.name)))
}
