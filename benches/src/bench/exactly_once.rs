//! How long after a row's arrival is its result committed at the target of an exactly-once sink, at checkpoint intervals of
//! 100 ms and 1 s; and what does an interval of 100 ms cost in throughput against a run without checkpoints?
//!
//! Visibility is open loop: each row has its moment by the schedule, and its latency counts from that moment (its event
//! time, cut to a millisecond) to the return of the commit. The target is this process's memory, so the figures are the
//! database's own: staging, syncs of outbox and manifest, publishing, commit.

use std::time::{Duration, Instant};

use laminar_core::connector::Registry;

use crate::harness::{Settings, spread};
use crate::pacing::{Hiccups, Lateness, runtime};
use crate::prepared::{Keep, Prepared, Probe};
use crate::windowed::{Took, Workload, open};

/// Rows a second whose results are watched: few against what the machine takes, so that no queue hides the interval.
const RATE: usize = 20_000;
const SECONDS: usize = 20;
/// What the database may add to the interval at the 99th percentile.
const ALLOWANCE_MS: f64 = 50.0;
const PATIENCE: Duration = Duration::from_secs(300);

/// Longer than any run: no checkpoint is taken while it lasts.
const NEVER: Duration = Duration::from_secs(3_600);

const TUMBLE: Workload = Workload {
    rows: 40_000_000,
    splits: 4,
    keys: 10_000,
    rows_per_second: 500_000,
    window_us: 10_000_000,
    delay_us: 100_000,
};

/// Both questions.
pub fn run(settings: &Settings) {
    let seconds = ((SECONDS as f64 * settings.scale) as usize).max(5);
    for interval in [Duration::from_millis(100), Duration::from_secs(1)] {
        let (visible, hiccup) = visibility(interval, seconds);
        visible.line(&format!("row committed, interval {interval:?}"));
        hiccup.line("hiccup probe (1 ms sleeps)");
        let added = visible.ms(0.99) - interval.as_secs_f64() * 1000.0;
        println!("  p99 beyond the interval: {added:.1} ms (allowed {ALLOWANCE_MS} ms)");
    }
    cost(settings);
}

fn visibility(interval: Duration, seconds: usize) -> (Lateness, Lateness) {
    let rows = RATE * seconds;
    let workload = Workload { rows, splits: 2, keys: 1_000, rows_per_second: RATE, window_us: 1, delay_us: 0 };
    let source = Prepared::new(workload.batches(), Some(RATE as f64 / workload.splits as f64));
    let probe = Probe::keeping(Keep::Records);
    let mut latency = Lateness::new();
    let hiccups = Hiccups::start();
    runtime().block_on(async {
        let (database, _directory) = open(Registry::default().source(source.clone()), &probe, 2, interval).await;
        let script = "
            CREATE SOURCE rows_in (key BIGINT NOT NULL, value BIGINT NOT NULL, ts TIMESTAMP NOT NULL,
                WATERMARK FOR ts AS ts) FROM PREPARED;
            CREATE STREAM copied AS SELECT key, value, ts FROM rows_in;
            CREATE SINK copied_out FROM copied INTO PROBE (format = 'json', delivery = 'exactly_once');";
        database.deploy(script).await.expect("the query runs");
        let began = source.open();
        let wall = Instant::now();
        while probe.records() < rows as u64 {
            assert!(wall.elapsed() < PATIENCE, "{} of {rows} rows", probe.records());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for (time_ms, committed) in probe.arrivals() {
            latency.note(time_ms * 1000, committed - began - time_ms * 1000);
        }
        database.shutdown().await.expect("a clean end");
    });
    assert_eq!(latency.len(), rows as u64, "each row is committed once");
    (latency, hiccups.end())
}

fn cost(settings: &Settings) {
    let workload = Workload { rows: settings.rows(TUMBLE.rows), ..TUMBLE };
    let batches = workload.batches();
    let windows = (workload.rows as f64 / workload.rows_per_second as f64 * 1e6 / workload.window_us as f64).ceil();
    let groups = windows as u64 * workload.keys as u64;
    let (short, long, exact) = (Duration::from_millis(100), Duration::from_secs(1), "exactly_once");
    let sides = [
        ("without checkpoints", NEVER, "at_least_once"),
        ("a checkpoint each 100 ms", short, "at_least_once"),
        ("exactly once, each second", long, exact),
        ("exactly once, each 100 ms", short, exact),
    ];
    let mut runs: [Vec<Took>; 4] = Default::default();
    for round in 0..=settings.runs {
        for ((_, interval, delivery), runs) in sides.iter().zip(&mut runs) {
            let source = Prepared::new(batches.clone(), None);
            let took = workload.stream(&source, groups, 1, *interval, delivery);
            if round > 0 {
                runs.push(took);
            }
        }
    }
    for ((name, ..), took) in sides.iter().zip(&runs) {
        let rate = workload.rows as f64 / spread(&took.iter().map(|t| t.cpu).collect::<Vec<f64>>()).1 / 1e6;
        println!("  {name:<28} {rate:>6.2} M rows/cpu-s; against none: {}", against(took, &runs[0]));
    }
    println!("  exactly once, 100 ms against a second: {}", against(&runs[3], &runs[2]));
}

/// The time of runs against that of those beside them.
fn against(runs: &[Took], others: &[Took]) -> String {
    let ratio = |of: fn(&Took) -> f64| {
        spread(&runs.iter().zip(others).map(|(run, other)| of(run) / of(other)).collect::<Vec<f64>>())
    };
    let ((low, cpu, high), (fast, wall, slow)) = (ratio(|t| t.cpu), ratio(|t| t.wall));
    format!("cpu {cpu:.3} × ({low:.3}–{high:.3}), wall {wall:.3} × ({fast:.3}–{slow:.3})")
}
