//! The records of a commit as what is written and what is removed.
//!
//! Invariants: of one key the last record counts, and only that; without a key every record is a row.

use std::collections::HashMap;

use laminar_core::connector::FrameRecord;

use crate::error::Trouble;

/// Bytes of texts that go into one statement: far below what a parameter may hold.
const STATEMENT_BYTES: usize = 4 << 20;

/// What a commit does, as JSON texts.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes<'a> {
    /// Keys of rows that go; before all writes, so that what they held is free.
    pub removed: Vec<&'a str>,
    /// Rows that come or are replaced.
    pub written: Vec<&'a str>,
}

impl<'a> Changes<'a> {
    /// Every record a row.
    ///
    /// # Errors
    /// A record without a body, or one that is no text.
    pub fn appended(records: impl Iterator<Item = &'a FrameRecord>) -> Result<Self, Trouble> {
        let body = |record: &'a FrameRecord| text(record.value.as_deref(), "a record without a key has no body");
        Ok(Self { removed: Vec::new(), written: records.map(body).collect::<Result<_, _>>()? })
    }

    /// The last record of each key.
    ///
    /// # Errors
    /// A record without a key, or one that is no text.
    pub fn by_key(records: impl Iterator<Item = &'a FrameRecord>) -> Result<Self, Trouble> {
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut last: Vec<(&str, Option<&str>)> = Vec::new();
        for record in records {
            let key = text(record.key.as_deref(), "a record of a sink with a key has none")?;
            let value = record.value.as_deref().map(|value| text(Some(value), "")).transpose()?;
            match places.get(key) {
                Some(&place) => last[place].1 = value,
                None => {
                    places.insert(key, last.len());
                    last.push((key, value));
                }
            }
        }
        let mut changes = Self::default();
        for (key, value) in last {
            match value {
                Some(value) => changes.written.push(value),
                None => changes.removed.push(key),
            }
        }
        Ok(changes)
    }
}

fn text<'a>(bytes: Option<&'a [u8]>, missing: &str) -> Result<&'a str, Trouble> {
    let bytes = bytes.ok_or_else(|| Trouble::Client(missing.to_string()))?;
    std::str::from_utf8(bytes).map_err(|error| Trouble::Client(format!("a record is no text: {error}")))
}

/// Cuts texts into parts of limited size, each of at least one.
pub fn parts<'t, 'a>(texts: &'t [&'a str]) -> impl Iterator<Item = &'t [&'a str]> {
    let mut rest = texts;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = rest.iter().take_while(|text| {
            bytes += text.len();
            bytes <= STATEMENT_BYTES
        });
        let count = fitting.count().max(1).min(rest.len());
        let (part, behind) = rest.split_at(count);
        rest = behind;
        (!part.is_empty()).then_some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: Option<&str>) -> FrameRecord {
        FrameRecord {
            key: Some(key.as_bytes().to_vec()),
            value: value.map(|value| value.as_bytes().to_vec()),
            timestamp_ms: None,
        }
    }

    #[test]
    fn of_each_key_the_last_record_counts() {
        let records = [
            record("a", Some("1")),
            record("b", Some("2")),
            record("a", None),
            record("c", None),
            record("b", Some("3")),
            record("c", Some("4")),
        ];
        let changes = Changes::by_key(records.iter()).unwrap();
        assert_eq!(changes, Changes { removed: vec!["a"], written: vec!["3", "4"] });
    }

    #[test]
    fn without_a_key_every_record_is_a_row_in_order() {
        let records = [record("a", Some("1")), record("a", Some("1")), record("a", Some("0"))];
        assert_eq!(Changes::appended(records.iter()).unwrap().written, ["1", "1", "0"]);
        assert!(Changes::appended([record("a", None)].iter()).is_err());
    }

    #[test]
    fn parts_hold_everything_once_and_stay_below_the_limit_where_they_can() {
        let (large, small) = ("x".repeat(STATEMENT_BYTES + 1), "y".repeat(STATEMENT_BYTES / 2));
        let texts = [small.as_str(), &small, &small, &large, "z", "z"];
        let counts: Vec<usize> = parts(&texts).map(<[&str]>::len).collect();
        assert_eq!(counts, [2, 1, 1, 2]);
        assert_eq!(parts(&[]).count(), 0);
    }
}
