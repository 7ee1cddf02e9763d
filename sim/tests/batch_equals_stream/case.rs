//! One case: rows, queries, cuts and restarts by seed, and the comparison.

use std::fmt::Write as _;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use laminar_core::data::EventTime;
use laminar_core::engine::OnConflict;
use laminar_sim::{Restart, World, WorldOptions};

use crate::data::{COLUMNS, Clock, Row, SECOND, batch, row};
use crate::expression::Ty;
use crate::grammar::{Column, Grammar, Query, Relation};
use crate::oracle::{Oracle, Table, sorted, watermarks};

/// 2023-11-14 22:00:00, a little before the simulated present.
const EPOCH: i64 = 1_699_999_200 * SECOND;

/// What was done.
#[derive(Default)]
pub struct Report {
    pub queries: usize,
    pub restarts: usize,
    pub rows_compared: usize,
    pub late_cases: usize,
    pub log: String,
}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { queries, restarts, rows_compared, late_cases, log: _ } = self;
        write!(
            f,
            "{queries} queries, {restarts} restarts, {rows_compared} rows compared, {late_cases} cases with late rows"
        )
    }
}

impl Report {
    pub fn add(&mut self, other: &Self) {
        self.queries += other.queries;
        self.restarts += other.restarts;
        self.rows_compared += other.rows_compared;
        self.late_cases += other.late_cases;
    }
}

/// Runs the case of a seed.
pub fn run(seed: u64) -> Report {
    let mut case = Case::new(seed);
    case.steps();
    case.close();
    case.report
}

/// A query and the step before which it is created.
struct Planned {
    query: Query,
    at: usize,
}

struct Case {
    random: fastrand::Rng,
    world: World,
    shards: u16,
    /// Rows of the sources that have a time, and of the table, in order of arrival.
    rows: [Vec<Row>; 3],
    clock: Clock,
    next_id: i64,
    delay: i64,
    queries: Vec<Planned>,
    created: usize,
    steps: usize,
    oracle: Oracle,
    report: Report,
}

const BASES: [&str; 3] = ["s", "u", "t"];

fn base(name: &str) -> Relation {
    let columns = [
        ("id", Ty::Int),
        ("k", Ty::Text),
        ("g", Ty::Int),
        ("v", Ty::Int),
        ("p", Ty::Double),
        ("d", Ty::Decimal),
        ("b", Ty::Bool),
        ("ts", Ty::Time),
    ];
    let table = name == "t";
    Relation {
        name: name.into(),
        columns: columns.iter().map(|(name, ty)| Column { name: (*name).into(), ty: *ty }).collect(),
        changing: table,
        time: if table { vec![] } else { vec!["ts".into()] },
        kept: table,
        arrives_by_id: !table,
    }
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let shards = [1, 2, 4][random.usize(0..3)];
        let reactors = random.u16(1..=shards);
        let batch_rows = [1, 3, 64, 4096][random.usize(0..4)];
        let mut world = World::new(WorldOptions {
            seed,
            shards,
            reactors,
            batch_rows,
            checkpoint_interval: Duration::from_millis([5, 1000, 3_600_000][random.usize(0..3)]),
            outbox_bytes: 256 << 20,
            spill_bytes: None,
            in_memory: &[],
        })
        .unwrap();
        let late = random.u8(0..4) == 0;
        let stray = random.i64(0..3 * SECOND);
        let delay = if late { stray / 4 / 1000 * 1000 } else { 3 * SECOND };
        let precision = [3, 6, 9][random.usize(0..3)];
        let start = if random.u8(0..4) == 0 { -20 * SECOND } else { EPOCH };
        let mut report = Report { late_cases: usize::from(late), ..Report::default() };
        let _ = writeln!(report.log, "-- seed {seed}: {shards} shards, {reactors} reactors, {batch_rows} rows a batch");
        for name in BASES {
            let create = match name {
                "t" => format!("CREATE TABLE t ({COLUMNS}, ts TIMESTAMP({precision}), PRIMARY KEY (id))"),
                name => format!(
                    "CREATE SOURCE {name} ({COLUMNS}, ts TIMESTAMP({precision}), WATERMARK FOR ts AS ts - INTERVAL \
                     '{} milliseconds' IDLE AFTER INTERVAL '10 hours')",
                    delay / 1000
                ),
            };
            let _ = writeln!(report.log, "{create};");
            world.define(&create).unwrap();
        }
        let steps = random.usize(4..10);
        let queries = queries(&mut random, late, steps);
        report.queries = queries.iter().filter(|q| q.query.view).count();
        let step = random.i64(1..SECOND);
        let clock = Clock { now: start, stray, step };
        let mut case = Self {
            steps,
            random,
            world,
            shards,
            rows: Default::default(),
            clock,
            next_id: 1,
            delay,
            queries,
            created: 0,
            oracle: Oracle::default(),
            report,
        };
        case.create(0);
        case
    }

    /// Creates the queries of a step in one deployment.
    fn create(&mut self, step: usize) {
        let mut text = String::new();
        while let Some(planned) = self.queries.get(self.created).filter(|q| q.at <= step) {
            let _ = writeln!(text, "{};", planned.query.create);
            self.created += 1;
        }
        self.report.log.push_str(&text);
        if !text.is_empty()
            && let Err(error) = self.world.define(&text)
        {
            self.fail(&format!("refused: {error}"));
        }
    }

    fn fail(&self, why: &str) -> ! {
        panic!("{}\n{why}", self.report.log)
    }

    fn steps(&mut self) {
        for step in 0..self.steps {
            self.create(step);
            self.insert();
            match self.random.u8(0..10) {
                0 | 1 => self.checkpoint(),
                2..5 => self.restart(),
                5 | 6 => self.world.advance(self.random.u64(0..200_000)).unwrap(),
                _ => {}
            }
            if self.random.u8(0..6) == 0 {
                let _ = writeln!(self.report.log, "-- compare");
                self.compare(false);
            }
        }
    }

    /// The final watermark, then everything is compared; once more after a restart.
    fn close(&mut self) {
        let _ = writeln!(self.report.log, "-- end of time");
        for source in ["s", "u"] {
            self.world.advance_watermark(source, EventTime(self.clock.now + 3600 * SECOND)).unwrap();
        }
        self.compare(true);
        if self.random.bool() {
            self.checkpoint();
            self.restart();
            self.compare(true);
        }
    }

    fn checkpoint(&mut self) {
        let _ = writeln!(self.report.log, "-- checkpoint");
        self.world.checkpoint().unwrap();
    }

    fn restart(&mut self) {
        let how = [Restart::Stop, Restart::Kill, Restart::PowerCut][self.random.usize(0..3)];
        let reactors = self.random.u16(1..=self.shards);
        let _ = writeln!(self.report.log, "-- {how:?}, then {reactors} reactors");
        if let Err(error) = self.world.restart(how, reactors) {
            self.fail(&format!("no restart: {error}"));
        }
        self.report.restarts += 1;
    }

    /// A few INSERTs into random relations, without waiting in between.
    fn insert(&mut self) {
        let mut inserts = Vec::new();
        for _ in 0..self.random.usize(1..5) {
            let which = self.random.usize(0..3);
            let count = self.random.usize(1..25);
            let mut rows: Vec<Row> = Vec::new();
            for _ in 0..count {
                let mut new = row(&mut self.random, &mut self.clock, self.next_id);
                self.next_id += 1;
                let old = &self.rows[which];
                if which == 2 && !old.is_empty() && self.random.bool() {
                    new.id = old[self.random.usize(0..old.len())].id;
                }
                if rows.iter().all(|r| r.id != new.id) {
                    rows.push(new);
                }
            }
            let _ = writeln!(self.report.log, "-- {} rows into {}: {:?}", rows.len(), BASES[which], rows);
            let on_conflict = if self.random.bool() { OnConflict::Replace } else { OnConflict::Keep };
            let schema = self.world.schema(BASES[which]).unwrap();
            inserts.push((BASES[which], batch(&schema, &rows), on_conflict));
            for new in rows {
                self.keep(which, new, on_conflict);
            }
        }
        if let Err(error) = self.world.insert(inserts) {
            self.fail(&format!("no INSERT: {error}"));
        }
    }

    fn keep(&mut self, which: usize, new: Row, on_conflict: OnConflict) {
        let rows = &mut self.rows[which];
        if which < 2 {
            // A row without event time is counted and left out.
            if new.ts.is_some() {
                rows.push(new);
            }
            return;
        }
        match rows.iter_mut().find(|r| r.id == new.id) {
            Some(old) if on_conflict == OnConflict::Replace => *old = new,
            Some(_) => {}
            None => rows.push(new),
        }
    }

    fn compare(&mut self, closed: bool) {
        let mut oracle = std::mem::take(&mut self.oracle);
        for (name, rows) in BASES.into_iter().zip(&self.rows) {
            let schema = self.world.schema(name).unwrap();
            let rows = batch(&schema, rows);
            let watermarks = (name != "t").then(|| watermarks(&rows, self.delay));
            oracle.tables.insert(name.into(), Table { rows, watermarks });
        }
        let mut waiting: Vec<String> = Vec::new();
        for at in 0..self.created {
            let query = self.queries[at].query.clone();
            let expected = oracle.answer(&query);
            // Until time is over, rows that leave with their window are on the way.
            if !closed && (query.on_close || query.over.iter().any(|o| waiting.contains(o))) {
                waiting.push(query.name.clone());
                continue;
            }
            if query.view {
                self.compare_view(&query, &expected);
            }
        }
        self.oracle = oracle;
    }

    fn compare_view(&mut self, query: &Query, expected: &RecordBatch) {
        let found = match self.world.read(&query.name) {
            Ok(found) => found,
            Err(error) => self.fail(&format!("{} cannot be read: {error}", query.name)),
        };
        let schema = self.world.schema(&query.name).unwrap();
        let types = |schema: &SchemaRef| -> Vec<String> {
            schema.fields().iter().map(|f| format!("{} {}", f.name(), f.data_type())).collect()
        };
        let (found_types, expected_types) = (types(&schema), types(&expected.schema()));
        if found_types != expected_types {
            self.fail(&format!(
                "{} has columns {found_types:?}, the batch {expected_types:?}\n{}\n{}",
                query.name, query.create, query.batch
            ));
        }
        let (found, expected) = (sorted(&found), sorted(std::slice::from_ref(expected)));
        self.report.rows_compared += expected.len();
        if found != expected {
            let surplus = without(&found, &expected);
            let missing = without(&expected, &found);
            self.fail(&format!(
                "{} differs\n{}\n{}\nnot in the batch answer:\n  {}\nmissing in the view:\n  {}",
                query.name,
                query.create,
                query.batch,
                surplus.join("\n  "),
                missing.join("\n  ")
            ));
        }
    }
}

/// The lines of one sorted list that the other does not have.
fn without(lines: &[String], other: &[String]) -> Vec<String> {
    let mut other = other.iter().peekable();
    let mut left = Vec::new();
    for line in lines {
        while other.peek().is_some_and(|o| *o < line) {
            other.next();
        }
        if other.peek() == Some(&line) {
            other.next();
        } else {
            left.push(line.clone());
        }
    }
    left
}

/// Queries over the base relations and over each other, and when each is created.
fn queries(random: &mut fastrand::Rng, late: bool, steps: usize) -> Vec<Planned> {
    let bases: Vec<Relation> = BASES.iter().map(|name| base(name)).collect();
    let mut made: Vec<Planned> = Vec::new();
    for number in 0..random.usize(3..6) {
        let view = random.u8(0..5) > 0;
        // What a stream has let pass is gone, so streams and what is over them are there from the beginning.
        let there = |p: &&Planned| view || p.at == 0;
        let relations: Vec<Relation> =
            bases.iter().cloned().chain(made.iter().filter(there).map(|p| p.query.output.clone())).collect();
        let query = Grammar::new(random, late).query(&format!("q{number}"), &relations, view);
        let over = |name: &String| relations.iter().find(|r| r.name == *name);
        let begins = |name: &String| made.iter().find(|p| p.query.name == *name).map_or(0, |p| p.at);
        let on_kept = query.over.iter().all(|name| over(name).is_some_and(|r| r.kept));
        let needed = query.over.iter().map(begins).max().unwrap_or(0);
        // Over a source or a stream it must be there from the beginning too; then it cannot read what comes later.
        if !on_kept && needed > 0 {
            continue;
        }
        let at = if on_kept && view { needed.max(random.usize(0..steps)) } else { needed };
        made.push(Planned { query, at });
    }
    made.sort_by_key(|p| p.at);
    made
}
