//! How long a finished minute takes: from the trade that ends it, written to Kafka, to its bar, read
//! from the output topic.
//!
//! A minute ends when the watermark of every partition has passed it, so the clock starts at the
//! last partition's first trade that is late enough.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use laminar_connector_kafka::{Bootstrap, KafkaSourceFactory};
use laminar_core::connector::{Budget, Ingest, Polled, RawRecord, SplitReader, StartFrom, Wake};

use crate::Failure;
use crate::bars::MINUTE_MS;
use crate::market::DISORDER_MS;
use crate::moment;

/// When each minute ended, and how long bars took since.
pub struct Latency {
    /// Greatest event time written to each partition.
    newest: BTreeMap<u32, i64>,
    /// The end of the last minute whose end is known.
    ended: i64,
    ends: BTreeMap<i64, Instant>,
    seen: BTreeSet<i64>,
    taken: Histogram<u64>,
}

impl Latency {
    /// Nothing measured yet.
    ///
    /// # Errors
    /// Never for these bounds.
    pub fn empty() -> Result<Self, Failure> {
        let taken = Histogram::new_with_bounds(1, 60_000_000, 3)?;
        Ok(Self { newest: BTreeMap::new(), ended: i64::MIN, ends: BTreeMap::new(), seen: BTreeSet::new(), taken })
    }

    /// A trade goes out now.
    pub fn written(&mut self, symbol: &str, event_ms: i64, partitions: u32) {
        let newest = self.newest.entry(partition(symbol.as_bytes(), partitions)).or_insert(event_ms);
        *newest = event_ms.max(*newest);
        let Some(oldest) = self.newest.values().min() else { return };
        let end = (oldest - DISORDER_MS).div_euclid(MINUTE_MS) * MINUTE_MS;
        if end > self.ended {
            self.ended = end;
            self.ends.insert(end, Instant::now());
        }
    }

    /// A bar that ends at this moment has arrived; the first one of each minute counts.
    fn arrived(&mut self, end_ms: i64) {
        if let Some(ended) = self.ends.get(&end_ms).filter(|_| self.seen.insert(end_ms)) {
            self.taken.saturating_record(u64::try_from(ended.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// Forgets what was measured: the server was killed.
    pub fn forget(&mut self) {
        self.taken.reset();
        self.ends.clear();
    }

    /// The 99th percentile; none before the first bar.
    pub fn p99(&self) -> Option<Duration> {
        (!self.taken.is_empty()).then(|| Duration::from_micros(self.taken.value_at_quantile(0.99)))
    }
}

/// The partition that Kafka's clients choose for a key: murmur2, made positive.
fn partition(key: &[u8], partitions: u32) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ key.len() as u32;
    let mut chunks = key.chunks_exact(4);
    for chunk in &mut chunks {
        let mut word = chunk.iter().rev().fold(0_u32, |word, byte| (word << 8) | u32::from(*byte)).wrapping_mul(M);
        word ^= word >> 24;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    ((hash ^ (hash >> 15)) & 0x7fff_ffff) % partitions
}

/// Shared with the feed and the screen.
pub type Shared = Arc<Mutex<Latency>>;

/// The measurements; a panic elsewhere does not make them wrong.
pub fn lock(latency: &Shared) -> MutexGuard<'_, Latency> {
    latency.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the output topic on a thread of its own; stops when dropped.
pub struct Listener {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Starts to read `topic` from now on.
    ///
    /// # Errors
    /// The broker is not there.
    pub fn start(address: &str, topic: &str, latency: Shared) -> Result<Self, Failure> {
        let options = BTreeMap::from([
            ("bootstrap.servers".to_string(), address.to_string()),
            ("topic".to_string(), topic.to_string()),
            ("start".to_string(), "latest".to_string()),
            ("fetch.wait.max.ms".to_string(), "20".to_string()),
        ]);
        let mut source = KafkaSourceFactory::new(Bootstrap::real_only()).source("demo", &options)?;
        let bell = Arc::new(Bell::default());
        let mut readers = Vec::new();
        for split in source.splits()? {
            readers.push(source.open(&split, StartFrom::Option, bell.clone())?);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("listener".into()).spawn(move || {
            let mut arrivals = Arrivals(latency);
            while !stopped.load(Ordering::Acquire) && drain(&mut readers, &mut arrivals) {
                bell.wait(Duration::from_millis(100));
            }
            drop(readers);
            drop(source);
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Reads what is there; false when a reader cannot go on.
fn drain(readers: &mut [Box<dyn SplitReader>], arrivals: &mut Arrivals) -> bool {
    let budget = Budget { records: 1000, bytes: 1 << 20, now_us: 0 };
    readers.iter_mut().all(|reader| {
        loop {
            match reader.poll(budget, arrivals) {
                Ok(Polled::Ready) => {}
                Ok(Polled::Pending { .. } | Polled::End) => return true,
                Err(_) => return false,
            }
        }
    })
}

struct Arrivals(Shared);

impl Ingest for Arrivals {
    fn record(&mut self, record: RawRecord<'_>) {
        let bar: Option<serde_json::Value> = serde_json::from_slice(record.payload).ok();
        if let Some(end) = bar.as_ref().and_then(|bar| bar["window_end"].as_str()).and_then(moment::parse) {
            lock(&self.0).arrived(end);
        }
    }

    fn rows(&mut self, _: arrow::array::RecordBatch, _: u64) {}
}

/// Rung by the readers' queues.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Bell {
    fn wake(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}

impl Bell {
    fn wait(&self, limit: Duration) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok((mut rung, _)) = self.changed.wait_timeout_while(rung, limit, |rung| !*rung) {
            *rung = false;
        }
    }
}
