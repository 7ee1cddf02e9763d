//! One librdkafka consumer, shared by the readers of different partitions, and its service thread.
//!
//! The service thread does what a reactor must not: it serves librdkafka's events, commits offsets,
//! ends assignments, and asks the brokers again while they are away. Invariants: a partition has at
//! most one reader per client; the consumer is destroyed on the service thread, never on a reactor;
//! nothing is read from a group, partitions are assigned by us.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use laminar_core::connector::Wake;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use crate::error::Trouble;
use crate::logging;

/// How long a question to the brokers may take. They answer in milliseconds; a connection that is
/// made anew needs up to two reconnect waits.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the brokers may be away before readers report it: a leader election takes about a second.
const GRACE: Duration = Duration::from_secs(3);
/// The pause between two questions while the brokers are away.
const PROBE_PAUSE: Duration = Duration::from_millis(250);
/// A look at the events at least this often: their notice is edge-triggered and may be merged.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// No offset.
pub const NONE: i64 = -1;

/// What a reader and the service thread share about one partition.
pub struct SplitState {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The next offset behind the newest checkpoint, to be committed; [`NONE`] when nothing is to do.
    pub to_commit: AtomicI64,
    /// The greatest end of the partition that a broker told after an outage.
    pub end: AtomicI64,
    /// What the broker still has, once the reader's place is lost.
    pub lost: Lost,
    /// Set when the reader is gone.
    pub closed: AtomicBool,
    /// Wakes the reactor of the reader.
    pub wake: Arc<dyn Wake>,
}

/// A question of a reader, which must not wait, and its answer: which offsets the broker has.
#[derive(Default)]
pub struct Lost {
    asked: AtomicBool,
    answer: Mutex<Option<Result<(i64, i64), Trouble>>>,
}

impl Lost {
    /// The oldest and the next offset of the partition, or why the broker does not tell; asks until they are known.
    pub fn range(&self) -> Option<Result<(i64, i64), Trouble>> {
        let mut answer = lock(&self.answer);
        if let Some(Ok(range)) = *answer {
            return Some(Ok(range));
        }
        self.asked.store(true, Ordering::Release);
        answer.take()
    }
}

/// Whether the brokers answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// They answer.
    Up,
    /// A connection broke; nobody knows yet.
    Suspect,
    /// Away longer than the grace time.
    Down,
}

/// The consumer with everything its readers share.
pub struct Client {
    consumer: Arc<BaseConsumer<Events>>,
    events: Arc<Outage>,
    splits: Mutex<Vec<Arc<SplitState>>>,
    servers: String,
}

/// A client and the thread that serves it.
#[derive(Clone)]
pub struct ClientHandle {
    /// The client.
    pub client: Arc<Client>,
    /// Its service thread, to be unparked when there is work.
    pub service: Thread,
}

/// Seen from librdkafka's callbacks.
#[derive(Default)]
struct Outage {
    suspected: AtomicBool,
    known: AtomicBool,
    /// Since when, and what librdkafka says.
    reason: Mutex<(Option<Instant>, String)>,
}

/// Receives librdkafka's global events.
pub struct Events(Arc<Outage>);

impl ClientContext for Events {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, line: &str) {
        logging::line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.note(&error, reason);
    }
}

impl ConsumerContext for Events {
    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "advisory commit was not taken");
        }
    }
}

/// Whether an error says that the brokers are away.
fn is_outage(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::AllBrokersDown
                | Code::BrokerTransportFailure
                | Code::Resolve
                | Code::OperationTimedOut
                | Code::RequestTimedOut
        )
    )
}

impl Outage {
    fn note(&self, error: &KafkaError, reason: &str) {
        if !is_outage(error) {
            tracing::warn!(%error, reason, "kafka client");
            return;
        }
        let mut guard = lock(&self.reason);
        if guard.0.is_none() {
            *guard = (Some(Instant::now()), reason.to_string());
            self.suspected.store(true, Ordering::Release);
        }
    }

    fn end(&self) {
        let mut guard = lock(&self.reason);
        guard.0 = None;
        self.known.store(false, Ordering::Release);
        self.suspected.store(false, Ordering::Release);
    }
}

impl ClientHandle {
    /// Creates the consumer and its thread. To be called from an unpinned thread, since librdkafka's
    /// threads inherit the affinity of their creator.
    ///
    /// # Errors
    /// librdkafka refuses the configuration.
    pub fn create(config: &ClientConfig, servers: &str) -> Result<Self, Trouble> {
        let events = Arc::new(Outage::default());
        let mut consumer: BaseConsumer<Events> = config
            .create_with_context(Events(events.clone()))
            .map_err(|error| Trouble::Option(format!("kafka options are refused: {error}")))?;
        // The consumer must exist before its thread, and the thread before the callback that unparks it.
        let (give, take) = std::sync::mpsc::sync_channel::<Arc<Client>>(1);
        let service = thread::Builder::new()
            .name("kafka-client".into())
            .spawn(move || {
                if let Ok(client) = take.recv() {
                    serve(client);
                }
            })
            .map_err(|error| Trouble::Client(format!("no thread for the consumer: {error}")))?
            .thread()
            .clone();
        let unpark = service.clone();
        consumer.set_nonempty_callback(move || unpark.unpark());
        let client = Arc::new(Client {
            consumer: Arc::new(consumer),
            events,
            splits: Mutex::new(Vec::new()),
            servers: servers.to_string(),
        });
        give.send(client.clone()).map_err(|_| Trouble::Client("the consumer's thread ended".into()))?;
        Ok(Self { client, service })
    }
}

impl Client {
    /// The librdkafka consumer.
    pub fn consumer(&self) -> &Arc<BaseConsumer<Events>> {
        &self.consumer
    }

    /// Whether the brokers answer.
    pub fn health(&self) -> Health {
        if !self.events.suspected.load(Ordering::Acquire) {
            Health::Up
        } else if self.events.known.load(Ordering::Acquire) {
            Health::Down
        } else {
            Health::Suspect
        }
    }

    /// The outage as an error.
    pub fn outage(&self) -> Trouble {
        Trouble::Unreachable { servers: self.servers.clone(), reason: lock(&self.events.reason).1.clone() }
    }

    /// Whether a reader of the partition is open here.
    pub fn reads(&self, topic: &str, partition: i32) -> bool {
        self.reap();
        lock(&self.splits).iter().any(|split| split.topic == topic && split.partition == partition)
    }

    /// Begins to fetch a partition at an offset. Its queue must be cut off before.
    ///
    /// # Errors
    /// librdkafka refuses the assignment.
    pub fn assign(&self, split: &Arc<SplitState>, offset: i64) -> Result<(), Trouble> {
        let list = one(split, offset)?;
        self.consumer
            .incremental_assign(&list)
            .map_err(|error| Trouble::Client(format!("assignment of {}/{}: {error}", split.topic, split.partition)))?;
        lock(&self.splits).push(split.clone());
        Ok(())
    }

    /// Ends the assignments whose reader is gone.
    fn reap(&self) {
        let mut splits = lock(&self.splits);
        splits.retain(|split| {
            if !split.closed.load(Ordering::Acquire) {
                return true;
            }
            self.commit(split);
            let ended = one(split, NONE).and_then(|list| {
                self.consumer.incremental_unassign(&list).map_err(|error| Trouble::Client(error.to_string()))
            });
            if let Err(error) = ended {
                tracing::warn!(%error, topic = split.topic, partition = split.partition, "assignment was not ended");
            }
            false
        });
    }

    /// Serves events until there is none.
    fn drain_events(&self) {
        // A handled event and an empty queue look the same to the caller, so one empty answer says little;
        // what this leaves behind the next heartbeat finds.
        let mut empty = 0;
        while empty < 4 {
            match self.consumer.poll(Duration::ZERO) {
                None => empty += 1,
                Some(Err(error)) => self.events.note(&error, &error.to_string()),
                Some(Ok(_)) => debug_assert!(false, "records come by partition queues only"),
            }
        }
    }

    fn commit(&self, split: &SplitState) {
        let offset = split.to_commit.swap(NONE, Ordering::AcqRel);
        if offset == NONE || self.health() != Health::Up {
            return;
        }
        let sent = one(split, offset).and_then(|list| {
            self.consumer.commit(&list, CommitMode::Async).map_err(|error| Trouble::Client(error.to_string()))
        });
        if let Err(error) = sent {
            tracing::debug!(%error, "advisory commit was not sent");
        }
    }

    /// Asks the broker what it has of partitions whose readers have lost their place.
    fn find_lost(&self) {
        let splits = lock(&self.splits).clone();
        for split in splits.iter().filter(|split| split.lost.asked.swap(false, Ordering::AcqRel)) {
            match self.consumer.fetch_watermarks(&split.topic, split.partition, ANSWER_TIMEOUT) {
                Err(error) if is_outage(&error) => {
                    // The outage is told; asked again with the next look.
                    self.events.note(&error, &error.to_string());
                    split.lost.asked.store(true, Ordering::Release);
                }
                answer => {
                    let answer = answer.map_err(|error| Trouble::from_broker(&error, &self.servers, &split.topic));
                    *lock(&split.lost.answer) = Some(answer);
                    split.wake.wake();
                }
            }
        }
    }

    /// Asks the brokers for the end of each partition; all answers mean the outage is over.
    fn probe(&self) {
        let splits = lock(&self.splits).clone();
        for split in &splits {
            match self.consumer.fetch_watermarks(&split.topic, split.partition, ANSWER_TIMEOUT) {
                Ok((_, end)) => {
                    split.end.fetch_max(end, Ordering::AcqRel);
                }
                Err(_) => {
                    self.declare_when_long();
                    return;
                }
            }
        }
        if splits.is_empty() && self.consumer.fetch_metadata(None, ANSWER_TIMEOUT).is_err() {
            self.declare_when_long();
            return;
        }
        self.events.end();
        wake_all(&splits);
    }

    fn declare_when_long(&self) {
        let long = lock(&self.events.reason).0.is_some_and(|since| since.elapsed() >= GRACE);
        if long && !self.events.known.swap(true, Ordering::AcqRel) {
            wake_all(&lock(&self.splits));
        }
    }
}

/// The service thread: ends when nobody else holds the client, which it then destroys.
fn serve(client: Arc<Client>) {
    loop {
        client.drain_events();
        client.reap();
        client.find_lost();
        for split in lock(&client.splits).iter() {
            client.commit(split);
        }
        if Arc::strong_count(&client) == 1 {
            return;
        }
        if client.health() == Health::Up {
            thread::park_timeout(HEARTBEAT);
        } else {
            client.probe();
            thread::park_timeout(PROBE_PAUSE);
        }
    }
}

fn wake_all(splits: &[Arc<SplitState>]) {
    for split in splits {
        split.wake.wake();
    }
}

fn one(split: &SplitState, offset: i64) -> Result<TopicPartitionList, Trouble> {
    let mut list = TopicPartitionList::with_capacity(1);
    if offset == NONE {
        list.add_partition(&split.topic, split.partition);
    } else {
        list.add_partition_offset(&split.topic, split.partition, Offset::Offset(offset))
            .map_err(|error| Trouble::Client(format!("offset {offset}: {error}")))?;
    }
    Ok(list)
}

/// A poisoned lock only means that another thread panicked; the data is a list and two words.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
