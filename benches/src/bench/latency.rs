//! How long after the row that closes a window do its results reach the sink, at half the load the machine can take?
//!
//! Open loop: each row has its moment by the schedule, and latency counts from that moment, so a stall is
//! not hidden by rows that wait behind it. The hiccup probe beside it shows what the machine alone adds.

use std::time::{Duration, Instant};

use crate::harness::Settings;
use crate::pacing::{Hiccups, Lateness, runtime};
use crate::prepared::{Keep, Prepared, Probe};
use crate::windowed::Workload;

const WINDOW_US: i64 = 100_000;
const DELAY_US: i64 = 10_000;
const SECONDS: usize = 20;

/// Finds the full rate, then runs at half of it.
pub fn run(settings: &Settings) {
    let reactors = std::thread::available_parallelism().map_or(1, |n| n.get().min(2));
    let full = full_rate(settings.rows(8_000_000), reactors);
    let rate = full / 2.0;
    println!("  full rate {:.2} M rows/s on {reactors} reactors; load {:.2} M rows/s", full / 1e6, rate / 1e6);
    let seconds = ((SECONDS as f64 * settings.scale) as usize).max(3);
    let (latency, hiccup) = paced(rate, seconds, reactors);
    latency.line("window result at the sink");
    hiccup.line("hiccup probe (1 ms sleeps)");
    println!("  p99 over the probe: {:.3} ms", latency.ms(0.99) - hiccup.ms(0.99));
}

fn workload(rows: usize, rate: f64) -> Workload {
    Workload { rows, splits: 2, keys: 1_000, rows_per_second: rate as usize, window_us: WINDOW_US, delay_us: DELAY_US }
}

fn full_rate(rows: usize, reactors: usize) -> f64 {
    let workload = workload(rows, 4e6);
    let source = Prepared::new(workload.batches(), None);
    let probe = Probe::default();
    let windows = (rows as f64 / workload.rows_per_second as f64 * 1e6 / WINDOW_US as f64).ceil() as u64;
    runtime().block_on(async {
        let (database, _directory) = workload.deploy(&source, &probe, reactors).await;
        let began = Instant::now();
        source.open();
        while probe.records() < windows * workload.keys as u64 {
            assert!(began.elapsed() < Duration::from_secs(300), "results stay out");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let rate = rows as f64 / began.elapsed().as_secs_f64();
        database.shutdown().await.expect("a clean end");
        rate
    })
}

fn paced(rate: f64, seconds: usize, reactors: usize) -> (Lateness, Lateness) {
    let workload = workload((rate * seconds as f64) as usize, rate);
    let source = Prepared::new(workload.batches(), Some(rate / workload.splits as f64));
    let probe = Probe::keeping(Keep::Frames);
    let hiccups = Hiccups::start();
    let mut latency = Lateness::new();
    runtime().block_on(async {
        let (database, _directory) = workload.deploy(&source, &probe, reactors).await;
        let began = source.open();
        tokio::time::sleep(Duration::from_secs(seconds as u64 + 1)).await;
        for (time_ms, arrived) in probe.arrivals() {
            // The row that closes a window is due when the watermark's delay has passed since the window's end.
            let end = (time_ms * 1000 / WINDOW_US + 1) * WINDOW_US + DELAY_US;
            // The last windows close by the end of the input, not by a row.
            if end < (seconds as i64 - 1) * 1_000_000 {
                latency.note(end, arrived - began - end);
            }
        }
        database.shutdown().await.expect("a clean end");
    });
    (latency, hiccups.end())
}
