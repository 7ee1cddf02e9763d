//! The Kafka source: finds partitions and opens their readers.
//!
//! One split per (topic, partition), named `topic/partition`; its position is the offset of the
//! next record. Invariant: a start is always resolved to an explicit offset and compared with what
//! the broker has, so nothing is skipped in silence.

use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, TimeUnit};
use laminar_core::connector::options::{OptionSpec, Options};
use laminar_core::connector::{ConnectorError, Source, SourceFactory, SplitKey, SplitReader, StartFrom, Wake};
use laminar_core::graph::SourceSpec;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use crate::bootstrap::Bootstrap;
use crate::client::{ANSWER_TIMEOUT, ClientHandle, Health, Lost, NONE, SplitState};
use crate::error::Trouble;
use crate::options::{self, SourceOptions, Start};
use crate::queue::PartitionQueue;
use crate::split::KafkaSplit;

/// A new leader may tell an old end for a moment; a position above it is believed lost only after
/// so many questions.
const QUESTIONS: u32 = 4;
const QUESTION_PAUSE: Duration = Duration::from_millis(250);

static METADATA: LazyLock<Vec<(&'static str, DataType)>> = LazyLock::new(|| {
    vec![
        ("topic", DataType::Utf8),
        ("partition", DataType::Int32),
        ("offset", DataType::Int64),
        ("timestamp", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))),
        ("key", DataType::Binary),
    ]
});

/// Makes Kafka sources.
#[derive(Clone, Default)]
pub struct KafkaSourceFactory {
    bootstrap: Bootstrap,
}

impl KafkaSourceFactory {
    /// A factory whose sources find their brokers so.
    pub fn new(bootstrap: Bootstrap) -> Self {
        Self { bootstrap }
    }

    /// A source from options alone; `name` goes into the client's id and group.
    ///
    /// # Errors
    /// A wrong option.
    pub fn source(&self, name: &str, options: &Options) -> Result<Box<dyn Source>, ConnectorError> {
        let given = SourceOptions::read(name, options)?;
        let resolved = self.bootstrap.resolve(&given.servers, &given.topics, options)?;
        Ok(Box::new(KafkaSource::create(SourceOptions::read(name, &resolved)?)?))
    }
}

impl SourceFactory for KafkaSourceFactory {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &options::SOURCE
    }

    fn metadata(&self) -> &'static [(&'static str, DataType)] {
        &METADATA
    }

    fn check(&self, spec: &SourceSpec) -> Result<(), ConnectorError> {
        let options = SourceOptions::read(&spec.name, &spec.options)?;
        options
            .config
            .create_native_config()
            .map_err(|e| Trouble::Option(format!("kafka options are refused: {e}")))?;
        Ok(())
    }

    fn create(&self, spec: &SourceSpec) -> Result<Box<dyn Source>, ConnectorError> {
        self.source(&spec.name, &spec.options)
    }
}

/// A Kafka source.
pub struct KafkaSource {
    options: SourceOptions,
    servers: Arc<str>,
    /// The first one also asks for partitions. More than one only where a partition has several readers.
    clients: Vec<ClientHandle>,
    known: Vec<SplitKey>,
    looked: Option<Instant>,
}

impl KafkaSource {
    /// Makes the source and its first client. Does not wait for the brokers.
    ///
    /// # Errors
    /// librdkafka refuses the options.
    pub fn create(options: SourceOptions) -> Result<Self, ConnectorError> {
        let servers: Arc<str> = options.servers.as_str().into();
        let first = ClientHandle::create(&options.config, &servers)?;
        Ok(Self { options, servers, clients: vec![first], known: Vec::new(), looked: None })
    }

    fn partitions(&self, topic: &str) -> Result<Vec<i32>, Trouble> {
        let trouble = |error: &KafkaError| Trouble::from_broker(error, &self.servers, topic);
        let answer = self.clients[0]
            .client
            .consumer()
            .fetch_metadata(Some(topic), ANSWER_TIMEOUT)
            .map_err(|error| trouble(&error))?;
        let found = answer.topics().iter().find(|found| found.name() == topic);
        let Some(found) = found else {
            return Err(Trouble::NoTopic { topic: topic.to_string(), servers: self.servers.to_string() });
        };
        if let Some(code) = found.error() {
            return Err(trouble(&KafkaError::MetadataFetch(code.into())));
        }
        let mut partitions: Vec<i32> = found.partitions().iter().map(|partition| partition.id()).collect();
        if partitions.is_empty() {
            return Err(Trouble::NoTopic { topic: topic.to_string(), servers: self.servers.to_string() });
        }
        partitions.sort_unstable();
        Ok(partitions)
    }

    /// The client that does not read the partition yet.
    fn client_for(&mut self, topic: &str, partition: i32) -> Result<ClientHandle, Trouble> {
        if let Some(free) = self.clients.iter().find(|handle| !handle.client.reads(topic, partition)) {
            return Ok(free.clone());
        }
        let more = ClientHandle::create(&self.options.config, &self.servers)?;
        self.clients.push(more.clone());
        Ok(more)
    }

    /// The offset of the first record to read.
    fn first_offset(
        &self,
        handle: &ClientHandle,
        topic: &str,
        partition: i32,
        from: &StartFrom,
    ) -> Result<i64, Trouble> {
        let consumer = handle.client.consumer();
        let range = || {
            consumer
                .fetch_watermarks(topic, partition, ANSWER_TIMEOUT)
                .map_err(|error| Trouble::from_broker(&error, &self.servers, topic))
        };
        let (low, high) = range()?;
        let wanted = match (from, self.options.start) {
            (StartFrom::Position(position), _) => {
                position.offset().and_then(|offset| i64::try_from(offset).ok()).ok_or_else(|| {
                    Trouble::Client(format!("split {topic}/{partition}: a stored position is not an offset"))
                })?
            }
            (StartFrom::Beginning, _) | (StartFrom::Option, Start::Earliest) => return Ok(low),
            (StartFrom::Option, Start::Latest) => return Ok(high),
            (StartFrom::Option, Start::Timestamp(at)) => return self.offset_at(handle, topic, partition, at, high),
        };
        let (mut low, mut high) = (low, high);
        for _ in 1..QUESTIONS {
            if wanted <= high {
                break;
            }
            std::thread::sleep(QUESTION_PAUSE);
            (low, high) = range()?;
        }
        if (low..=high).contains(&wanted) {
            return Ok(wanted);
        }
        Err(Trouble::Gone { topic: topic.to_string(), partition, wanted, low, high })
    }

    fn offset_at(&self, handle: &ClientHandle, topic: &str, partition: i32, at: i64, end: i64) -> Result<i64, Trouble> {
        let trouble = |error: &KafkaError| Trouble::from_broker(error, &self.servers, topic);
        let mut times = TopicPartitionList::with_capacity(1);
        times.add_partition_offset(topic, partition, Offset::Offset(at)).map_err(|error| trouble(&error))?;
        let found =
            handle.client.consumer().offsets_for_times(times, ANSWER_TIMEOUT).map_err(|error| trouble(&error))?;
        let place = found.find_partition(topic, partition);
        place.as_ref().map_or(Ok(()), |place| place.error()).map_err(|error| trouble(&error))?;
        // No record of that time or later: begin behind the newest.
        Ok(match place.map(|place| place.offset()) {
            Some(Offset::Offset(offset)) => offset,
            _ => end,
        })
    }
}

impl Source for KafkaSource {
    fn splits(&mut self) -> Result<Vec<SplitKey>, ConnectorError> {
        let due = match (self.looked, self.options.discovery) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(looked), Some(interval)) => looked.elapsed() >= interval,
        };
        if due {
            let mut found = Vec::new();
            for topic in &self.options.topics {
                let partitions = self.partitions(topic)?;
                found.extend(partitions.into_iter().map(|partition| SplitKey(format!("{topic}/{partition}"))));
            }
            self.known = found;
            self.looked = Some(Instant::now());
        }
        Ok(self.known.clone())
    }

    fn open(
        &mut self,
        split: &SplitKey,
        from: StartFrom,
        wake: Arc<dyn Wake>,
    ) -> Result<Box<dyn SplitReader>, ConnectorError> {
        let (topic, partition) = parse(split)?;
        let handle = self.client_for(topic, partition)?;
        if handle.client.health() == Health::Down {
            return Err(handle.client.outage().into());
        }
        let offset = self.first_offset(&handle, topic, partition, &from)?;
        let state = Arc::new(SplitState {
            topic: topic.to_string(),
            partition,
            to_commit: AtomicI64::new(NONE),
            end: AtomicI64::new(NONE),
            lost: Lost::default(),
            closed: AtomicBool::new(false),
            wake: wake.clone(),
        });
        // The queue first: what is fetched before it is cut off would go to the consumer's own queue.
        let queue = PartitionQueue::open(handle.client.consumer().clone(), topic, partition, wake)
            .ok_or_else(|| Trouble::Client(format!("split {}: no queue for the partition", split.0)))?;
        handle.client.assign(&state, offset)?;
        let ClientHandle { client, service } = handle;
        Ok(Box::new(KafkaSplit::new(queue, client, service, state, offset, self.servers.clone())))
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        for handle in self.clients.drain(..) {
            let service = handle.service.clone();
            drop(handle);
            service.unpark();
        }
    }
}

/// `topic/partition`; a topic's name holds no slash.
fn parse(split: &SplitKey) -> Result<(&str, i32), Trouble> {
    split
        .0
        .rsplit_once('/')
        .and_then(|(topic, partition)| Some((topic, partition.parse().ok()?)))
        .ok_or_else(|| Trouble::Client(format!("split \"{}\" is not topic/partition", split.0)))
}
