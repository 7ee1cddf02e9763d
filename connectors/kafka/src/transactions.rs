//! The exactly-once sink: the rows of a checkpoint and its marker in one Kafka transaction.
//!
//! The marker is a record of the compacted progress topic: key = who writes, value = the checkpoint.
//! Invariants (K1–K4): a transaction is opened only to send what is staged, and never outlives its own
//! call; after any failure the producer is destroyed, and a new one, which fences it, reads the marker
//! before it sends; the marker is read only when everything before it in the progress topic is decided,
//! so that an open transaction of another sink cannot hide it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use laminar_core::connector::{Applier, ConnectorError, Frame, Readiness, SinkIdentity};
use laminar_core::crash_point::{CrashPoint, reach};
use laminar_core::ids::{CheckpointNumber, ShardId};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::acks::Ticket;
use crate::error::Trouble;
use crate::options::{SinkOptions, Stamp};
use crate::progress::Progress;
use crate::sink::{OnTheWay, Reports, await_topic, lock};

/// How long fencing an older life may take: its open transaction is ended first.
const FENCE_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks at a full queue.
const LOOK: Duration = Duration::from_millis(20);

/// One life of a transactional producer.
struct Running {
    producer: BaseProducer<Reports>,
    state: Arc<Mutex<OnTheWay>>,
}

/// Commits checkpoints to one topic.
pub struct KafkaTransactions {
    options: SinkOptions,
    name: String,
    running: Option<Running>,
}

impl KafkaTransactions {
    /// An applier that is not started.
    pub fn new(options: SinkOptions, identity: SinkIdentity) -> Self {
        Self { options, name: identity.to_string(), running: None }
    }

    /// Fences older lives and reads the marker.
    fn begin(&mut self) -> Result<Option<CheckpointNumber>, Trouble> {
        self.running = None;
        let state = Arc::new(Mutex::new(OnTheWay::default()));
        let producer: BaseProducer<Reports> = self
            .options
            .transactional(&self.name)
            .create_with_context(Reports(state.clone()))
            .map_err(|error| Trouble::Option(format!("kafka options are refused: {error}")))?;
        await_topic(&producer, &self.options)?;
        let progress = Progress::open(&self.options, &self.name)?;
        producer.init_transactions(FENCE_TIMEOUT).map_err(|error| self.trouble(&producer, &error, false))?;
        let marker = progress.read(&self.name)?;
        self.running = Some(Running { producer, state });
        Ok(marker)
    }

    /// One transaction. The producer survives it only when everything went well.
    fn transact(&mut self, checkpoint: CheckpointNumber, frames: &[Arc<Frame>]) -> Result<(), Trouble> {
        let Some(running) = self.running.take() else {
            return Err(Trouble::Client("the sink is used before its start".into()));
        };
        let began = Instant::now();
        let deadline = began + self.options.transaction_limit();
        // A process that slept may find that the broker has ended its transaction: that is nobody's takeover.
        let failed = |error: &KafkaError| self.trouble(&running.producer, error, Instant::now() >= deadline);
        running.producer.begin_transaction().map_err(|error| failed(&error))?;
        let stamp = self.options.stamp;
        for (index, record) in frames.iter().flat_map(|frame| &frame.records).enumerate() {
            if index == 1 {
                reach(CrashPoint::CommitHalfSent);
            }
            let mut message: BaseRecord<'_, [u8], [u8], Ticket> = BaseRecord::with_opaque_to(&self.options.topic, 0);
            message.key = record.key.as_deref();
            message.payload = record.value.as_deref();
            message.timestamp = if stamp == Stamp::Event { record.timestamp_ms } else { None };
            running.send(message, deadline).map_err(|error| failed(&error))?;
        }
        let value = Progress::value(checkpoint);
        let mut marker: BaseRecord<'_, [u8], [u8], Ticket> = BaseRecord::with_opaque_to(&self.options.progress, 0);
        marker.key = Some(self.name.as_bytes());
        marker.payload = Some(value.as_bytes());
        running.send(marker, deadline).map_err(|error| failed(&error))?;
        let left = || deadline.saturating_duration_since(Instant::now());
        // Delivery reports come in the polls of a flush, not in those of a commit.
        let flushed = running.producer.flush(left());
        let lost = running.failure();
        if let Some(error) = lost.as_ref().filter(|error| !is_purge(error)) {
            return Err(failed(error));
        }
        flushed.map_err(|error| failed(&error))?;
        // Of records that librdkafka has thrown away the commit knows the cause; it cannot succeed then.
        reach(CrashPoint::CommitPrepared);
        running.producer.commit_transaction(left()).map_err(|error| failed(&error))?;
        if let Some(error) = lost {
            return Err(failed(&error));
        }
        self.running = Some(running);
        Ok(())
    }

    fn trouble(&self, producer: &BaseProducer<Reports>, error: &KafkaError, expired: bool) -> Trouble {
        let SinkOptions { servers, topic, .. } = &self.options;
        let fatal = producer.client().fatal_error();
        let code = fatal.as_ref().map(|(code, _)| *code).or_else(|| error.rdkafka_error_code());
        let reason = fatal.map_or_else(|| error.to_string(), |(_, reason)| reason);
        match code {
            Some(Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch) if !expired => {
                Trouble::Fenced { name: self.name.clone(), reason }
            }
            Some(Code::TransactionalIdAuthorizationFailed) => Trouble::Denied { what: self.name.clone(), reason },
            _ => match Trouble::from_delivery(error, servers, topic) {
                // What the broker answered is not an outage.
                Trouble::Unreachable { .. } if !is_outage(code) => {
                    Trouble::NotCommitted { topic: topic.clone(), reason }
                }
                trouble => trouble,
            },
        }
    }
}

fn is_purge(error: &KafkaError) -> bool {
    matches!(error.rdkafka_error_code(), Some(Code::PurgeQueue | Code::PurgeInflight))
}

fn is_outage(code: Option<Code>) -> bool {
    matches!(
        code,
        Some(
            Code::AllBrokersDown
                | Code::BrokerTransportFailure
                | Code::Resolve
                | Code::OperationTimedOut
                | Code::MessageTimedOut
        )
    )
}

impl Running {
    fn failure(&self) -> Option<KafkaError> {
        lock(&self.state).failure.clone()
    }

    /// Hands a record to librdkafka, waiting for room.
    fn send(&self, message: BaseRecord<'_, [u8], [u8], Ticket>, deadline: Instant) -> Result<(), KafkaError> {
        let mut message = message;
        loop {
            if let Some(error) = self.failure() {
                return Err(error);
            }
            message = match self.producer.send(message) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), back)) if Instant::now() < deadline => back,
                Err((error, _)) => return Err(error),
            };
            self.producer.poll(LOOK);
        }
    }
}

impl Applier for KafkaTransactions {
    fn start(&mut self) -> Result<Option<CheckpointNumber>, ConnectorError> {
        Ok(self.begin()?)
    }

    fn send(&mut self, _: &Frame) -> Result<Readiness, ConnectorError> {
        Err(Trouble::Client("rows of this sink go in transactions only".into()).into())
    }

    fn acknowledged(&mut self, _: Duration, _: &mut Vec<(ShardId, u64)>) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn commit(&mut self, checkpoint: CheckpointNumber, frames: &[Arc<Frame>]) -> Result<(), ConnectorError> {
        Ok(self.transact(checkpoint, frames)?)
    }
}
