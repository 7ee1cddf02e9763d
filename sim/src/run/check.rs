//! What must hold at every moment.
//!
//! Committed records of the exactly-once topic are answers that a run without failures gives, each
//! once; views over one source agree at each epoch; what was acknowledged is there; watermarks of a life, and epochs
//! and checkpoints over all lives, never go back; nothing fails for good.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use laminar_core::engine::status::{EngineStatus, ObjectKind, ObjectState};
use laminar_core::ids::Epoch;

use super::answer::Answer;
use super::{Checked, Run, Stop, Told, value, wrong};
use crate::scenario::{LOOSE, Pushed, Scenario, TOGETHER, keyed, parse_record, total};

/// What earlier looks have seen.
#[derive(Default)]
pub(super) struct Seen {
    /// Watermarks of this life by reactor, pipeline and operator.
    watermarks: BTreeMap<(usize, u64, u64), i64>,
    epoch: Epoch,
    checkpoint: u64,
    /// Committed records that have been checked.
    exact: usize,
    plain: usize,
    digest: Option<u64>,
}

impl Seen {
    pub(super) fn new_life(&mut self) {
        self.watermarks.clear();
    }
}

impl Run<'_> {
    /// The answer over what has been produced so far.
    pub(super) fn answer(&self) -> Answer {
        let Scenario { query, delay, .. } = self.scenario;
        Answer { least: query.answer(&self.rows, *delay), most: query.answer(&self.rows, i64::MAX / 4) }
    }

    /// Reads what is new in the topics of the query. Each has one partition, in which a record that is committed stays.
    fn read_topics(&mut self) -> Checked {
        let columns = self.scenario.query.columns();
        for (topic, rows) in [("exact", &mut self.exact), ("plain", &mut self.plain)] {
            for record in self.world.broker().committed_behind(topic, rows.len()) {
                rows.push(match &record.value {
                    None => tombstone(record.key.as_deref().unwrap_or_default()),
                    Some(text) => parse_record(text, columns)
                        .ok_or_else(|| Stop::Wrong(format!("{topic} holds {}", String::from_utf8_lossy(text))))?,
                });
            }
        }
        Ok(())
    }

    /// New records of the topics are part of the answer, and in the exactly-once topic none is there twice.
    pub(super) fn check_topics(&mut self) -> Checked {
        // Nothing was written or decided since.
        let digest = self.world.broker().digest();
        if self.seen.digest == Some(digest) {
            return Ok(());
        }
        self.seen.digest = Some(digest);
        self.read_topics()?;
        let (exact, plain) = (&self.exact, &self.plain);
        if (exact.len(), plain.len()) == (self.seen.exact, self.seen.plain) {
            return Ok(());
        }
        (self.seen.exact, self.seen.plain) = (exact.len(), plain.len());
        if self.scenario.query.changes() {
            return self.check_growth(exact);
        }
        let answer = self.answer();
        let mut once = BTreeSet::new();
        for (topic, row) in exact.iter().map(|row| ("exact", row)).chain(plain.iter().map(|row| ("plain", row))) {
            if !answer.admits(row) {
                return wrong(format!("{topic} holds {row:?}, which is no answer"));
            }
            if topic == "exact" && !once.insert(&row[..row.len().min(2)]) {
                return wrong(format!("exact holds {row:?} once too often"));
            }
        }
        Ok(())
    }

    /// Counts of a key only grow in the order of its records.
    fn check_growth(&self, exact: &[Vec<i64>]) -> Checked {
        if self.scenario.query.columns()[0] != "k" {
            return Ok(());
        }
        let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
        for row in exact {
            let [key, count, _] = row[..] else { return wrong(format!("exact holds {row:?}")) };
            if counts.insert(key, count).is_some_and(|before| before >= count) {
                return wrong(format!("exact holds {row:?} behind a count that was as great"));
            }
        }
        Ok(())
    }

    /// Looks at everything that can be asked.
    pub(super) fn look(&mut self) -> Checked {
        self.world.advance(1000)?;
        let status = self.world.ask(|handle, reply| handle.status(reply))?;
        self.check_status(&status)?;
        if !self.scenario.is_whole() {
            return self.check_query();
        }
        self.check_views()?;
        for into in [Pushed::Source, Pushed::Table] {
            self.check_pushed(into)?;
        }
        self.check_pushed_topic()?;
        self.check_loose()
    }

    fn check_status(&mut self, status: &EngineStatus) -> Checked {
        let state = status.reactors.iter().flat_map(|reactor| &reactor.state);
        self.report.spilled = self.report.spilled.max(state.map(|state| state.spilled_bytes).sum());
        for object in &status.objects {
            match &object.state {
                ObjectState::Failed(why) => return wrong(format!("{} has failed: {why}", object.name)),
                ObjectState::Waiting(_) if matches!(object.kind, ObjectKind::Stream | ObjectKind::View) => {
                    self.report.waits += 1;
                }
                _ => {}
            }
        }
        // Of what was paused or waited too: its splits are opened anew, but its time goes on from where it was.
        for (index, reactor) in status.reactors.iter().enumerate() {
            for operator in &reactor.operators {
                let Some(watermark) = operator.watermark else { continue };
                let place = (index, operator.pipeline.0, operator.operator.0);
                let before = self.seen.watermarks.insert(place, watermark.0);
                if before.is_some_and(|before| before > watermark.0) {
                    return wrong(format!("the watermark of {operator:?} goes back from {before:?}"));
                }
            }
        }
        self.check_epoch(status.epoch)?;
        let newest = status.checkpoint.newest;
        if newest > 0 && newest < self.seen.checkpoint {
            return wrong(format!("checkpoint {newest} after {}", self.seen.checkpoint));
        }
        self.seen.checkpoint = self.seen.checkpoint.max(newest);
        Ok(())
    }

    fn check_epoch(&mut self, epoch: Epoch) -> Checked {
        // Before the first one of a life there is none.
        if epoch != Epoch::default() && epoch < self.seen.epoch {
            return wrong(format!("epoch {epoch} after {}", self.seen.epoch));
        }
        self.seen.epoch = self.seen.epoch.max(epoch);
        Ok(())
    }

    /// The view of a small scenario at some epoch.
    fn check_query(&mut self) -> Checked {
        let Some(view) = self.scenario.query.view(self.scenario.size) else { return Ok(()) };
        let rows = self.world.read_together(&[view])?;
        self.check_epoch(rows.epoch)?;
        self.no_more_than_produced(view, &numbers(&rows.objects[0]))
    }

    /// A view of counts by key counts what was produced, or less.
    fn no_more_than_produced(&self, view: &str, rows: &[Vec<i64>]) -> Checked {
        let most: BTreeMap<i64, i64> = keyed(&self.rows).iter().map(|row| (row[0], row[1])).collect();
        match rows.iter().find(|row| row[1] > most.get(&row[0]).copied().unwrap_or(0)) {
            Some(row) => wrong(format!("{view} has {row:?}, and only {most:?} was produced")),
            None => Ok(()),
        }
    }

    /// Three views at one epoch: sums by key, the sum, and a view over the first.
    fn check_views(&mut self) -> Checked {
        let rows = self.world.read_together(&TOGETHER)?;
        self.check_epoch(rows.epoch)?;
        let [a, b, c] = [0, 1, 2].map(|at| numbers(&rows.objects[at]));
        let sum = |rows: &[Vec<i64>], column: usize| rows.iter().map(|row| row[column]).sum::<i64>();
        if let Some(still) = &mut self.paused {
            if still.as_ref().is_some_and(|still| *still != b) {
                return wrong(format!("b is paused and has moved from {still:?} to {b:?}"));
            }
            *still = Some(b);
        } else if !self.agree(&a, &b) {
            return wrong(format!("at one epoch a has {} rows in {a:?}, b {b:?}", sum(&a, 1)));
        }
        if sum(&c, 1) != a.len() as i64 || c.iter().map(|row| row[0] * row[1]).sum::<i64>() != sum(&a, 1) {
            return wrong(format!("at one epoch a has {a:?}, and c over it {c:?}"));
        }
        self.no_more_than_produced("a", &a)
    }

    /// Whether both views hold the same rows; a view that was paused, or that waited for the sink of what reads it,
    /// reads from a place of its own.
    fn agree(&self, a: &[Vec<i64>], b: &[Vec<i64>]) -> bool {
        let counted = |rows: &[Vec<i64>], column: usize| rows.iter().map(|row| row[column]).sum::<i64>();
        self.apart || (counted(a, 1) == counted(b, 0) && counted(a, 2) == counted(b, 1))
    }

    /// Everything acknowledged is there once, nothing refused is there.
    pub(super) fn check_pushed(&mut self, into: Pushed) -> Checked {
        let rows = numbers(&self.world.read(into.names().1)?);
        let inserts = self.inserts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: BTreeMap<i64, usize> = BTreeMap::new();
        for row in &rows {
            if row[1] != value(&row[0]) {
                return wrong(format!("{} holds {row:?}", into.names().0));
            }
            *found.entry(row[0]).or_default() += 1;
        }
        for (key, times) in &found {
            match inserts.get(&(into, *key)) {
                Some(Told::Open | Told::Acknowledged) if *times == 1 => {}
                told => return wrong(format!("row {key} of {} is there {times} times: {told:?}", into.names().0)),
            }
        }
        let missing = inserts
            .iter()
            .find(|((of, key), told)| *of == into && **told == Told::Acknowledged && !found.contains_key(key));
        match missing {
            Some(((_, key), _)) => wrong(format!("row {key} of {} was acknowledged and is gone", into.names().0)),
            None => Ok(()),
        }
    }

    /// The topic of pushed rows holds none that was refused; returns one that was acknowledged and is not there yet.
    pub(super) fn check_pushed_topic(&self) -> Checked<Option<i64>> {
        let mut found = BTreeSet::new();
        for record in self.world.broker().committed("pushed") {
            let row = record.value.as_deref().and_then(|text| parse_record(text, &["id", "v"]));
            match row.as_deref() {
                Some([key, v]) if *v == value(key) => found.insert(*key),
                _ => return wrong(format!("pushed holds {record:?}")),
            };
        }
        let inserts = self.inserts.lock().unwrap_or_else(PoisonError::into_inner);
        let told = |key: &i64| inserts.get(&(Pushed::Source, *key)).copied();
        if let Some(key) = found.iter().find(|key| told(key).is_none_or(|told| told == Told::Refused)) {
            return wrong(format!("pushed holds row {key}: {:?}", told(key)));
        }
        let owed = |((of, key), told): (&(Pushed, i64), &Told)| {
            (*of == Pushed::Source && *told == Told::Acknowledged && !found.contains(key)).then_some(*key)
        };
        Ok(inserts.iter().find_map(owed))
    }

    /// The loose view holds, of each partition, all rows from some place on, and at its end all of them.
    pub(super) fn check_loose(&mut self) -> Checked {
        if self.loose.is_none() {
            return Ok(());
        }
        let found = numbers(&self.world.read(LOOSE)?);
        for partition in 0..self.scenario.partitions {
            let all: Vec<Vec<i64>> = self
                .rows
                .iter()
                .filter(|row| row.partition == partition)
                .map(|row| vec![row.id, row.k, row.v])
                .collect();
            let mine: Vec<&Vec<i64>> = found.iter().filter(|row| all.binary_search(row).is_ok()).collect();
            let Some(first) = mine.first() else { continue };
            let from = all.partition_point(|row| row < first);
            if all[from..].iter().take(mine.len()).collect::<Vec<_>>() != mine {
                return wrong(format!("{LOOSE} holds rows of partition {partition} with a gap: {mine:?} of {all:?}"));
            }
        }
        Ok(())
    }

    /// What views show when everything has been read.
    pub(super) fn wrong_view(&mut self) -> Checked<Option<String>> {
        let mut expected = Vec::new();
        if self.scenario.is_whole() {
            expected.push(("a", Answer::one(keyed(&self.rows))));
            if !self.rows.is_empty() {
                expected.push(("b", Answer::one(vec![total(&self.rows)])));
            }
        }
        if let Some(view) = self.scenario.query.view(self.scenario.size) {
            expected.push((view, self.answer()));
        }
        for (view, expected) in expected {
            let found = numbers(&self.world.read(view)?);
            if let Some(difference) = expected.difference(&found) {
                return Ok(Some(format!("{view}: {difference}")));
            }
            self.report.rows += found.len();
        }
        Ok(None)
    }
}

/// The keys of a record that takes its row back.
fn tombstone(key: &[u8]) -> Vec<i64> {
    let key: serde_json::Value = serde_json::from_slice(key).unwrap_or_default();
    key.as_object().into_iter().flat_map(|object| object.values()).filter_map(serde_json::Value::as_i64).collect()
}

/// All rows as numbers, sorted; times in microseconds.
pub(super) fn numbers(batches: &[RecordBatch]) -> Vec<Vec<i64>> {
    let mut rows = Vec::new();
    for batch in batches {
        let micros = |column: &arrow::array::ArrayRef| match column.data_type() {
            DataType::Timestamp(..) => {
                cast(column, &DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None))
                    .and_then(|c| cast(&c, &DataType::Int64))
            }
            _ => cast(column, &DataType::Int64),
        };
        let columns: Vec<_> = batch.columns().iter().filter_map(|column| micros(column).ok()).collect();
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|column| column.as_primitive::<Int64Type>().value(row)).collect());
        }
    }
    rows.sort();
    rows
}
