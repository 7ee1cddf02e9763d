//! How fast are rows counted and summed by key in tumbling windows, in a whole database with checkpoints each second, against
//! DataFusion's batch GROUP BY over the same rows; and what does a second core add?

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::harness::{Settings, cpu_seconds, spread};
use crate::pacing::runtime;
use crate::prepared::Prepared;
use crate::windowed::{Took, Workload};

const WORKLOAD: Workload = Workload {
    rows: 20_000_000,
    splits: 4,
    keys: 10_000,
    rows_per_second: 500_000,
    window_us: 10_000_000,
    delay_us: 100_000,
};

const INTERVAL: Duration = Duration::from_secs(1);

/// Runs the three sides in turn.
pub fn run(settings: &Settings) {
    let workload = Workload { rows: settings.rows(WORKLOAD.rows), ..WORKLOAD };
    let batches = workload.batches();
    let (mut one, mut two, mut batch, mut halves) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..=settings.runs {
        let (c, groups) = grouped(&batches);
        let d = grouped_in_halves(&batches);
        let streamed = |reactors| {
            workload.stream(&Prepared::new(batches.clone(), None), groups, reactors, INTERVAL, "at_least_once")
        };
        let (a, b) = (streamed(1), streamed(2));
        if round > 0 {
            one.push(a);
            two.push(b);
            batch.push(c);
            halves.push(d);
        }
    }
    let rate = |seconds: f64| workload.rows as f64 / seconds / 1e6;
    let line = |name: &str, runs: &[Took]| {
        let cpu: Vec<f64> = runs.iter().map(|r| r.cpu).collect();
        let wall: Vec<f64> = runs.iter().map(|r| r.wall).collect();
        println!("  {name:<38} {:>7.2} M rows/cpu-s {:>7.2} M rows/s", rate(spread(&cpu).1), rate(spread(&wall).1));
    };
    line("laminar, 1 reactor, checkpoints 1 s", &one);
    line("laminar, 2 reactors, checkpoints 1 s", &two);
    line("DataFusion batch GROUP BY, 1 partition", &batch);
    line("the same, each half on its own thread", &halves);
    let ratio = |a: &[Took], b: &[Took], of: fn(&Took) -> f64| {
        spread(&a.iter().zip(b).map(|(a, b)| of(b) / of(a)).collect::<Vec<f64>>())
    };
    let (low, middle, high) = ratio(&one, &batch, |t| t.cpu);
    println!("  1 reactor / DataFusion, by CPU time: {middle:.2} × ({low:.2}–{high:.2})");
    let (low, middle, high) = ratio(&two, &one, |t| t.wall);
    println!("  2 reactors / 1 reactor, by wall time: {middle:.2} × ({low:.2}–{high:.2})");
    let (low, middle, high) = ratio(&halves, &batch, |t| t.wall);
    println!("  what a second core gives two threads that share nothing: {middle:.2} × ({low:.2}–{high:.2})");
}

/// The limit of the machine: each half of the rows is grouped for itself, and nothing is exchanged or merged.
fn grouped_in_halves(batches: &[Vec<RecordBatch>]) -> Took {
    let (cpu, wall) = (cpu_seconds(), Instant::now());
    std::thread::scope(|scope| {
        for half in batches.chunks(batches.len().div_ceil(2)) {
            scope.spawn(move || grouped(half));
        }
    });
    Took { cpu: cpu_seconds() - cpu, wall: wall.elapsed().as_secs_f64() }
}

/// DataFusion over the same rows in memory, one partition.
fn grouped(batches: &[Vec<RecordBatch>]) -> (Took, u64) {
    runtime().block_on(async {
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        let table = MemTable::try_new(Workload::schema(), vec![batches.concat()]).expect("a table");
        context.register_table("rows_in", Arc::new(table)).expect("a name");
        let (cpu, wall) = (cpu_seconds(), Instant::now());
        let sql = "SELECT key, date_bin(INTERVAL '10 seconds', ts) AS w, count(*) AS n, sum(value) AS total
                   FROM rows_in GROUP BY 1, 2";
        let found = context.sql(sql).await.expect("a plan").collect().await.expect("groups");
        let took = Took { cpu: cpu_seconds() - cpu, wall: wall.elapsed().as_secs_f64() };
        let counted: i64 = found.iter().flat_map(|b| b.column(2).as_primitive::<Int64Type>().values().to_vec()).sum();
        assert_eq!(counted as usize, batches.iter().flatten().map(RecordBatch::num_rows).sum::<usize>());
        (took, found.iter().map(|batch| batch.num_rows() as u64).sum())
    })
}
