//! What a run without failures may give.
//!
//! Whether a late row still counts depends on whether every reactor has said by then how far its splits
//! are, so there are two bounds: every row that can be late is, and none is. Where no row can be late
//! they are the same, and so is every answer.

use std::collections::BTreeMap;

/// The bounds; rows sorted. A row's first two columns are its key wherever the bounds differ.
pub(super) struct Answer {
    pub(super) least: Vec<Vec<i64>>,
    pub(super) most: Vec<Vec<i64>>,
}

impl Answer {
    /// The one answer.
    pub(super) fn one(rows: Vec<Vec<i64>>) -> Self {
        Self { most: rows.clone(), least: rows }
    }

    /// Whether a row is in some answer.
    pub(super) fn admits(&self, row: &Vec<i64>) -> bool {
        if self.most.binary_search(row).is_ok() {
            return true;
        }
        let Some(most) = of(&self.most, row) else { return false };
        let least = of(&self.least, row);
        self.least.binary_search(row).is_ok() || (least.map_or(0, |least| least[2]) < row[2] && row[2] < most[2])
    }

    /// What keeps a list from being an answer.
    pub(super) fn difference(&self, found: &[Vec<i64>]) -> Option<String> {
        if self.least == self.most {
            return (found != self.most).then(|| difference(found, &self.most));
        }
        let keys = |rows: &[Vec<i64>]| rows.iter().map(|row| row[..2].to_vec()).collect::<Vec<_>>();
        let (there, least) = (keys(found), keys(&self.least));
        let bad = found.iter().find(|row| !self.admits(row)).map(|row| format!("{row:?} is no answer"));
        let twice =
            there.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| format!("{:?} is there twice", pair[0]));
        let gone = least.iter().find(|key| there.binary_search(key).is_err()).map(|key| format!("{key:?} is missing"));
        bad.or(twice).or(gone)
    }
}

/// The row with the same key.
fn of<'a>(rows: &'a [Vec<i64>], row: &[i64]) -> Option<&'a Vec<i64>> {
    if row.len() < 4 {
        return None;
    }
    let at = rows.partition_point(|other| other[..2] < row[..2]);
    rows.get(at).filter(|other| other[..2] == row[..2])
}

/// What one sorted list has and the other does not, shortened.
fn difference(found: &[Vec<i64>], expected: &[Vec<i64>]) -> String {
    let without = |some: &[Vec<i64>], other: &[Vec<i64>]| -> Vec<Vec<i64>> {
        let mut left: BTreeMap<&Vec<i64>, usize> = BTreeMap::new();
        other.iter().for_each(|row| *left.entry(row).or_default() += 1);
        let mut rest = Vec::new();
        for row in some {
            match left.get_mut(row) {
                Some(count) if *count > 0 => *count -= 1,
                _ => rest.push(row.clone()),
            }
        }
        rest
    };
    let (surplus, missing) = (without(found, expected), without(expected, found));
    let first = |rows: &[Vec<i64>]| rows.iter().take(5).cloned().collect::<Vec<_>>();
    format!(
        "{} rows of {} are missing, first {:?}; {} are too many, first {:?}",
        missing.len(),
        expected.len(),
        first(&missing),
        surplus.len(),
        first(&surplus)
    )
}
