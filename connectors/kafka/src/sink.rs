//! The Kafka sink at least once: an applier that produces staged frames as they come.
//!
//! Invariants: records go out in the order of their frames and idempotently, so a key's order is
//! kept; a frame is acknowledged only after the broker acknowledged all its records; after an error
//! the producer is given up with all that it held, and only a new start goes on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use laminar_core::connector::options::{OptionSpec, Options};
use laminar_core::connector::{Applier, ConnectorError, Frame, Readiness, SinkFactory, SinkIdentity};
use laminar_core::graph::{Delivery, SinkSpec};
use laminar_core::ids::{CheckpointNumber, ShardId};
use rdkafka::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::acks::{Ledger, Ticket};
use crate::bootstrap::{Bootstrap, EMBEDDED};
use crate::client::ANSWER_TIMEOUT;
use crate::error::Trouble;
use crate::logging;
use crate::options::{self, SinkOptions, Stamp};
use crate::transactions::KafkaTransactions;

/// Between two looks for delivery reports while waiting: librdkafka waits out its whole time.
const LOOK: Duration = Duration::from_millis(2);

/// Makes Kafka sinks.
#[derive(Clone, Default)]
pub struct KafkaSinkFactory {
    bootstrap: Bootstrap,
}

impl KafkaSinkFactory {
    /// A factory whose sinks find their brokers so.
    pub fn new(bootstrap: Bootstrap) -> Self {
        Self { bootstrap }
    }

    /// An applier from options alone; `name` goes into the client's id.
    ///
    /// # Errors
    /// A wrong option.
    pub fn applier(&self, name: &str, options: &Options) -> Result<Box<dyn Applier>, ConnectorError> {
        let given = SinkOptions::read(name, options)?;
        let resolved = self.bootstrap.resolve(&given.servers, std::slice::from_ref(&given.topic), options)?;
        Ok(Box::new(KafkaApplier::new(SinkOptions::read(name, &resolved)?)))
    }
}

impl SinkFactory for KafkaSinkFactory {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &options::SINK
    }

    fn check(&self, spec: &SinkSpec) -> Result<(), ConnectorError> {
        let options = SinkOptions::read(&spec.name, &spec.options)?;
        if spec.delivery == Delivery::ExactlyOnce && options.servers == EMBEDDED {
            let why =
                "the embedded kafka broker shows rows of aborted transactions; use delivery = 'at_least_once' there";
            return Err(Trouble::Unsupported(why.into()).into());
        }
        let config = match spec.delivery {
            Delivery::AtLeastOnce => options.config.clone(),
            Delivery::ExactlyOnce => options.transactional(&spec.name),
        };
        config
            .create_native_config()
            .map(drop)
            .map_err(|e| Trouble::Option(format!("kafka options are refused: {e}")).into())
    }

    fn create(&self, spec: &SinkSpec, identity: SinkIdentity) -> Result<Box<dyn Applier>, ConnectorError> {
        self.check(spec)?;
        match spec.delivery {
            Delivery::AtLeastOnce => self.applier(&spec.name, &spec.options),
            Delivery::ExactlyOnce => {
                let options = SinkOptions::read(&spec.name, &spec.options)?;
                Ok(Box::new(KafkaTransactions::new(options, identity)))
            }
        }
    }
}

/// What delivery reports change.
#[derive(Default)]
pub struct OnTheWay {
    ledger: Ledger,
    /// The first failure; nothing goes on after it.
    pub failure: Option<KafkaError>,
}

/// Receives delivery reports; they come on the applier's own thread, within its polls.
pub struct Reports(pub Arc<Mutex<OnTheWay>>);

impl ClientContext for Reports {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, line: &str) {
        logging::line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(Code::Fatal) {
            lock(&self.0).failure.get_or_insert(error);
        } else {
            tracing::warn!(%error, reason, "kafka producer");
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Ticket;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Ticket) {
        let mut state = lock(&self.0);
        match result {
            Ok(_) => state.ledger.acknowledged(ticket),
            Err((error, _)) => {
                state.failure.get_or_insert_with(|| error.clone());
            }
        }
    }
}

/// One life of a producer.
struct Running {
    producer: BaseProducer<Reports>,
    state: Arc<Mutex<OnTheWay>>,
    /// Frames that were sent in part, with the number of records sent.
    parts: BTreeMap<ShardId, (u64, usize)>,
}

/// Produces frames to one topic.
pub struct KafkaApplier {
    options: SinkOptions,
    running: Option<Running>,
}

impl KafkaApplier {
    /// An applier that is not started.
    pub fn new(options: SinkOptions) -> Self {
        Self { options, running: None }
    }

    fn running(&mut self) -> Result<&mut Running, Trouble> {
        self.running.as_mut().ok_or_else(|| Trouble::Client("the sink is used before its start".into()))
    }

    /// Gives up the producer when a record failed.
    fn check(&mut self) -> Result<(), Trouble> {
        let Some(running) = &self.running else { return Ok(()) };
        let Some(error) = lock(&running.state).failure.clone() else { return Ok(()) };
        self.running = None;
        Err(Trouble::from_delivery(&error, &self.options.servers, &self.options.topic))
    }
}

impl Applier for KafkaApplier {
    fn start(&mut self, _: CheckpointNumber) -> Result<Option<CheckpointNumber>, ConnectorError> {
        // Dropping a producer purges what it holds: nothing old arrives behind what is sent again.
        self.running = None;
        let state = Arc::new(Mutex::new(OnTheWay::default()));
        let producer: BaseProducer<Reports> = self
            .options
            .config
            .create_with_context(Reports(state.clone()))
            .map_err(|error| Trouble::Option(format!("kafka options are refused: {error}")))?;
        await_topic(&producer, &self.options)?;
        self.running = Some(Running { producer, state, parts: BTreeMap::new() });
        Ok(None)
    }

    fn send(&mut self, frame: &Arc<Frame>) -> Result<Readiness, ConnectorError> {
        self.check()?;
        let (stamp, topic, servers) = (self.options.stamp, self.options.topic.clone(), self.options.servers.clone());
        let readiness = self
            .running()?
            .send(frame, stamp, &topic)
            .map_err(|error| ConnectorError::from(Trouble::from_delivery(&error, &servers, &topic)));
        if readiness.is_err() {
            self.running = None;
        }
        readiness
    }

    fn acknowledged(&mut self, wait: Duration, into: &mut Vec<(ShardId, u64)>) -> Result<(), ConnectorError> {
        let deadline = Instant::now() + wait;
        let before = into.len();
        let mut look = Duration::ZERO;
        loop {
            let running = self.running()?;
            running.producer.poll(look);
            self.check()?;
            let running = self.running()?;
            let mut state = lock(&running.state);
            state.ledger.safe(into);
            let left = deadline.saturating_duration_since(Instant::now());
            if into.len() > before || left.is_zero() {
                return Ok(());
            }
            // With nothing on its way only errors can come.
            look = if state.ledger.is_empty() { left } else { left.min(LOOK) };
        }
    }

    fn commit(&mut self, _: CheckpointNumber, _: &[Arc<Frame>]) -> Result<(), ConnectorError> {
        Err(Trouble::Client("this sink delivers at least once and has no transactions".into()).into())
    }
}

impl Running {
    fn send(&mut self, frame: &Frame, stamp: Stamp, topic: &str) -> Result<Readiness, KafkaError> {
        let done = self.parts.remove(&frame.shard).filter(|(sequence, _)| *sequence == frame.sequence);
        let first = done.map_or(0, |(_, records)| records);
        let ticket = lock(&self.state).ledger.open(frame.shard, frame.sequence);
        for (index, record) in frame.records.iter().enumerate().skip(first) {
            let mut message: BaseRecord<'_, [u8], [u8], Ticket> = BaseRecord::with_opaque_to(topic, ticket);
            message.key = record.key.as_deref();
            message.payload = record.value.as_deref();
            message.timestamp = if stamp == Stamp::Event { record.timestamp_ms } else { None };
            match self.producer.send(message) {
                Ok(()) => lock(&self.state).ledger.sent(ticket),
                Err((KafkaError::MessageProduction(Code::QueueFull), _)) => {
                    self.parts.insert(frame.shard, (frame.sequence, index));
                    return Ok(Readiness::Busy);
                }
                Err((error, _)) => return Err(error),
            }
        }
        lock(&self.state).ledger.whole(ticket);
        self.producer.poll(Duration::ZERO);
        Ok(Readiness::Accepted)
    }
}

/// Waits until the brokers know the topic of the rows.
///
/// # Errors
/// They are away, or do not.
pub fn await_topic(producer: &BaseProducer<Reports>, options: &SinkOptions) -> Result<(), Trouble> {
    let SinkOptions { topic, servers, .. } = options;
    let trouble = |error: &KafkaError| Trouble::from_broker(error, servers, topic);
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    // A broker that creates topics by itself says "unknown" to the first question.
    loop {
        let answer = producer
            .client()
            .fetch_metadata(Some(topic.as_str()), deadline.saturating_duration_since(Instant::now()))
            .map_err(|error| trouble(&error))?;
        let error = answer.topics().first().and_then(|found| found.error());
        match error.map(|code| KafkaError::MetadataFetch(code.into())) {
            None => return Ok(()),
            Some(error) if Instant::now() >= deadline => return Err(trouble(&error)),
            Some(_) => producer.poll(Duration::from_millis(100)),
        }
    }
}

/// A poisoned lock only means that a callback panicked; the ledger is then given up with its producer.
pub fn lock(state: &Mutex<OnTheWay>) -> MutexGuard<'_, OnTheWay> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
