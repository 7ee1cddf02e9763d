//! A source of batches that were made before the clock starts, and a sink that notes what arrives and when.
//!
//! Invariant: nothing is delivered before the gate opens; with a rate, a row is delivered when its turn has come by
//! the schedule, however late the reader is polled (open loop).

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::RecordBatch;
use laminar_core::connector::options::Options;
use laminar_core::connector::{
    Applier, Budget, ConnectorError, Frame, Ingest, Polled, Position, Readiness, SinkFactory, SinkIdentity, Source,
    SourceFactory, SplitKey, SplitReader, StartFrom, Wake,
};
use laminar_core::graph::{SinkSpec, SourceSpec};
use laminar_core::ids::{CheckpointNumber, ShardId};

/// Batches of each split, and when they may leave.
#[derive(Clone)]
pub struct Prepared(Arc<Shared>);

struct Shared {
    splits: Vec<Vec<RecordBatch>>,
    /// Rows a second of each split; none = as fast as they are taken.
    rate: Option<f64>,
    /// Microseconds since 1970 at which row 0 is due; 0 = the gate is closed.
    began: AtomicI64,
    wakes: Mutex<Vec<Arc<dyn Wake>>>,
}

impl Prepared {
    /// A source with its gate closed.
    pub fn new(splits: Vec<Vec<RecordBatch>>, rate: Option<f64>) -> Self {
        Self(Arc::new(Shared { splits, rate, began: AtomicI64::new(0), wakes: Mutex::default() }))
    }

    /// Opens the gate; returns the moment of row 0 in microseconds since 1970.
    pub fn open(&self) -> i64 {
        let now = now_us();
        self.0.began.store(now, Ordering::SeqCst);
        self.0.wakes.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|wake| wake.wake());
        now
    }
}

/// Microseconds since 1970.
pub fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

impl SourceFactory for Prepared {
    fn name(&self) -> &'static str {
        "prepared"
    }

    fn typed(&self) -> bool {
        true
    }

    fn bounded(&self, _: &Options) -> Result<bool, ConnectorError> {
        Ok(true)
    }

    fn create(&self, _: &SourceSpec) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(self.clone()))
    }
}

impl Source for Prepared {
    fn splits(&mut self) -> Result<Vec<SplitKey>, ConnectorError> {
        Ok((0..self.0.splits.len()).map(|split| SplitKey(split.to_string())).collect())
    }

    fn open(
        &mut self,
        split: &SplitKey,
        _: StartFrom,
        wake: Arc<dyn Wake>,
    ) -> Result<Box<dyn SplitReader>, ConnectorError> {
        self.0.wakes.lock().unwrap_or_else(PoisonError::into_inner).push(wake);
        let split = split.0.parse().unwrap_or_default();
        Ok(Box::new(Reader { shared: self.0.clone(), split, next: 0, within: 0, rows: 0, due: None }))
    }
}

struct Reader {
    shared: Arc<Shared>,
    split: usize,
    /// The next batch, and the next row in it.
    next: usize,
    within: usize,
    rows: u64,
    due: Option<i64>,
}

impl SplitReader for Reader {
    fn poll(&mut self, budget: Budget, into: &mut dyn Ingest) -> Result<Polled, ConnectorError> {
        let began = self.shared.began.load(Ordering::SeqCst);
        if began == 0 {
            return Ok(Polled::Pending { caught_up: false });
        }
        let batches = &self.shared.splits[self.split];
        let Some(batch) = batches.get(self.next) else { return Ok(Polled::End) };
        let left = batch.num_rows() - self.within;
        let count = match self.shared.rate {
            None => left,
            Some(rate) => {
                let due = ((budget.now_us - began).max(0) as f64 * rate / 1e6) as u64;
                self.due = Some(budget.now_us + 1_000);
                left.min(due.saturating_sub(self.rows) as usize)
            }
        };
        if count == 0 {
            return Ok(Polled::Pending { caught_up: true });
        }
        into.rows(batch.slice(self.within, count), self.rows);
        self.rows += count as u64;
        self.within += count;
        if self.within == batch.num_rows() {
            (self.next, self.within) = (self.next + 1, 0);
        }
        Ok(if self.next == batches.len() { Polled::End } else { Polled::Ready })
    }

    fn position(&self) -> Position {
        Position::from_offset(self.rows)
    }

    fn due_us(&self) -> Option<i64> {
        self.due
    }
}

/// A record that arrived: its event time in milliseconds, and when it arrived in microseconds since 1970.
pub type Arrival = (i64, i64);

/// Counts records; keeps the arrivals when asked to.
#[derive(Clone, Default)]
pub struct Probe(Arc<ProbeState>);

#[derive(Default)]
struct ProbeState {
    records: AtomicU64,
    arrivals: OnceLock<Mutex<Vec<Arrival>>>,
}

impl Probe {
    /// A probe that keeps the first arrival of each frame.
    pub fn keeping() -> Self {
        let probe = Self::default();
        let _ = probe.0.arrivals.set(Mutex::default());
        probe
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.0.records.load(Ordering::SeqCst)
    }

    /// The arrivals so far, taken out.
    pub fn arrivals(&self) -> Vec<Arrival> {
        let taken =
            self.0.arrivals.get().map(|a| std::mem::take(&mut *a.lock().unwrap_or_else(PoisonError::into_inner)));
        taken.unwrap_or_default()
    }
}

impl SinkFactory for Probe {
    fn name(&self) -> &'static str {
        "probe"
    }

    fn create(&self, _: &SinkSpec, _: SinkIdentity) -> Result<Box<dyn Applier>, ConnectorError> {
        Ok(Box::new(ProbeApplier { state: self.0.clone(), passed: Vec::new() }))
    }
}

struct ProbeApplier {
    state: Arc<ProbeState>,
    passed: Vec<(ShardId, u64)>,
}

impl Applier for ProbeApplier {
    fn start(&mut self, _: CheckpointNumber) -> Result<Option<CheckpointNumber>, ConnectorError> {
        Ok(None)
    }

    fn send(&mut self, frame: &Arc<Frame>) -> Result<Readiness, ConnectorError> {
        if let (Some(arrivals), Some(time)) = (self.state.arrivals.get(), frame.records[0].timestamp_ms) {
            arrivals.lock().unwrap_or_else(PoisonError::into_inner).push((time, now_us()));
        }
        self.state.records.fetch_add(frame.records.len() as u64, Ordering::SeqCst);
        self.passed.push((frame.shard, frame.sequence));
        Ok(Readiness::Accepted)
    }

    fn acknowledged(&mut self, _: Duration, into: &mut Vec<(ShardId, u64)>) -> Result<(), ConnectorError> {
        into.append(&mut self.passed);
        Ok(())
    }

    fn commit(&mut self, _: CheckpointNumber, _: &[Arc<Frame>]) -> Result<(), ConnectorError> {
        Err(ConnectorError::user("LDB-6501", "a probe has no exactly-once delivery"))
    }
}
