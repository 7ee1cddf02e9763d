//! Runs a scenario step by step and checks it: see `check` for what must hold while it runs and
//! `finish` for what must hold when faults have stopped and the input has ended.
//!
//! Invariant: one scenario gives one trace, to the last number; the hash of the trace says so.

mod answer;
mod check;
mod fault;
mod finish;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use laminar_core::engine::{EngineError, Insert, OnConflict, Reply};
use laminar_storage::disk::Schedule;

use crate::error::SimError;
use crate::scenario::{LOOSE, Pushed, Query, Row, Scenario, Step};
use crate::world::{World, WorldOptions};
use check::Seen;

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What happened, with virtual time.
    pub trace: Vec<String>,
    /// Of the trace and of all numbers that are not shown.
    pub hash: u64,
    /// Virtual microseconds.
    pub micros: u64,
    /// Starts of the engine.
    pub lives: u64,
    /// Rows that were compared with the answer.
    pub rows: usize,
    /// How often a stream or view was seen to wait, for a full sink or for memory.
    pub waits: usize,
    /// The most bytes that were seen in spill files.
    pub spilled: u64,
    /// What must not be, and is.
    pub failure: Option<String>,
}

/// The SQLSTATE of every refusal for want of space.
const NO_SPACE: &str = "53100";

/// What the client of an INSERT was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// No answer, or one that leaves it open.
    Open,
    /// The rows are durable.
    Acknowledged,
    /// Nothing was written.
    Refused,
}

type Inserts = Arc<Mutex<BTreeMap<(Pushed, i64), Told>>>;

/// A scenario under way.
struct Run<'a> {
    scenario: &'a Scenario,
    world: World,
    rows: Vec<Row>,
    /// The committed records of the query's topics as rows; of a query that changes, with their keys in front.
    exact: Vec<Vec<i64>>,
    plain: Vec<Vec<i64>>,
    inserts: Inserts,
    seen: Seen,
    /// The pipeline that is paused, with its rows if they were read.
    paused: Option<Option<Vec<Vec<i64>>>>,
    /// Whether one of two views of the source may be at another place of it than the other.
    apart: bool,
    /// Rows that were produced before the loose view was created.
    loose: Option<usize>,
    /// The operation of the disk that fails, in this life of the machine.
    armed: Option<u64>,
    report: Report,
    hasher: DefaultHasher,
}

/// Why a run stops.
enum Stop {
    /// The engine has ended by itself, which a fault may make it do.
    Ended(String),
    /// The engine answers with an error, which is wrong unless it has ended.
    Refused(String),
    /// What must not be.
    Wrong(String),
}

type Checked<T = ()> = Result<T, Stop>;

impl From<SimError> for Stop {
    fn from(error: SimError) -> Self {
        match error {
            SimError::Ended(why) => Self::Ended(why),
            // Requests that are under way when the engine ends are answered so.
            SimError::Engine(EngineError::Stopped) => Self::Ended(EngineError::Stopped.to_string()),
            other => Self::Refused(other.to_string()),
        }
    }
}

fn wrong<T>(what: impl Into<String>) -> Checked<T> {
    Err(Stop::Wrong(what.into()))
}

/// Runs a scenario to its end or to its first failure.
pub fn run(scenario: &Scenario) -> Report {
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let mut run = match Run::new(scenario) {
            Ok(run) => run,
            Err(error) => {
                return Report { failure: Some(format!("the world does not begin: {error}")), ..Report::default() };
            }
        };
        if let Err(what) = run.all() {
            run.show_disk();
            run.say(format!("WRONG: {what}"));
            run.report.failure = Some(what);
        }
        run.close()
    }));
    caught.unwrap_or_else(|panic| {
        let words =
            panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        let failure = Some(format!("panic: {}", words.unwrap_or("no message")));
        Report { failure, ..Report::default() }
    })
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario) -> Result<Self, SimError> {
        let mut world = World::new(WorldOptions {
            seed: scenario.seed,
            shards: scenario.shards,
            reactors: scenario.reactors,
            batch_rows: scenario.batch_rows,
            checkpoint_interval: Duration::from_millis(scenario.checkpoint_ms),
            outbox_bytes: scenario.outbox_bytes,
            spill_bytes: scenario.spill_bytes,
            in_memory: scenario.in_memory(),
        })?;
        world.broker().create_topic("in", scenario.partitions);
        for topic in ["exact", "plain", "pushed"] {
            world.broker().create_topic(topic, 1);
        }
        world.define(&scenario.sql())?;
        let mut run = Self {
            scenario,
            world,
            rows: Vec::new(),
            exact: Vec::new(),
            plain: Vec::new(),
            inserts: Inserts::default(),
            seen: Seen::default(),
            paused: None,
            // A view that waits for the sink of what reads it goes on at a place of its own.
            apart: scenario.is_pressed() && scenario.query == Query::KeyedTwice,
            loose: None,
            armed: None,
            report: Report::default(),
            hasher: DefaultHasher::new(),
        };
        run.set_schedule();
        run.say(scenario.to_string());
        Ok(run)
    }

    fn set_schedule(&self) {
        if self.scenario.shuffled_disk {
            self.world.set_schedule(Schedule::Shuffled);
        }
    }

    fn say(&mut self, what: String) {
        let line = format!("{:>12.6} s  {what}", self.world.now() as f64 / 1e6);
        line.hash(&mut self.hasher);
        self.report.trace.push(line);
    }

    /// The newest operations of the disk.
    fn show_disk(&mut self) {
        let operations = self.world.machine().trace();
        for operation in &operations[operations.len().saturating_sub(8)..] {
            self.say(format!("   disk: {} {} {}", operation.number, operation.what, operation.path.display()));
        }
    }

    fn close(mut self) -> Report {
        self.report.hash = self.hasher.finish();
        self.report.micros = self.world.now();
        self.report
    }

    fn all(&mut self) -> Result<(), String> {
        for (at, step) in self.scenario.steps.iter().enumerate() {
            self.say(format!("{at}: {step}"));
            self.attempt(|run| run.step(step))?;
            self.attempt(Self::after_step)?;
        }
        self.finish()
    }

    /// Does something; an end of the engine that a fault explains is followed by its next life.
    fn attempt(&mut self, what: impl Fn(&mut Self) -> Checked) -> Result<(), String> {
        match what(self) {
            Ok(()) => Ok(()),
            Err(Stop::Refused(why)) if self.world.ended().is_some() => self.recover(&why),
            Err(Stop::Wrong(what) | Stop::Refused(what)) => Err(what),
            Err(Stop::Ended(why)) => self.recover(&why),
        }
    }

    fn step(&mut self, step: &Step) -> Checked {
        match step {
            Step::Produce(rows) => self.produce(rows),
            Step::Insert(into, keys) => self.insert(*into, keys)?,
            Step::Rounds(count) => self.world.rounds(*count),
            Step::Advance(micros) => self.world.advance(*micros)?,
            Step::Checkpoint => self.world.handle().checkpoint(Reply::ignored()),
            Step::PauseOrResume => self.pause_or_resume()?,
            Step::CreateOrDrop => self.create_or_drop()?,
            Step::Look => self.look()?,
            fault => self.fault(fault)?,
        }
        Ok(())
    }

    fn after_step(&mut self) -> Checked {
        let (broker, operations) = (self.world.broker().digest(), self.world.machine().operations());
        (broker, operations).hash(&mut self.hasher);
        self.check_topics()?;
        self.outlive()?;
        match self.world.ended() {
            Some(why) => Err(Stop::Ended(why)),
            None => Ok(()),
        }
    }

    fn produce(&mut self, rows: &[Row]) {
        for row in rows {
            self.world.broker().produce("in", row.partition, [row.json()]);
        }
        self.rows.extend_from_slice(rows);
    }

    fn insert(&mut self, into: Pushed, keys: &[i64]) -> Checked {
        let (name, _) = into.names();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(keys.to_vec())),
            Arc::new(Int64Array::from_iter_values(keys.iter().map(value))),
        ];
        let rows = RecordBatch::try_new(self.world.schema(name)?, columns);
        let rows = rows.map_err(|error| Stop::Wrong(error.to_string()))?;
        let (inserts, keys) = (self.inserts.clone(), keys.to_vec());
        let set = move |told: Told| {
            let mut inserts = inserts.lock().unwrap_or_else(PoisonError::into_inner);
            for key in &keys {
                inserts.insert((into, *key), told);
            }
        };
        set(Told::Open);
        let answered = move |answer: Result<_, EngineError>| match answer {
            Ok(_) => set(Told::Acknowledged),
            Err(
                EngineError::NoSpace
                | EngineError::DuplicateKey { .. }
                | EngineError::Choked { .. }
                | EngineError::Crowded { .. },
            ) => set(Told::Refused),
            Err(_) => {}
        };
        let insert =
            Insert { object: self.world.id(name)?, rows: vec![rows], on_conflict: OnConflict::Error, request: None };
        self.world.handle().insert(insert, Reply::new(answered));
        Ok(())
    }

    fn pause_or_resume(&mut self) -> Checked {
        let object = self.world.id("b")?;
        let pause = self.paused.is_none();
        let answer = self.world.ask(|handle, reply| match pause {
            true => handle.pause(object, reply),
            false => handle.resume(object, reply),
        });
        self.apart = true;
        match answer {
            Ok(()) => self.paused = pause.then_some(None),
            Err(error) => self.no_space(error)?,
        }
        Ok(())
    }

    /// On a full disk a change of the catalog is refused, and nothing has changed.
    fn no_space(&mut self, error: SimError) -> Checked {
        match error {
            SimError::Engine(refused)
                if refused.sqlstate() == NO_SPACE && self.world.is_disk_full() && self.world.ended().is_none() =>
            {
                self.say("   no space for that".into());
                Ok(())
            }
            error => Err(error.into()),
        }
    }

    fn create_or_drop(&mut self) -> Checked {
        let sql = match self.loose {
            None => format!("CREATE MATERIALIZED VIEW {LOOSE} AS SELECT id, k, v FROM s"),
            Some(_) => format!("DROP MATERIALIZED VIEW {LOOSE}"),
        };
        match self.world.define(&sql) {
            Ok(()) => self.loose = if self.loose.is_none() { Some(self.rows.len()) } else { None },
            Err(error) => self.no_space(error)?,
        }
        Ok(())
    }
}

/// The value that belongs to a pushed key.
fn value(key: &i64) -> i64 {
    key * 3 + 1
}
