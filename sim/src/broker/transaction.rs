//! Transactions of the model broker.
//!
//! Invariants: a name has at most one open transaction; a newer epoch ends it before it is answered,
//! and a late end of an older epoch has no effect any more.

use laminar_core::connector::{ConnectorError, FrameRecord};
use laminar_core::ids::CheckpointNumber;

use super::{Broker, Fate, State, broken, defect};

/// The topic of the markers.
const PROGRESS: &str = "progress";

/// After so many microseconds the broker gives up a transaction that is open.
const TRANSACTION_LIMIT_US: u64 = 60_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Open,
    Committed,
    Aborted,
}

/// One transaction.
pub(super) struct Transaction {
    name: String,
    epoch: u32,
    decision: Decision,
    began: u64,
    /// When its end arrives, if it does.
    late: Option<u64>,
}

impl Transaction {
    pub(super) fn is_open(&self) -> bool {
        self.decision == Decision::Open
    }

    pub(super) fn is_committed(&self) -> bool {
        self.decision == Decision::Committed
    }
}

impl State {
    fn decide(&mut self, number: usize, decision: Decision) {
        let transaction = &mut self.transactions[number];
        if transaction.is_open() {
            transaction.decision = decision;
            self.note((number, decision == Decision::Committed));
        }
    }

    pub(super) fn settle_transactions(&mut self) {
        for number in 0..self.transactions.len() {
            let Transaction { late, began, epoch, .. } = self.transactions[number];
            let current = self.epochs.get(&self.transactions[number].name) == Some(&epoch);
            if current && late.is_some_and(|due| due <= self.now) {
                self.decide(number, Decision::Committed);
            } else if began + TRANSACTION_LIMIT_US <= self.now {
                self.decide(number, Decision::Aborted);
            }
        }
    }

    /// When the next open transaction ends by itself.
    pub(super) fn next_decision(&self) -> Option<u64> {
        let open = self.transactions.iter().filter(|transaction| transaction.is_open());
        let ends = open.flat_map(|open| open.late.into_iter().chain([open.began + TRANSACTION_LIMIT_US]));
        ends.filter(|at| *at > self.now).min()
    }

    fn require_newest(&self, name: &str, epoch: u32) -> Result<(), ConnectorError> {
        if self.epochs.get(name) == Some(&epoch) {
            return Ok(());
        }
        Err(ConnectorError::fenced("LDB-0000", format!("{name} with epoch {epoch} is fenced")))
    }

    fn add(&mut self, topic: &str, records: &[FrameRecord], transaction: Option<usize>) {
        for record in records {
            let partition = self.place(topic, record);
            self.append(topic, partition, record.clone(), transaction);
        }
    }
}

impl Broker {
    /// Begins a new epoch of a name: older ones are fenced, their open transaction is ended.
    ///
    /// # Errors
    /// The broker is away; or the answer is lost, and the epoch has begun all the same.
    pub fn init(&self, name: &str) -> Result<u32, ConnectorError> {
        let mut state = self.lock();
        state.writable()?;
        let fate = state.fates.pop_front();
        if fate == Some(Fate::Refused) {
            return Err(broken("no new epoch"));
        }
        state.settle_transactions();
        for number in 0..state.transactions.len() {
            if state.transactions[number].name == name {
                state.decide(number, Decision::Aborted);
            }
        }
        let epoch = state.epochs.entry(name.to_owned()).or_default();
        *epoch += 1;
        let epoch = *epoch;
        state.note((name, epoch));
        if fate.is_some() { Err(broken("the answer to a new epoch is lost")) } else { Ok(epoch) }
    }

    /// The newest committed marker of a name.
    ///
    /// # Errors
    /// The broker is away, or a transaction of another name hides what stands behind it.
    pub fn marker(&self, name: &str) -> Result<Option<CheckpointNumber>, ConnectorError> {
        let state = self.lock();
        state.reachable()?;
        let partitions = || state.topics.get(PROGRESS).into_iter().flatten();
        let open = |number: usize| state.transactions[number].is_open();
        if partitions().any(|partition| partition.records.iter().any(|stored| stored.transaction.is_some_and(open))) {
            return Err(broken("a transaction of another writer is open"));
        }
        let mine = partitions()
            .flat_map(|partition| state.visible(partition))
            .filter(|stored| stored.record.key.as_deref() == Some(name.as_bytes()));
        let number = |value: &Vec<u8>| String::from_utf8_lossy(value).parse().ok().map(CheckpointNumber);
        Ok(mine.filter_map(|stored| stored.record.value.as_ref().and_then(number)).max())
    }

    /// Records and the marker in one transaction.
    ///
    /// # Errors
    /// The writer is fenced, the broker is away, or the outcome is unknown.
    pub fn transact(
        &self,
        (name, epoch): (&str, u32),
        topic: &str,
        records: &[FrameRecord],
        marker: CheckpointNumber,
    ) -> Result<(), ConnectorError> {
        let mut state = self.lock();
        state.writable()?;
        state.require_newest(name, epoch)?;
        if state.transactions.iter().any(|transaction| transaction.name == name && transaction.is_open()) {
            return Err(defect(format!("{name} has an open transaction already")));
        }
        let fate = state.fates.pop_front();
        if fate == Some(Fate::Refused) {
            return Err(broken("no transaction"));
        }
        let began = state.now;
        let late = match fate {
            Some(Fate::Late(Some(after))) => Some(began + after),
            _ => None,
        };
        state.transactions.push(Transaction { name: name.to_owned(), epoch, decision: Decision::Open, began, late });
        let number = state.transactions.len() - 1;
        if fate == Some(Fate::Halfway) {
            let part = state.random.usize(0..=records.len());
            state.add(topic, &records[..part], Some(number));
            return Err(broken("the connection is lost between the records of a transaction"));
        }
        state.add(topic, records, Some(number));
        let value = Some(marker.0.to_string().into_bytes());
        let record = FrameRecord { key: Some(name.as_bytes().to_vec()), value, timestamp_ms: None };
        state.append(PROGRESS, 0, record, Some(number));
        match fate {
            Some(Fate::Late(_)) => return Err(broken("the end of a transaction is not answered")),
            Some(_) => {
                state.decide(number, Decision::Committed);
                return Err(broken("the answer to a commit is lost"));
            }
            None => state.decide(number, Decision::Committed),
        }
        Ok(())
    }

    /// Records without a transaction.
    ///
    /// # Errors
    /// The broker is away; or a part, all or nothing is written.
    pub fn append(&self, topic: &str, records: &[FrameRecord]) -> Result<(), ConnectorError> {
        let mut state = self.lock();
        state.writable()?;
        let fate = state.fates.pop_front();
        let part = match fate {
            Some(Fate::Refused | Fate::Late(None)) => 0,
            Some(Fate::Halfway) => state.random.usize(0..=records.len()),
            Some(Fate::AnswerLost | Fate::Late(Some(_))) | None => records.len(),
        };
        state.add(topic, &records[..part], None);
        if fate.is_some() { Err(broken("the answer to a write is lost")) } else { Ok(()) }
    }
}
