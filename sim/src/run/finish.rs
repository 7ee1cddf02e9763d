//! The end of a scenario: faults stop, the input ends, and within bounded virtual time everything is
//! where a run without failures would have it; it stays so over one more fall.

use std::collections::BTreeMap;

use super::{Checked, Run, Stop};
use crate::scenario::{LOOSE, Pushed};
use crate::world::Restart;

/// Virtual time within which everything comes to rest: retries pause for at most ten seconds, the
/// broker gives up an open transaction after sixty.
const REST_US: u64 = 150_000_000;

/// Between two looks.
const LOOK_US: u64 = 2_000_000;

impl Run<'_> {
    pub(super) fn finish(&mut self) -> Result<(), String> {
        self.say("faults stop, the input ends".into());
        self.world.broker().heal();
        self.world.relieve_disk();
        if self.armed.is_some() {
            // What is planted and has not struck goes with this life.
            self.world.fall(Restart::Kill);
            self.attempt(|run| run.begin_life(None))?;
        }
        self.attempt(|run| {
            if run.paused.is_some() {
                run.pause_or_resume()?;
            }
            run.world.broker().end("in");
            Ok(())
        })?;
        self.attempt(Self::come_to_rest)?;
        self.say("at rest; one more fall".into());
        self.world.fall(Restart::PowerCut);
        self.attempt(|run| run.begin_life(None))?;
        self.attempt(Self::come_to_rest)
    }

    fn come_to_rest(&mut self) -> Checked {
        let limit = self.world.now() + REST_US;
        loop {
            self.world.advance(LOOK_US)?;
            self.check_topics()?;
            let difference = match self.wrong_topic()? {
                None => self.wrong_view()?,
                some => some,
            };
            let Some(difference) = difference else { break };
            if self.world.now() > limit {
                return Err(Stop::Wrong(format!("it does not come to rest: {difference}")));
            }
        }
        self.look()?;
        if self.loose.is_some() {
            self.check_loose_end()?;
        }
        if self.scenario.is_whole() { self.check_pushed(Pushed::Source) } else { Ok(()) }
    }

    /// What topics hold when everything has been written.
    fn wrong_topic(&mut self) -> Checked<Option<String>> {
        let answer = self.answer();
        let exact = self.settled(&self.exact);
        if let Some(difference) = answer.difference(&exact) {
            return Ok(Some(format!("exact: {difference}")));
        }
        if let Some(key) = self.check_pushed_topic()?.filter(|_| self.scenario.is_pressed()) {
            return Ok(Some(format!("pushed: row {key} is missing")));
        }
        self.report.rows += exact.len();
        if !self.scenario.plain_sink || answer.least != answer.most {
            return Ok(None);
        }
        // Rows may be there again.
        let mut plain = self.settled(&self.plain);
        plain.dedup();
        Ok(answer.difference(&plain).map(|difference| format!("plain: {difference}")))
    }

    /// The rows of a topic, sorted; where they replace each other, the last one of each key.
    fn settled(&self, records: &[Vec<i64>]) -> Vec<Vec<i64>> {
        let mut rows = records.to_vec();
        if self.scenario.query.changes() {
            let mut last: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
            for row in rows {
                last.insert(row[0], row);
            }
            // A row of its key alone takes the row back.
            rows = last.into_values().filter(|row| row.len() > 1).collect();
        }
        rows.sort();
        rows
    }

    /// The loose view has everything that was produced after it was there.
    fn check_loose_end(&mut self) -> Checked {
        let found = super::check::numbers(&self.world.read(LOOSE)?);
        let after = &self.rows[self.loose.unwrap_or(0)..];
        match after.iter().find(|row| found.binary_search(&vec![row.id, row.k, row.v]).is_err()) {
            Some(row) => Err(Stop::Wrong(format!("{LOOSE} lacks {row:?}, produced after its CREATE"))),
            None => Ok(()),
        }
    }
}
