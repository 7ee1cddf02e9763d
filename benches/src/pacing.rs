//! What open-loop benchmarks share: histograms of latencies and the probe of what the machine alone adds.
//!
//! Invariant: the probe does nothing but sleep, so whatever it is late by is not the database's doing, except for the
//! processor time that the database takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::prepared::now_us;

/// Sleeps a millisecond over and over and notes by how much it wakes late.
pub struct Hiccups {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Histogram<u64>>,
}

impl Hiccups {
    /// Begins.
    pub fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut found = histogram();
            while !seen.load(Ordering::SeqCst) {
                let before = now_us();
                std::thread::sleep(Duration::from_millis(1));
                found.saturating_record((now_us() - before - 1_000).max(1) as u64);
            }
            found
        });
        Self { stop, thread }
    }

    /// Ends, with what it found in microseconds.
    pub fn end(self) -> Histogram<u64> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the probe ends")
    }
}

/// An empty histogram of microseconds, up to a minute.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds in order")
}

/// A quantile in milliseconds.
pub fn ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1000.0
}

/// Prints a histogram.
pub fn line(name: &str, histogram: &Histogram<u64>) {
    println!(
        "  {name:<34} p50 {:>7.3} ms  p99 {:>7.3} ms  p99.9 {:>7.3} ms  max {:>7.3} ms  ({} samples)",
        ms(histogram, 0.5),
        ms(histogram, 0.99),
        ms(histogram, 0.999),
        histogram.max() as f64 / 1000.0,
        histogram.len()
    );
}

/// For the side that only waits: a runtime on this thread.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
