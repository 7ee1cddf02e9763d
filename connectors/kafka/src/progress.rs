//! The progress topic: which checkpoint each exactly-once sink has brought to this cluster.
//!
//! Invariant: what [`Progress::read`] returns with [`Horizon::All`] is the newest committed marker; it reads only
//! after everything before the end of the topic is committed or aborted, and says so when that takes long.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use laminar_core::ids::{CheckpointNumber, Epoch};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::Deserialize;

use crate::client::ANSWER_TIMEOUT;
use crate::error::Trouble;
use crate::options::SinkOptions;

/// How long open transactions of other sinks and the reading itself may take.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// How far the topic is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Horizon {
    /// What is decided now: open transactions, also one of our own last life, may hide younger markers.
    Decided,
    /// Everything, as soon as it is decided; to be asked for when older lives are fenced.
    All,
}

/// A marker's value.
#[derive(Deserialize)]
struct Marker {
    checkpoint: u64,
}

/// The topic, found or made.
pub struct Progress {
    config: ClientConfig,
    topic: String,
    servers: String,
    partitions: Vec<i32>,
}

impl Progress {
    /// The value of a marker; `number` says the same for people.
    pub fn value(checkpoint: CheckpointNumber) -> String {
        format!(r#"{{"checkpoint":{},"number":"{}"}}"#, checkpoint.0, Epoch::from_u64(checkpoint.0))
    }

    /// Finds the topic; makes it, compacted and with one partition, where it is missing.
    ///
    /// # Errors
    /// The brokers are away or refuse.
    pub fn open(options: &SinkOptions, name: &str) -> Result<Self, Trouble> {
        let mut config = options.reader.clone();
        config
            .set("group.id", name)
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            // The broker would make it without compaction.
            .set("allow.auto.create.topics", "false");
        let mut progress =
            Self { config, topic: options.progress.clone(), servers: options.servers.clone(), partitions: Vec::new() };
        let consumer = progress.consumer("read_committed")?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let mut made = false;
        loop {
            let found = consumer.fetch_metadata(Some(&progress.topic), left(deadline));
            let found = found.map_err(|error| progress.trouble(&error))?;
            let topic = found.topics().iter().find(|topic| topic.name() == progress.topic);
            let error = topic.and_then(|topic| topic.error()).map(|code| KafkaError::MetadataFetch(code.into()));
            let partitions = topic.map_or(&[][..], |topic| topic.partitions());
            let missing = || KafkaError::MetadataFetch(Code::UnknownTopicOrPartition);
            match error {
                None if !partitions.is_empty() => {
                    progress.partitions = partitions.iter().map(|partition| partition.id()).collect();
                    return Ok(progress);
                }
                error if made && Instant::now() >= deadline => {
                    return Err(progress.trouble(&error.unwrap_or_else(missing)));
                }
                Some(error) if error.rdkafka_error_code() != Some(Code::UnknownTopicOrPartition) => {
                    return Err(progress.trouble(&error));
                }
                _ if made => thread::park_timeout(LOOK),
                _ => {
                    progress.create()?;
                    made = true;
                }
            }
        }
    }

    fn create(&self) -> Result<(), Trouble> {
        let admin: AdminClient<DefaultClientContext> = self.config.create().map_err(|error| self.trouble(&error))?;
        // -1: as many copies as the cluster's own setting says.
        let wanted = NewTopic::new(&self.topic, 1, TopicReplication::Fixed(-1))
            .set("cleanup.policy", "compact")
            // Only full segments are compacted, and every start reads what is there.
            .set("segment.bytes", "16777216");
        let options = AdminOptions::new().request_timeout(Some(ANSWER_TIMEOUT));
        let answers = wait(admin.create_topics([&wanted], &options)).map_err(|error| self.trouble(&error))?;
        for answer in answers {
            match answer {
                Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(self.trouble(&KafkaError::AdminOp(code))),
            }
        }
        Ok(())
    }

    /// The newest committed marker of `name`, as far as `horizon`.
    ///
    /// # Errors
    /// The brokers are away; another sink's transaction stays open; a marker that is none of ours.
    pub fn read(&self, name: &str, horizon: Horizon) -> Result<Option<CheckpointNumber>, Trouble> {
        let deadline = Instant::now() + READ_TIMEOUT;
        let (all, committed) = (self.consumer("read_uncommitted")?, self.consumer("read_committed")?);
        let end = |consumer: &BaseConsumer, partition: i32| {
            consumer
                .fetch_watermarks(&self.topic, partition, ANSWER_TIMEOUT)
                .map(|(_, end)| end)
                .map_err(|error| self.trouble(&error))
        };
        let mut list = TopicPartitionList::new();
        for partition in &self.partitions {
            let wanted = end(&all, *partition)?;
            // To the end of all records, not only to the first open transaction.
            while horizon == Horizon::All && end(&committed, *partition)? < wanted {
                if Instant::now() >= deadline {
                    return Err(Trouble::Undecided { topic: self.topic.clone() });
                }
                thread::park_timeout(LOOK);
            }
            list.add_partition_offset(&self.topic, *partition, Offset::Beginning)
                .map_err(|error| self.trouble(&error))?;
        }
        committed.assign(&list).map_err(|error| self.trouble(&error))?;
        let mut newest = None;
        let mut ended = Vec::new();
        while ended.len() < self.partitions.len() {
            match committed.poll(LOOK) {
                None if Instant::now() < deadline => {}
                None => {
                    let reason = "the progress topic was not read to its end in time".to_owned();
                    return Err(Trouble::Unreachable { servers: self.servers.clone(), reason });
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    if !ended.contains(&partition) {
                        ended.push(partition);
                    }
                }
                Some(Err(error)) => return Err(self.trouble(&error)),
                Some(Ok(record)) if record.key() == Some(name.as_bytes()) => {
                    if let Some(value) = record.payload() {
                        newest = newest.max(Some(self.marker(name, value)?));
                    }
                }
                Some(Ok(_)) => {}
            }
        }
        Ok(newest)
    }

    fn marker(&self, name: &str, value: &[u8]) -> Result<CheckpointNumber, Trouble> {
        let marker: Marker = serde_json::from_slice(value).map_err(|error| {
            Trouble::Option(format!(
                "topic \"{}\": the marker of {name} cannot be read ({error}); give the sink a progress.topic of its own",
                self.topic
            ))
        })?;
        Ok(CheckpointNumber(marker.checkpoint))
    }

    fn consumer(&self, isolation: &str) -> Result<BaseConsumer, Trouble> {
        let mut config = self.config.clone();
        config.set("isolation.level", isolation);
        config.create().map_err(|error| Trouble::Option(format!("kafka options are refused: {error}")))
    }

    fn trouble(&self, error: &KafkaError) -> Trouble {
        Trouble::from_broker(error, &self.servers, &self.topic)
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// Ends the sleep of a thread that waits for an answer.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for an answer on this thread.
fn wait<T>(answer: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut answer = pin!(answer);
    loop {
        if let Poll::Ready(answer) = answer.as_mut().poll(&mut context) {
            return answer;
        }
        thread::park();
    }
}
