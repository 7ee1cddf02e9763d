//! The reader of one partition: drains its queue on a reactor.
//!
//! Invariants: never blocks (batch consume with time-out 0); the position is always the offset of
//! the next record; "caught up" is said only when the partition's end was reached and the brokers
//! are known to answer, since idleness of the watermark rests on it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::Thread;

use laminar_core::connector::{Budget, ConnectorError, Ingest, Polled, Position, SplitReader};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::client::{Client, Events, Health, NONE, SplitState};
use crate::error::Trouble;
use crate::queue::{Event, MOST_PER_CALL, PartitionQueue};

/// Reads one partition.
pub struct KafkaSplit {
    /// Only none while dropping: it must go before the client.
    queue: Option<PartitionQueue<Events>>,
    client: Option<Arc<Client>>,
    service: Thread,
    state: Arc<SplitState>,
    /// Offset of the next record.
    position: i64,
    /// Whether the newest event was the partition's end.
    at_end: bool,
    /// An error behind records that were delivered; reported by the next poll.
    stashed: Option<Trouble>,
    /// Set by an error behind which records would be skipped: only a new reader goes on.
    broken: bool,
    /// Mean size of the records so far, to aim at the budget's bytes.
    mean_bytes: usize,
    servers: Arc<str>,
}

impl KafkaSplit {
    /// A reader of an assigned partition whose next record has the offset `position`.
    pub fn new(
        queue: PartitionQueue<Events>,
        client: Arc<Client>,
        service: Thread,
        state: Arc<SplitState>,
        position: i64,
        servers: Arc<str>,
    ) -> Self {
        Self {
            queue: Some(queue),
            client: Some(client),
            service,
            state,
            position,
            at_end: false,
            stashed: None,
            broken: false,
            mean_bytes: 256,
            servers,
        }
    }

    /// Takes one batch out of the queue. Returns records, bytes and whether the queue ran empty.
    fn take(&mut self, most: usize, into: &mut dyn Ingest) -> (usize, usize, bool) {
        let Some(queue) = self.queue.as_mut() else { return (0, 0, true) };
        let (mut records, mut bytes) = (0, 0);
        let taken = queue.take(most);
        for event in taken.events() {
            match event {
                Event::Record(record) => {
                    let offset = i64::try_from(record.offset).unwrap_or(i64::MAX);
                    debug_assert!(offset >= self.position, "records come in order from the assigned offset on");
                    self.position = offset.saturating_add(1);
                    self.at_end = false;
                    records += 1;
                    bytes += record.payload.len() + record.key.map_or(0, <[u8]>::len);
                    into.record(record);
                }
                Event::End(offset) => {
                    // Control records of transactions are never delivered, but they count.
                    self.position = self.position.max(offset);
                    self.at_end = true;
                }
                Event::Failed(code) => {
                    let Some(trouble) = failure(code, &self.state, self.position, &self.servers) else { continue };
                    self.broken = !matches!(trouble, Trouble::NoTopic { .. });
                    self.stashed = Some(trouble);
                    if self.broken {
                        break;
                    }
                }
            }
        }
        (records, bytes, taken.len() < most)
    }

    /// The stashed error, again and again where the reader is broken. A lost place is told with what the broker has,
    /// which another thread has to find out, or with why it does not say.
    fn report(&mut self) -> Result<Polled, ConnectorError> {
        let kept = if self.broken { self.stashed.clone() } else { self.stashed.take() };
        let Some(Trouble::Gone { topic, partition, wanted, .. }) = kept else {
            return Err(kept.unwrap_or_else(|| Trouble::Client("an error without a cause".into())).into());
        };
        match (self.state.lost.range(), self.client.as_ref()) {
            (Some(Ok((low, high))), _) => Err(Trouble::Gone { topic, partition, wanted, low, high }.into()),
            (Some(Err(trouble)), _) => Err(trouble.into()),
            (None, Some(client)) if client.health() == Health::Down => Err(client.outage().into()),
            (None, _) => {
                self.service.unpark();
                Ok(Polled::Pending { caught_up: false })
            }
        }
    }

    fn pending(&mut self) -> Result<Polled, ConnectorError> {
        let Some(client) = self.client.as_ref() else { return Ok(Polled::Pending { caught_up: false }) };
        match client.health() {
            Health::Up => {
                let behind = self.position < self.state.end.load(Ordering::Acquire);
                Ok(Polled::Pending { caught_up: self.at_end && !behind })
            }
            Health::Suspect => Ok(Polled::Pending { caught_up: false }),
            Health::Down => Err(client.outage().into()),
        }
    }
}

impl SplitReader for KafkaSplit {
    fn poll(&mut self, budget: Budget, into: &mut dyn Ingest) -> Result<Polled, ConnectorError> {
        if self.stashed.is_some() {
            return self.report();
        }
        let (mut records, mut bytes) = (0, 0);
        let mut drained = false;
        while !drained && self.stashed.is_none() && records < budget.records && bytes < budget.bytes {
            let by_bytes = (budget.bytes - bytes) / self.mean_bytes + 1;
            let most = (budget.records - records).min(by_bytes).min(MOST_PER_CALL);
            let (more, size, empty) = self.take(most, into);
            if let Some(mean) = size.checked_div(more) {
                self.mean_bytes = mean.max(16);
            }
            records += more;
            bytes += size;
            drained = empty;
        }
        if records > 0 {
            return Ok(Polled::Ready);
        }
        if self.stashed.is_some() {
            return self.report();
        }
        if drained { self.pending() } else { Ok(Polled::Ready) }
    }

    fn position(&self) -> Position {
        Position::from_offset(u64::try_from(self.position).unwrap_or(0))
    }

    fn lag(&self) -> Option<u64> {
        let known = self.queue.as_ref().and_then(PartitionQueue::known_range).map(|(_, end)| end);
        let end =
            known.into_iter().chain(Some(self.state.end.load(Ordering::Acquire)).filter(|end| *end >= 0)).max()?;
        u64::try_from(end.saturating_sub(self.position).max(0)).ok()
    }

    fn checkpointed(&mut self, position: &Position) {
        if let Some(offset) = position.offset().and_then(|offset| i64::try_from(offset).ok()) {
            self.state.to_commit.store(offset, Ordering::Release);
            self.service.unpark();
        }
    }
}

impl Drop for KafkaSplit {
    fn drop(&mut self) {
        // The service thread ends the assignment, and destroys the client when it is the last holder:
        // so everything of the client goes before it is woken.
        self.queue = None;
        self.state.closed.store(true, Ordering::Release);
        self.client = None;
        self.service.unpark();
    }
}

/// What an event of the queue means for the reader; none for what librdkafka mends by itself.
fn failure(code: Code, state: &SplitState, position: i64, servers: &str) -> Option<Trouble> {
    let split = || format!("{}/{}", state.topic, state.partition);
    match code {
        Code::AutoOffsetReset | Code::OffsetOutOfRange => Some(Trouble::Gone {
            topic: state.topic.clone(),
            partition: state.partition,
            wanted: position,
            low: NONE,
            high: NONE,
        }),
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
            Some(Trouble::NoTopic { topic: state.topic.clone(), servers: servers.to_string() })
        }
        Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed => {
            Some(Trouble::Denied { what: split(), reason: code.to_string() })
        }
        Code::BadMessage | Code::InvalidMessage | Code::MessageSizeTooLarge | Code::BadCompression => {
            Some(Trouble::Client(format!("split {} at offset {position}: {code}", split())))
        }
        other => {
            tracing::debug!(topic = state.topic, partition = state.partition, %other, "partition event");
            None
        }
    }
}
