//! Claims about exactly-once delivery, as far as a broker inside the process can show them; what only a
//! real one can (aborted rows, open transactions of others) is in `real_transactions`.

use std::sync::Arc;

use laminar_connector_kit::contract::NEWEST;
use laminar_core::connector::{Applier, Fault, Frame, FrameRecord, SinkFactory, SinkIdentity};
use laminar_core::data::{ChangeMode, StreamSchema};
use laminar_core::graph::{Delivery, Envelope, SinkSpec};
use laminar_core::ids::{CheckpointNumber, ObjectId, ShardId};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::options;
use super::sink::written;
use crate::options::SinkOptions;
use crate::{Bootstrap, EmbeddedBroker, KafkaSinkFactory, KafkaTransactions};

pub fn identity(directory: u64, sink: u64) -> SinkIdentity {
    SinkIdentity { directory, sink: ObjectId(sink) }
}

/// Frames of two shards; the values tell checkpoint, shard and place.
pub fn frames(checkpoint: u64, records: usize) -> Vec<Arc<Frame>> {
    let record = |shard: u16, index: usize| FrameRecord {
        key: Some(format!("{shard}-{}", index % 3).into_bytes()),
        value: Some(format!("{checkpoint:04}-{shard}-{index:06}").into_bytes()),
        timestamp_ms: None,
    };
    (0..2)
        .map(|shard| {
            let records = (0..records).map(|index| record(shard, index)).collect();
            Arc::new(Frame { shard: ShardId(shard), sequence: checkpoint, records })
        })
        .collect()
}

fn broker() -> EmbeddedBroker {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("out", 4).unwrap();
    broker.create_topic("laminardb-progress", 1).unwrap();
    broker
}

fn applier(broker: &EmbeddedBroker, who: SinkIdentity) -> KafkaTransactions {
    KafkaTransactions::new(SinkOptions::read("sink", &options(broker, &[("topic", "out")])).unwrap(), who)
}

#[test]
fn a_committed_checkpoint_is_there_with_its_marker_and_a_restart_finds_it() {
    let broker = broker();
    let mut first = applier(&broker, identity(1, 3));
    assert_eq!(first.start(NEWEST).unwrap(), None);
    for checkpoint in 1..=3 {
        first.commit(CheckpointNumber(checkpoint), &frames(checkpoint, 500)).unwrap();
    }
    drop(first);
    assert_eq!(applier(&broker, identity(1, 3)).start(NEWEST).unwrap(), Some(CheckpointNumber(3)));
    assert_eq!(applier(&broker, identity(1, 4)).start(NEWEST).unwrap(), None, "another sink has its own marker");
    assert_eq!(applier(&broker, identity(2, 3)).start(NEWEST).unwrap(), None, "another data directory has its own");
    let written = written(&broker, 3000);
    assert_eq!(written.len(), 6);
    assert!(written.values().all(|values| values.is_sorted()), "a key keeps its order");
}

#[test]
fn a_writer_that_another_one_has_fenced_stops_for_good() {
    let broker = broker();
    let mut first = applier(&broker, identity(1, 3));
    first.start(NEWEST).unwrap();
    first.commit(CheckpointNumber(1), &frames(1, 1)).unwrap();
    broker.fail_next(RDKafkaApiKey::EndTxn, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_PRODUCER_FENCED]).unwrap();
    let error = first.commit(CheckpointNumber(2), &frames(2, 1)).unwrap_err();
    assert_eq!((error.fault, error.code), (Fault::Fenced, "LDB-6111"), "{error}");
    assert!(error.message.contains("laminardb-0000000000000001-3"), "{error}");
}

#[test]
fn errors_that_pass_are_retried_within_the_transaction() {
    let broker = broker();
    let mut applier = applier(&broker, identity(1, 3));
    applier.start(NEWEST).unwrap();
    let errors = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
    ];
    broker.fail_next(RDKafkaApiKey::AddPartitionsToTxn, &errors).unwrap();
    broker.fail_next(RDKafkaApiKey::EndTxn, &errors[..1]).unwrap();
    applier.commit(CheckpointNumber(1), &frames(1, 100)).unwrap();
    assert_eq!(written(&broker, 200).len(), 6);
}

#[test]
fn after_a_failed_commit_only_a_new_start_goes_on_and_the_marker_stands_where_it_was() {
    let broker = broker();
    let mut applier = applier(&broker, identity(1, 3));
    applier.start(NEWEST).unwrap();
    applier.commit(CheckpointNumber(1), &frames(1, 1)).unwrap();
    broker
        .fail_next(RDKafkaApiKey::AddPartitionsToTxn, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED])
        .unwrap();
    let error = applier.commit(CheckpointNumber(2), &frames(2, 1)).unwrap_err();
    assert_eq!(error.fault, Fault::User, "{error}");
    let error = applier.commit(CheckpointNumber(2), &frames(2, 1)).unwrap_err();
    assert_eq!(error.fault, Fault::Internal, "the producer of a failed transaction is not used again: {error}");
    assert_eq!(applier.start(NEWEST).unwrap(), Some(CheckpointNumber(1)));
    applier.commit(CheckpointNumber(2), &frames(2, 1)).unwrap();
}

#[test]
fn a_broker_that_is_away_is_an_external_error_and_nothing_is_lost() {
    let broker = broker();
    let given = options(&broker, &[("topic", "out"), ("transaction.timeout.ms", "2000")]);
    let mut applier = KafkaTransactions::new(SinkOptions::read("sink", &given).unwrap(), identity(1, 3));
    applier.start(NEWEST).unwrap();
    broker.go_down().unwrap();
    let error = applier.commit(CheckpointNumber(1), &frames(1, 10)).unwrap_err();
    assert_eq!(error.fault, Fault::External, "{error}");
    assert_eq!(applier.start(NEWEST).unwrap_err().fault, Fault::External);
    broker.come_up().unwrap();
    let deadline = std::time::Instant::now() + super::PATIENCE;
    let marker = loop {
        match applier.start(NEWEST) {
            Ok(marker) => break marker,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
    };
    assert_eq!(marker, None);
    applier.commit(CheckpointNumber(1), &frames(1, 10)).unwrap();
}

#[test]
fn a_sink_that_delivers_exactly_once_is_checked_at_its_creation() {
    let broker = broker();
    let spec = |more: &[(&str, &str)]| SinkSpec {
        id: ObjectId(3),
        name: "k".into(),
        from: ObjectId(2),
        connector: "kafka".into(),
        format: Some("json".into()),
        options: options(&broker, &[&[("topic", "out")], more].concat()),
        delivery: Delivery::ExactlyOnce,
        envelope: Envelope::Plain,
        key: None,
        schema: StreamSchema {
            columns: Arc::new(arrow::datatypes::Schema::empty()),
            mode: ChangeMode::Append,
            key: None,
            time: Vec::new(),
        },
    };
    let factory = KafkaSinkFactory::new(Bootstrap::or_embedded());
    factory.check(&spec(&[])).unwrap();
    let mut made = factory.create(&spec(&[]), identity(1, 3)).unwrap();
    assert_eq!(made.start(NEWEST).unwrap(), None);
    let refused = |more: &[(&str, &str)]| factory.check(&spec(more)).unwrap_err().message;
    assert!(refused(&[("progress.topic", "out")]).contains("is the topic of the rows"));
    assert!(refused(&[("transactional.id", "mine")]).contains("transactional.id"));
    let mut embedded = spec(&[]);
    embedded.options.insert("bootstrap.servers".into(), "embedded".into());
    assert!(factory.check(&embedded).unwrap_err().message.contains("at_least_once"));
}
