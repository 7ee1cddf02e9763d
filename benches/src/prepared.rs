//! A source of batches that were made before the clock starts, and a sink that notes what arrives and when.
//!
//! Invariant: nothing is delivered before the gate opens; with a rate, a row is delivered when its turn has come by
//! the schedule, however late the reader is polled (open loop). Rows that load state go before the schedule.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
    name: &'static str,
    splits: Vec<Vec<RecordBatch>>,
    /// Rows of each split that leave before the schedule begins, as fast as they are taken.
    load: u64,
    /// Rows a second of each split; none = as fast as they are taken.
    rate: Option<f64>,
    /// Whether the rows of the load may leave.
    loading: AtomicBool,
    /// Microseconds since 1970 at which the first row behind the load is due; 0 = the gate is closed.
    began: AtomicI64,
    delivered: AtomicU64,
    wakes: Mutex<Vec<Arc<dyn Wake>>>,
}

impl Prepared {
    /// A source with its gate closed.
    pub fn new(splits: Vec<Vec<RecordBatch>>, rate: Option<f64>) -> Self {
        Self::loading("prepared", splits, 0, rate)
    }

    /// A source of this name whose first `load` rows of each split leave before the gate opens.
    pub fn loading(name: &'static str, splits: Vec<Vec<RecordBatch>>, load: u64, rate: Option<f64>) -> Self {
        Self(Arc::new(Shared {
            name,
            splits,
            load,
            rate,
            loading: AtomicBool::new(false),
            began: AtomicI64::new(0),
            delivered: AtomicU64::new(0),
            wakes: Mutex::default(),
        }))
    }

    /// Lets the rows of the load leave.
    pub fn load(&self) {
        self.0.loading.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Opens the gate; returns the moment of the first row behind the load in microseconds since 1970.
    pub fn open(&self) -> i64 {
        let now = now_us();
        self.0.began.store(now, Ordering::SeqCst);
        self.wake();
        now
    }

    /// Rows handed out so far.
    pub fn delivered(&self) -> u64 {
        self.0.delivered.load(Ordering::SeqCst)
    }

    fn wake(&self) {
        self.0.wakes.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|wake| wake.wake());
    }
}

/// Microseconds since 1970.
pub fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

impl SourceFactory for Prepared {
    fn name(&self) -> &'static str {
        self.0.name
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
        let shared = &self.shared;
        let (load, began) = (shared.load.saturating_sub(self.rows), shared.began.load(Ordering::SeqCst));
        let open = if load > 0 { shared.loading.load(Ordering::SeqCst) } else { began != 0 };
        if !open {
            return Ok(Polled::Pending { caught_up: false });
        }
        let batches = &shared.splits[self.split];
        let Some(batch) = batches.get(self.next) else { return Ok(Polled::End) };
        let left = (batch.num_rows() - self.within).min(budget.records);
        let count = match shared.rate {
            _ if load > 0 => left.min(load as usize),
            None => left,
            Some(rate) => {
                // The first row is due at once, each other one its share of a second after the one before.
                let due = 1 + ((budget.now_us - began).max(0) as f64 * rate / 1e6) as u64;
                self.due = Some(budget.now_us + 1_000);
                left.min((shared.load + due).saturating_sub(self.rows) as usize)
            }
        };
        if count == 0 {
            return Ok(Polled::Pending { caught_up: true });
        }
        into.rows(batch.slice(self.within, count), self.rows);
        shared.delivered.fetch_add(count as u64, Ordering::SeqCst);
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

/// Which arrivals a probe keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// None, they are counted.
    #[default]
    Nothing,
    /// That of the first record of each frame.
    Frames,
    /// That of each record.
    Records,
}

/// Counts records; keeps the arrivals when asked to. With exactly-once delivery a record arrives when it is
/// committed; the target is this process's memory.
#[derive(Clone, Default)]
pub struct Probe(Arc<ProbeState>);

#[derive(Default)]
struct ProbeState {
    records: AtomicU64,
    keep: Keep,
    arrivals: Mutex<Vec<Arrival>>,
    committed: Mutex<Option<CheckpointNumber>>,
}

impl ProbeState {
    fn arrived(&self, frame: &Frame) {
        self.records.fetch_add(frame.records.len() as u64, Ordering::SeqCst);
        let count = match self.keep {
            Keep::Nothing => return,
            Keep::Frames => 1,
            Keep::Records => frame.records.len(),
        };
        let now = now_us();
        let times = frame.records[..count].iter().filter_map(|record| record.timestamp_ms);
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).extend(times.map(|time| (time, now)));
    }
}

impl Probe {
    /// A probe that keeps arrivals.
    pub fn keeping(keep: Keep) -> Self {
        Self(Arc::new(ProbeState { keep, ..ProbeState::default() }))
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.0.records.load(Ordering::SeqCst)
    }

    /// The arrivals so far, taken out.
    pub fn arrivals(&self) -> Vec<Arrival> {
        std::mem::take(&mut *self.0.arrivals.lock().unwrap_or_else(PoisonError::into_inner))
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
        Ok(*self.state.committed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn send(&mut self, frame: &Arc<Frame>) -> Result<Readiness, ConnectorError> {
        self.state.arrived(frame);
        self.passed.push((frame.shard, frame.sequence));
        Ok(Readiness::Accepted)
    }

    fn acknowledged(&mut self, _: Duration, into: &mut Vec<(ShardId, u64)>) -> Result<(), ConnectorError> {
        into.append(&mut self.passed);
        Ok(())
    }

    fn commit(&mut self, checkpoint: CheckpointNumber, frames: &[Arc<Frame>]) -> Result<(), ConnectorError> {
        frames.iter().for_each(|frame| self.state.arrived(frame));
        *self.state.committed.lock().unwrap_or_else(PoisonError::into_inner) = Some(checkpoint);
        Ok(())
    }
}
