//! `${NAME}` and `${NAME:-default}` inside string values.
//!
//! Replacement happens after TOML is parsed, so that a variable's value can never add keys or
//! tables. `$$` stands for one dollar sign.

/// Replaces every variable of `text`; `lookup` gives a variable's value.
///
/// # Errors
/// A variable that is not set and has no default, or a `${` without its `}`.
pub fn interpolate(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('{') {
            let Some(end) = after.find('}') else {
                return Err("`${` without its `}`; write `$$` for a dollar sign".to_owned());
            };
            out.push_str(&variable(&after[..end], lookup)?);
            rest = &after[end + 1..];
        } else {
            rest = rest.strip_prefix('$').unwrap_or(rest);
            out.push('$');
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn variable(inner: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let valid = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.is_empty()
        && !name.as_bytes()[0].is_ascii_digit();
    if !valid {
        return Err(format!("`{name}` is not the name of an environment variable"));
    }
    let value = lookup(name).filter(|v| default.is_none() || !v.is_empty());
    match (value, default) {
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => {
            Err(format!("the environment variable {name} is not set; set it or write `${{{name}:-default}}`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<String, String> {
        interpolate(text, &|name| match name {
            "HOST" => Some("kafka".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn variables_defaults_and_escapes_are_replaced() {
        assert_eq!(run("${HOST}:${PORT:-9092}"), Ok("kafka:9092".to_owned()));
        assert_eq!(run("${EMPTY:-x}|${EMPTY}|$${HOST}|$1"), Ok("x||${HOST}|$1".to_owned()));
    }

    #[test]
    fn unset_variable_without_default_is_refused_by_name() {
        assert!(run("a ${NOPE} b").unwrap_err().contains("NOPE is not set"));
        assert!(run("${HOST").unwrap_err().contains("without its"));
        assert!(run("${1x:-a}").unwrap_err().contains("not the name"));
    }
}
