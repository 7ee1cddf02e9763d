//! Names of tables and columns, read and written as PostgreSQL does.
//!
//! Invariant: what [`quoted`] returns is one identifier, whatever the name holds.

/// A name as an identifier in SQL.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Names as a list in SQL, each behind a prefix.
pub fn list<'a>(prefix: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("{prefix}{}", quoted(name))).collect::<Vec<_>>().join(", ")
}

/// Reads `table` or `schema.table`; a part without double quotes is folded to lower case. Returns it as SQL.
pub fn table(text: &str) -> Option<String> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (part, behind) = match rest.strip_prefix('"') {
            Some(inside) => in_quotes(inside)?,
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                let legal = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
                let part = &rest[..end];
                if part.starts_with(|c: char| c.is_ascii_digit()) || !part.chars().all(legal) {
                    return None;
                }
                (part.to_lowercase(), &rest[end..])
            }
        };
        if part.is_empty() || part.contains('\0') {
            return None;
        }
        parts.push(quoted(&part));
        if behind.is_empty() {
            break;
        }
        rest = behind.strip_prefix('.')?;
    }
    (parts.len() <= 2).then(|| parts.join("."))
}

/// The name up to the closing quote, and what follows.
fn in_quotes(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('"')?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables_read_as_postgres_reads_them() {
        for (text, expected) in [
            ("totals", Some("\"totals\"")),
            ("Public.Totals", Some("\"public\".\"totals\"")),
            (" \"My.Schema\".\"To\"\"tals\" ", Some("\"My.Schema\".\"To\"\"tals\"")),
            ("größe", Some("\"größe\"")),
            ("a.b.c", None),
            ("", None),
            ("a.", None),
            ("\"open", None),
            ("1a", None),
            ("a; DROP TABLE b", None),
            ("\"a\"b", None),
        ] {
            assert_eq!(table(text).as_deref(), expected, "{text}");
        }
    }
}
