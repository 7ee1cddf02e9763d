//! What open-loop benchmarks share: by how much each moment of a schedule was late, and the probe of what the machine alone
//! adds.
//!
//! Invariant: the probe does nothing but sleep, so whatever it is late by is not the database's doing, except for the
//! processor time that the database takes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::harness::spread;
use crate::prepared::now_us;

/// By how much each moment of a schedule was late.
pub struct Lateness {
    all: Histogram<u64>,
    /// Moments and by how much each was late, in microseconds, as they were noted.
    moments: Vec<(i64, u64)>,
}

impl Lateness {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { all: histogram(), moments: Vec::new() }
    }

    /// What was due at `moment` came `late` microseconds behind it.
    pub fn note(&mut self, moment: i64, late: i64) {
        let late = late.max(1) as u64;
        self.all.saturating_record(late);
        self.moments.push((moment, late));
    }

    /// How many moments were noted.
    pub fn len(&self) -> u64 {
        self.all.len()
    }

    /// A quantile over all of them in milliseconds.
    pub fn ms(&self, quantile: f64) -> f64 {
        ms(&self.all, quantile)
    }

    /// The quantile of each stretch of this length by itself, then the median of the stretches, in milliseconds: what a
    /// usual stretch has, however long the machine stood still in some others.
    pub fn usual_ms(&self, quantile: f64, stretch: Duration) -> f64 {
        let mut stretches: BTreeMap<i64, Histogram<u64>> = BTreeMap::new();
        for (moment, late) in &self.moments {
            let number = moment / stretch.as_micros() as i64;
            stretches.entry(number).or_insert_with(histogram).saturating_record(*late);
        }
        spread(&stretches.values().map(|stretch| ms(stretch, quantile)).collect::<Vec<f64>>()).1
    }

    /// Prints it.
    pub fn line(&self, name: &str) {
        println!(
            "  {name:<34} p50 {:>7.3} ms  p99 {:>7.3} ms  p99.9 {:>7.3} ms  max {:>7.3} ms  ({} samples)",
            self.ms(0.5),
            self.ms(0.99),
            self.ms(0.999),
            self.all.max() as f64 / 1000.0,
            self.len()
        );
    }
}

/// Sleeps a millisecond over and over and notes by how much it wakes late.
pub struct Hiccups {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Lateness>,
}

impl Hiccups {
    /// Begins.
    pub fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut found = Lateness::new();
            while !seen.load(Ordering::SeqCst) {
                let before = now_us();
                std::thread::sleep(Duration::from_millis(1));
                found.note(before, now_us() - before - 1_000);
            }
            found
        });
        Self { stop, thread }
    }

    /// Ends, with what it found.
    pub fn end(self) -> Lateness {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the probe ends")
    }
}

/// An empty histogram of microseconds, up to a minute.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds in order")
}

/// A quantile in milliseconds.
fn ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1000.0
}

/// For the side that only waits: a runtime on this thread.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
