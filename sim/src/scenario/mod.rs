//! What one seed means: options, a pipeline, and a list of steps with their data and their faults.
//!
//! Invariant: a scenario is plain data; nothing is drawn at random while it runs but by the seeds of
//! driver, disk and broker, so leaving steps out gives a smaller scenario that still makes sense.

mod generate;
mod query;

use crate::broker::Fate;
use crate::world::Restart;

pub use query::{Query, Row, keyed, parse_record, total};

/// One view over the source that steps drop and create again.
pub const LOOSE: &str = "d";
/// Views that agree at each epoch, because nothing parts one of them from the source without the others.
pub const TOGETHER: [&str; 3] = ["a", "b", "c"];

/// Staged bytes that no scenario reaches.
pub const UNREACHED: u64 = 256 << 20;

/// How many objects a scenario has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// The query with its sinks, and views, a push source and a table beside it.
    Whole,
    /// One source, one query and its exactly-once sink.
    Small,
}

/// A scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where it comes from.
    pub seed: u64,
    /// How many objects there are.
    pub size: Size,
    /// Shards of the data directory.
    pub shards: u16,
    /// Reactors of the first life.
    pub reactors: u16,
    /// Rows that a split delivers at once.
    pub batch_rows: usize,
    /// Distance of checkpoints in milliseconds.
    pub checkpoint_ms: u64,
    /// Partitions of the source's topic.
    pub partitions: usize,
    /// Microseconds that the watermark stays behind.
    pub delay: i64,
    /// What is computed and written.
    pub query: Query,
    /// Whether a second sink writes the same rows at least once.
    pub plain_sink: bool,
    /// Staged bytes at which a sink is full on a reactor; where they can be reached, a sink writes what clients
    /// push.
    pub outbox_bytes: u64,
    /// Bytes that streams and views, but those that stay in memory, may hold there before they spill; none = more
    /// than they ever hold.
    pub spill_bytes: Option<u64>,
    /// Whether operations of the disk take effect in any order.
    pub shuffled_disk: bool,
    /// What happens.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Rows appear in the source's topic.
    Produce(Vec<Row>),
    /// A client sends an INSERT and does not wait: keys of new rows of the push source or the table.
    Insert(Pushed, Vec<i64>),
    /// Everything takes so many turns; time stands still.
    Rounds(usize),
    /// Time passes until nothing is left to do.
    Advance(u64),
    /// A client asks for a checkpoint and does not wait.
    Checkpoint,
    /// The process or the machine falls, and starts again with so many reactors.
    Fall(Restart, u16),
    /// As a fall with lost power, and the power goes again after so many operations of the start.
    FallTwice(u64, u16),
    /// The power goes at one of the next operations of the disk.
    PowerCut(u64),
    /// One of the next operations of the disk fails.
    DiskError(u64),
    /// No file grows for so many microseconds.
    DiskFull(u64),
    /// The broker is away for so many microseconds.
    Away(u64),
    /// The broker takes nothing for so many microseconds, but serves readers.
    Deaf(u64),
    /// What happens to the next request that writes to the broker.
    Fate(Fate),
    /// A view over the source stops, or goes on.
    PauseOrResume,
    /// The loose view is created, or dropped.
    CreateOrDrop,
    /// Views, watermarks, epochs and states are looked at.
    Look,
}

impl Step {
    fn is_fault(&self) -> bool {
        match self {
            Self::Fall(..)
            | Self::FallTwice(..)
            | Self::PowerCut(_)
            | Self::DiskError(_)
            | Self::DiskFull(_)
            | Self::Away(_)
            | Self::Deaf(_)
            | Self::Fate(_) => true,
            Self::Produce(_)
            | Self::Insert(..)
            | Self::Rounds(_)
            | Self::Advance(_)
            | Self::Checkpoint
            | Self::PauseOrResume
            | Self::CreateOrDrop
            | Self::Look => false,
        }
    }
}

/// What a client pushes into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pushed {
    /// The source without connector.
    Source,
    /// The table.
    Table,
}

impl Pushed {
    /// The object that takes the rows, and the one that shows them.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Source => ("p", "pv"),
            Self::Table => ("t", "t"),
        }
    }
}

impl Scenario {
    /// All objects.
    pub fn sql(&self) -> String {
        let mut text = format!(
            "CREATE SOURCE s (id BIGINT NOT NULL, k BIGINT NOT NULL, v BIGINT NOT NULL, ts TIMESTAMP NOT NULL,
               WATERMARK FOR ts AS ts - INTERVAL '{} milliseconds' IDLE AFTER INTERVAL '10 hours')
             WITH (connector = 'broker', topic = 'in', format = 'json', json.timestamp = 'micros');",
            self.delay / 1000
        );
        if self.is_whole() {
            text.push_str(
                "CREATE MATERIALIZED VIEW a AS
                   SELECT k, count(*) AS n, CAST(sum(v) AS BIGINT) AS total FROM s GROUP BY k;
                 CREATE MATERIALIZED VIEW b AS SELECT count(*) AS n, CAST(sum(v) AS BIGINT) AS total FROM s;
                 CREATE MATERIALIZED VIEW c AS SELECT n, count(*) AS keys FROM a GROUP BY n;
                 CREATE SOURCE p (id BIGINT NOT NULL, v BIGINT NOT NULL);
                 CREATE MATERIALIZED VIEW pv AS SELECT id, v FROM p;
                 CREATE TABLE t (id BIGINT PRIMARY KEY, v BIGINT NOT NULL);",
            );
        }
        text.push_str(&self.query.sql(self.size));
        let envelope = if self.query.changes() { ", envelope = 'upsert'" } else { "" };
        text.push_str(&format!(
            "CREATE SINK exact FROM q WITH (connector = 'broker', topic = 'exact', format = 'json',
               delivery = 'exactly_once'{envelope});"
        ));
        if self.plain_sink {
            text.push_str(&format!(
                "CREATE SINK plain FROM q WITH (connector = 'broker', topic = 'plain', format = 'json'{envelope});"
            ));
        }
        if self.is_pressed() && self.is_whole() {
            text.push_str(
                "CREATE STREAM ps AS SELECT id, v FROM p;
                 CREATE SINK pushed FROM ps WITH (connector = 'broker', topic = 'pushed', format = 'json');",
            );
        }
        text
    }

    /// Whether there are more objects than the query needs.
    pub fn is_whole(&self) -> bool {
        self.size == Size::Whole
    }

    /// Whether sinks may be full, so that what feeds them waits.
    pub fn is_pressed(&self) -> bool {
        self.outbox_bytes < UNREACHED
    }

    /// Views that never spill: those that agree, and a query that reads one of them, which would wait for it.
    pub fn in_memory(&self) -> &'static [&'static str] {
        match self.query {
            Query::KeyedTwice => &["a", "b", "c", "q"],
            _ => &TOGETHER,
        }
    }

    /// The options with which the command plays it again.
    pub fn replay(&self) -> String {
        let small = if self.is_whole() { "" } else { " --small" };
        format!("--replay {}{small}", self.seed)
    }

    /// How many of its steps are faults.
    pub fn faults(&self) -> usize {
        self.steps.iter().filter(|step| step.is_fault()).count()
    }

    /// How many rows its source gets.
    pub fn produced(&self) -> usize {
        self.steps.iter().map(|step| if let Step::Produce(rows) = step { rows.len() } else { 0 }).sum()
    }

    /// The same without some steps.
    #[must_use]
    pub fn without(&self, gone: &[usize]) -> Self {
        let steps = self.steps.iter().enumerate().filter(|(at, _)| !gone.contains(at)).map(|(_, step)| step.clone());
        Self { steps: steps.collect(), ..self.clone() }
    }
}

impl std::fmt::Display for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            seed,
            shards,
            reactors,
            batch_rows,
            checkpoint_ms,
            partitions,
            delay,
            query,
            outbox_bytes,
            spill_bytes,
            ..
        } = self;
        write!(
            f,
            "seed {seed}: {query:?}, {partitions} partitions, {shards} shards, {reactors} reactors, {batch_rows} rows a \
             batch, a checkpoint each {checkpoint_ms} ms, watermark {} ms behind, sinks of {outbox_bytes} bytes, \
             spilling at {} bytes, {} steps",
            delay / 1000,
            spill_bytes.map_or("no".to_owned(), |bytes| bytes.to_string()),
            self.steps.len()
        )
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Produce(rows) => {
                write!(f, "{} rows are produced, id:k:v@ms/partition", rows.len())?;
                rows.iter().try_for_each(|row| write!(f, " {row}"))
            }
            Self::Insert(into, keys) => write!(f, "INSERT of {} rows into {}", keys.len(), into.names().0),
            other => write!(f, "{other:?}"),
        }
    }
}
