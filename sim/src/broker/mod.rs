//! A model broker: topics with partitions, transactions with fencing, outages and lost answers.
//!
//! It is no Kafka: it keeps what exactly-once delivery depends on. Invariants: a record of a
//! transaction becomes visible to readers of committed records only when the transaction was
//! committed, and nothing behind an open transaction is visible before its end; a producer whose
//! epoch is not the newest of its name writes and commits nothing, whenever its request arrives.

mod sink;
mod source;
mod transaction;

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use laminar_core::connector::options::{OptionKind, OptionSpec};
use laminar_core::connector::{ConnectorError, Fault, FrameRecord, Wake};

pub use sink::BrokerSinkFactory;
pub use source::BrokerSourceFactory;
use transaction::Transaction;

/// The connector's name in SQL.
pub const CONNECTOR: &str = "broker";

/// The option of source and sink.
const OPTIONS: [OptionSpec; 1] = [OptionSpec {
    name: "topic",
    aliases: &[],
    kind: OptionKind::Text,
    default: None,
    required: true,
    secret: false,
    doc: "The topic.",
}];

/// What happens to one of the next requests that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Refused before anything happened.
    Refused,
    /// A part of the records is written, then the connection breaks.
    Halfway,
    /// Done, and the answer is lost.
    AnswerLost,
    /// The connection breaks at the end of a transaction; the request arrives so many microseconds later, or never.
    Late(Option<u64>),
}

/// The model broker; clones share it. It outlives every life of the database.
#[derive(Clone)]
pub struct Broker(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    topics: BTreeMap<String, Vec<Partition>>,
    /// The newest epoch of each transactional name.
    epochs: BTreeMap<String, u32>,
    transactions: Vec<Transaction>,
    away_until: u64,
    deaf_until: u64,
    fates: VecDeque<Fate>,
    random: fastrand::Rng,
    now: u64,
    /// Of everything that was written and decided.
    digest: u64,
}

#[derive(Default)]
struct Partition {
    records: Vec<Stored>,
    ended: bool,
    wakes: Vec<Arc<dyn Wake>>,
}

struct Stored {
    record: FrameRecord,
    transaction: Option<usize>,
}

impl Broker {
    /// A broker without topics; `seed` decides how much a request delivers or writes.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State { random: fastrand::Rng::with_seed(seed), ..State::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a topic.
    pub fn create_topic(&self, topic: &str, partitions: usize) {
        self.lock().topics.insert(topic.to_owned(), (0..partitions.max(1)).map(|_| Partition::default()).collect());
    }

    /// Lets virtual time come to `now`: what is late arrives, what is open for too long is aborted.
    pub fn tick(&self, now: u64) {
        let mut state = self.lock();
        state.now = state.now.max(now);
        state.settle_transactions();
    }

    /// When something happens here by itself, after the newest tick.
    pub fn next_event(&self) -> Option<u64> {
        let state = self.lock();
        let away = (state.away_until > state.now).then_some(state.away_until);
        state.next_decision().into_iter().chain(away).min()
    }

    /// All requests fail until then.
    pub fn away_for(&self, micros: u64) {
        let mut state = self.lock();
        state.away_until = state.now + micros;
    }

    /// Requests that write fail until then; readers are served.
    pub fn deaf_for(&self, micros: u64) {
        let mut state = self.lock();
        state.deaf_until = state.now + micros;
    }

    /// What happens to the next request that writes; those behind it are done and answered.
    pub fn next_fate(&self, fate: Fate) {
        self.lock().fates.push_back(fate);
    }

    /// No further fault happens.
    pub fn heal(&self) {
        let mut state = self.lock();
        (state.away_until, state.deaf_until) = (0, 0);
        state.fates.clear();
    }

    /// Somebody else writes records into a partition; answered always.
    pub fn produce(&self, topic: &str, partition: usize, payloads: impl IntoIterator<Item = String>) {
        let mut state = self.lock();
        for payload in payloads {
            let value = Some(payload.into_bytes());
            state.append(topic, partition, FrameRecord { key: None, value, timestamp_ms: None }, None);
        }
        state.wake(topic);
    }

    /// The partitions of a topic end where they are.
    pub fn end(&self, topic: &str) {
        let mut state = self.lock();
        for partition in state.topics.get_mut(topic).into_iter().flatten() {
            partition.ended = true;
        }
        state.wake(topic);
    }

    /// The committed records of a topic, partition by partition.
    pub fn committed(&self, topic: &str) -> Vec<FrameRecord> {
        self.committed_behind(topic, 0)
    }

    /// As [`Broker::committed`], without the first `known`; of a topic with one partition those stay what they were.
    pub fn committed_behind(&self, topic: &str, known: usize) -> Vec<FrameRecord> {
        let state = self.lock();
        let partitions = state.topics.get(topic).into_iter().flatten();
        let records = partitions.flat_map(|partition| state.visible(partition)).skip(known);
        records.map(|stored| stored.record.clone()).collect()
    }

    /// A number that differs when anything that was written or decided differs.
    pub fn digest(&self) -> u64 {
        self.lock().digest
    }
}

impl State {
    fn note(&mut self, what: impl Hash) {
        let mut hasher = DefaultHasher::new();
        (self.digest, what).hash(&mut hasher);
        self.digest = hasher.finish();
    }

    fn reachable(&self) -> Result<(), ConnectorError> {
        if self.now < self.away_until { Err(broken("the broker is away")) } else { Ok(()) }
    }

    fn writable(&self) -> Result<(), ConnectorError> {
        self.reachable()?;
        if self.now < self.deaf_until { Err(broken("the broker takes nothing")) } else { Ok(()) }
    }

    fn append(&mut self, topic: &str, partition: usize, record: FrameRecord, transaction: Option<usize>) {
        self.note((topic, partition, &record.key, &record.value, transaction));
        let partitions = self.topics.entry(topic.to_owned()).or_insert_with(|| vec![Partition::default()]);
        let count = partitions.len();
        partitions[partition % count].records.push(Stored { record, transaction });
    }

    /// The partition of a record: by its key, else by its body.
    fn place(&self, topic: &str, record: &FrameRecord) -> usize {
        let mut hasher = DefaultHasher::new();
        record.key.as_ref().or(record.value.as_ref()).hash(&mut hasher);
        let partitions = self.topics.get(topic).map_or(1, Vec::len);
        (hasher.finish() % partitions.max(1) as u64) as usize
    }

    fn wake(&self, topic: &str) {
        let wakes = self.topics.get(topic).into_iter().flatten().flat_map(|partition| &partition.wakes);
        wakes.for_each(|wake| wake.wake());
    }

    /// Records up to the first one whose transaction is open, without those that were aborted.
    fn visible<'a>(&'a self, partition: &'a Partition) -> impl Iterator<Item = &'a Stored> {
        let of = |stored: &Stored| stored.transaction.map(|number| &self.transactions[number]);
        let decided = partition.records.iter().take_while(move |stored| of(stored).is_none_or(|t| !t.is_open()));
        decided.filter(move |stored| of(stored).is_none_or(Transaction::is_committed))
    }
}

/// A failure that is worth another try.
fn broken(what: &str) -> ConnectorError {
    ConnectorError::external("LDB-0000", what)
}

/// What no correct engine asks for.
fn defect(what: String) -> ConnectorError {
    ConnectorError { code: "LDB-0000", fault: Fault::Internal, message: what }
}

#[cfg(test)]
mod tests;
