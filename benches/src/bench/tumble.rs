//! How fast are rows counted and summed by key in tumbling windows, in a whole database with checkpoints each second, against
//! DataFusion's batch GROUP BY over the same rows; and what does a second core add?

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::harness::{Settings, cpu_seconds, spread};
use crate::prepared::{Prepared, Probe};
use crate::windowed::Workload;

const WORKLOAD: Workload =
    Workload { rows: 20_000_000, splits: 4, keys: 10_000, rows_per_second: 500_000, window_us: 10_000_000 };

/// What one run took.
struct Took {
    cpu: f64,
    wall: f64,
    groups: u64,
}

/// Runs the three sides in turn.
pub fn run(settings: &Settings) {
    let workload = Workload { rows: settings.rows(WORKLOAD.rows), ..WORKLOAD };
    let batches = workload.batches();
    let (mut one, mut two, mut batch) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=settings.runs {
        let runs = [streamed(&workload, &batches, 1), streamed(&workload, &batches, 2), grouped(&batches)];
        assert!(runs.iter().all(|run| run.groups == runs[0].groups), "all sides find the same groups");
        if round > 0 {
            let [a, b, c] = runs;
            one.push(a);
            two.push(b);
            batch.push(c);
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
    let ratio = |a: &[Took], b: &[Took], of: fn(&Took) -> f64| {
        spread(&a.iter().zip(b).map(|(a, b)| of(b) / of(a)).collect::<Vec<f64>>())
    };
    let (low, middle, high) = ratio(&one, &batch, |t| t.cpu);
    println!("  1 reactor / DataFusion, by CPU time: {middle:.2} × ({low:.2}–{high:.2})");
    let (low, middle, high) = ratio(&two, &one, |t| t.wall);
    println!("  2 reactors / 1 reactor, by wall time: {middle:.2} × ({low:.2}–{high:.2})");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Through the database; the clock runs from the first row to the last result at the sink.
fn streamed(workload: &Workload, batches: &[Vec<RecordBatch>], reactors: usize) -> Took {
    let source = Prepared::new(batches.to_vec(), None);
    let probe = Probe::default();
    runtime().block_on(async {
        let (database, _directory) = workload.deploy(&source, &probe, reactors).await;
        let (cpu, wall) = (cpu_seconds(), Instant::now());
        source.open();
        let mut last = (0, Instant::now());
        // All sources are bounded: results end when no more come for a while after the first.
        while last.0 == 0 || last.1.elapsed() < Duration::from_millis(300) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let records = probe.records();
            if records != last.0 {
                last = (records, Instant::now());
            }
        }
        let idle = last.1.elapsed().as_secs_f64();
        let took = Took { cpu: cpu_seconds() - cpu, wall: wall.elapsed().as_secs_f64() - idle, groups: last.0 };
        database.shutdown().await.expect("a clean end");
        took
    })
}

/// DataFusion over the same rows in memory, one partition.
fn grouped(batches: &[Vec<RecordBatch>]) -> Took {
    runtime().block_on(async {
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        let table = MemTable::try_new(Workload::schema(), vec![batches.concat()]).expect("a table");
        context.register_table("rows_in", Arc::new(table)).expect("a name");
        let (cpu, wall) = (cpu_seconds(), Instant::now());
        let sql = "SELECT key, date_bin(INTERVAL '10 seconds', ts) AS w, count(*) AS n, sum(value) AS total
                   FROM rows_in GROUP BY 1, 2";
        let found = context.sql(sql).await.expect("a plan").collect().await.expect("groups");
        let took = Took {
            cpu: cpu_seconds() - cpu,
            wall: wall.elapsed().as_secs_f64(),
            groups: found.iter().map(|batch| batch.num_rows() as u64).sum(),
        };
        let counted: i64 = found.iter().flat_map(|b| b.column(2).as_primitive::<Int64Type>().values().to_vec()).sum();
        assert_eq!(counted as usize, batches.iter().flatten().map(RecordBatch::num_rows).sum::<usize>());
        took
    })
}
