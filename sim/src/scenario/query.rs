//! The queries of scenarios, each with its answer as a plain fold over the rows.
//!
//! Invariant: nothing here asks the engine or its planner for anything.

use std::collections::BTreeMap;

use super::Size;

/// 2023-11-14 22:13:20, where every life's wall clock begins.
pub const EPOCH: i64 = 1_700_000_000_000_000;

/// One row of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Unique; ascends in the order of production.
    pub id: i64,
    /// Group.
    pub k: i64,
    /// Value.
    pub v: i64,
    /// Event time in microseconds.
    pub ts: i64,
    /// Where it is produced.
    pub partition: usize,
}

impl Row {
    /// The row as the record of the topic.
    pub fn json(&self) -> String {
        let Self { id, k, v, ts, .. } = self;
        format!(r#"{{"id":{id},"k":{k},"v":{v},"ts":{ts}}}"#)
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, k, v, ts, partition } = self;
        write!(f, "{id}:{k}:{v}@{}/{partition}", (ts - EPOCH) as f64 / 1000.0)
    }
}

/// What is computed and written by the sinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// Every row as it is.
    Identity,
    /// Some rows with computed columns.
    Filter,
    /// Counts and sums by key and window of `size` each `slide`, leaving when the window closes.
    Windows {
        /// Microseconds between two windows.
        slide: i64,
        /// Microseconds of a window.
        size: i64,
        /// Microseconds that a window stays open behind its end.
        lateness: i64,
    },
    /// Counts and sums by key, leaving as they change.
    Keyed,
    /// Counts by key over a view of sums: two groupings, one upon the other.
    KeyedTwice,
}

impl Query {
    /// CREATE of `q`, and for windows, unless it is to be small, of the view `w` of the same rows.
    pub fn sql(&self, of: Size) -> String {
        match self {
            Self::Identity => "CREATE STREAM q AS SELECT id, k, v FROM s;".into(),
            Self::Filter => "CREATE STREAM q AS SELECT id, v * 2 + k AS x FROM s WHERE v >= 10 OR k = 0;".into(),
            Self::Windows { slide, size, lateness } => {
                let ms = |micros: &i64| format!("INTERVAL '{} milliseconds'", micros / 1000);
                let window = match slide == size {
                    true => format!("TUMBLE(ts, {})", ms(size)),
                    false => format!("HOP(ts, {}, {})", ms(slide), ms(size)),
                };
                let select = format!(
                    "SELECT k, window_start AS ws, count(*) AS n, CAST(sum(v) AS BIGINT) AS total FROM s GROUP BY k, {window}"
                );
                let late = if *lateness > 0 { format!(" ALLOW LATENESS {}", ms(lateness)) } else { String::new() };
                let stream = format!("CREATE STREAM q AS {select} EMIT ON WINDOW CLOSE{late};");
                match of {
                    Size::Small => stream,
                    Size::Whole => format!("{stream} CREATE MATERIALIZED VIEW w AS {select}{late};"),
                }
            }
            Self::Keyed => "CREATE MATERIALIZED VIEW q AS
                SELECT k, count(*) AS n, CAST(sum(v) AS BIGINT) AS total FROM s GROUP BY k;"
                .into(),
            Self::KeyedTwice => "CREATE MATERIALIZED VIEW q AS SELECT n, count(*) AS keys FROM a GROUP BY n;".into(),
        }
    }

    /// Names of the columns that leave.
    pub fn columns(&self) -> &'static [&'static str] {
        match self {
            Self::Identity => &["id", "k", "v"],
            Self::Filter => &["id", "x"],
            Self::Windows { .. } => &["k", "ws", "n", "total"],
            Self::Keyed => &["k", "n", "total"],
            Self::KeyedTwice => &["n", "keys"],
        }
    }

    /// Whether rows that left are replaced and taken back later.
    pub fn changes(&self) -> bool {
        matches!(self, Self::Keyed | Self::KeyedTwice)
    }

    /// The view that shows the same rows, if there is one.
    pub fn view(&self, size: Size) -> Option<&'static str> {
        match self {
            Self::Identity | Self::Filter => None,
            Self::Windows { .. } => (size == Size::Whole).then_some("w"),
            Self::Keyed | Self::KeyedTwice => Some("q"),
        }
    }

    /// The answer over rows in their order of arrival, sorted, where every row is late that can be: time stands
    /// `delay` behind the newest row of its partition. Where there are several partitions no row is late.
    pub fn answer(&self, rows: &[Row], delay: i64) -> Vec<Vec<i64>> {
        let mut answer: Vec<Vec<i64>> = match self {
            Self::Identity => rows.iter().map(|row| vec![row.id, row.k, row.v]).collect(),
            Self::Filter => {
                rows.iter().filter(|row| row.v >= 10 || row.k == 0).map(|row| vec![row.id, row.v * 2 + row.k]).collect()
            }
            Self::Windows { slide, size, lateness } => windows(rows, (*slide, *size, *lateness), delay),
            Self::Keyed => keyed(rows),
            Self::KeyedTwice => {
                let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
                keyed(rows).iter().for_each(|group| *counts.entry(group[1]).or_default() += 1);
                counts.into_iter().map(|(n, keys)| vec![n, keys]).collect()
            }
        };
        answer.sort();
        answer
    }
}

fn windows(rows: &[Row], (slide, size, lateness): (i64, i64, i64), delay: i64) -> Vec<Vec<i64>> {
    let mut groups: BTreeMap<(i64, i64), (i64, i64)> = BTreeMap::new();
    // Each partition has its own time; where there are several, no row is late.
    let mut greatest: BTreeMap<usize, i64> = BTreeMap::new();
    for row in rows {
        let time = greatest.entry(row.partition).or_insert(i64::MIN);
        let watermark = time.saturating_sub(delay);
        *time = (*time).max(row.ts);
        let mut start = row.ts.div_euclid(slide) * slide;
        while start + size > row.ts {
            if start + size + lateness > watermark {
                let group = groups.entry((row.k, start)).or_default();
                group.0 += 1;
                group.1 += row.v;
            }
            start -= slide;
        }
    }
    groups.into_iter().map(|((k, start), (n, total))| vec![k, start, n, total]).collect()
}

/// Counts and sums by key.
pub fn keyed(rows: &[Row]) -> Vec<Vec<i64>> {
    let mut groups: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for row in rows {
        let group = groups.entry(row.k).or_default();
        group.0 += 1;
        group.1 += row.v;
    }
    groups.into_iter().map(|(k, (n, total))| vec![k, n, total]).collect()
}

/// Count and sum of all rows; nothing over none.
pub fn total(rows: &[Row]) -> Vec<i64> {
    vec![rows.len() as i64, rows.iter().map(|row| row.v).sum()]
}

/// A JSON record as the numbers of its columns; times in microseconds.
pub fn parse_record(text: &[u8], columns: &[&str]) -> Option<Vec<i64>> {
    let record: serde_json::Value = serde_json::from_slice(text).ok()?;
    let number = |name: &&str| match record.get(name)? {
        serde_json::Value::String(text) => laminar_formats::parse_timestamp_us(text),
        value => value.as_i64(),
    };
    columns.iter().map(number).collect()
}
