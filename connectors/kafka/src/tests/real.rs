//! Claims that only a real Kafka can show: transactions, times, missing topics, new partitions.
//!
//! They need `LAMINAR_TEST_KAFKA` (`eval $(scripts/kafka.sh env)`) and run with `--ignored`; `make
//! test` does both.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use laminar_connector_kit::contract::{self, NEWEST};
use laminar_core::connector::options::Options;
use laminar_core::connector::{Applier, Fault, Polled, Position, Source, SplitKey, StartFrom};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::{Kept, PATIENCE, bell, read, read_until};
use crate::options::{SinkOptions, SourceOptions};
use crate::{KafkaApplier, KafkaSource};

fn address() -> String {
    std::env::var("LAMINAR_TEST_KAFKA").expect("LAMINAR_TEST_KAFKA names a broker: eval $(scripts/kafka.sh env)")
}

pub fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", address()).create().unwrap()
}

/// A topic that no other run has.
pub fn topic(name: &str, partitions: i32) -> String {
    let topic = fresh(name);
    let wanted = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1));
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
    futures::executor::block_on(admin().create_topics([&wanted], &options)).unwrap().remove(0).unwrap();
    topic
}

pub fn fresh(name: &str) -> String {
    format!("{name}-{}", SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos())
}

pub fn options(topic: &str, more: &[(&str, &str)]) -> Options {
    let address = address();
    let own = [("bootstrap.servers", address.as_str()), ("topic", topic)];
    own.iter().chain(more).map(|(key, value)| ((*key).to_string(), (*value).to_string())).collect()
}

pub fn source(topic: &str, more: &[(&str, &str)]) -> KafkaSource {
    KafkaSource::create(SourceOptions::read("real", &options(topic, more)).unwrap()).unwrap()
}

pub fn producer(more: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address());
    for (key, value) in more {
        config.set(*key, *value);
    }
    config.create().unwrap()
}

fn write(producer: &BaseProducer, topic: &str, partition: i32, values: &[&str], at_ms: Option<i64>) {
    for value in values {
        let mut record = BaseRecord::<(), str>::to(topic).partition(partition).payload(value);
        record.timestamp = at_ms;
        producer.send(record).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

pub fn values(kept: &Kept) -> Vec<String> {
    kept.0.iter().map(|(_, _, value)| String::from_utf8(value.clone()).unwrap()).collect()
}

#[test]
#[ignore = "needs LAMINAR_TEST_KAFKA"]
fn aborted_records_are_not_delivered_and_the_end_counts_control_records() {
    let topic = topic("aborted", 1);
    let id = fresh("writer");
    let producer = producer(&[("transactional.id", id.as_str())]);
    producer.init_transactions(PATIENCE).unwrap();
    for (value, commit) in [("a", true), ("b", false), ("c", true), ("d", false)] {
        producer.begin_transaction().unwrap();
        write(&producer, &topic, 0, &[value], None);
        if commit {
            producer.commit_transaction(PATIENCE).unwrap();
        } else {
            producer.abort_transaction(PATIENCE).unwrap();
        }
    }
    let mut source = source(&topic, &[]);
    let (bell, wake) = bell();
    let split = SplitKey(format!("{topic}/0"));
    let mut reader = source.open(&split, StartFrom::Option, wake.clone()).unwrap();
    let mut kept = Kept::default();
    read_until(&mut *reader, &bell, &mut kept, |_, polled| polled == Polled::Pending { caught_up: true }).unwrap();
    assert_eq!(values(&kept), ["a", "c"]);
    let position = reader.position();
    assert_eq!((position.offset(), reader.lag()), (Some(8), Some(0)), "four records and four control records");
    drop(reader);
    // The position behind control records is a place to go on from.
    let mut reader = source.open(&split, StartFrom::Position(position), wake).unwrap();
    producer.begin_transaction().unwrap();
    write(&producer, &topic, 0, &["e"], None);
    producer.commit_transaction(PATIENCE).unwrap();
    assert_eq!(values(&read(&mut *reader, &bell, 1)), ["e"]);
}

#[test]
#[ignore = "needs LAMINAR_TEST_KAFKA"]
fn a_start_by_timestamp_begins_at_the_first_record_of_that_time_or_later() {
    let topic = topic("times", 2);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let producer = producer(&[]);
    for step in 0..5 {
        write(&producer, &topic, 0, &[&step.to_string()], Some(now - 10_000 + step * 1000));
    }
    let at = (now - 7_500).to_string();
    let mut source = source(&topic, &[("start", "timestamp"), ("start.timestamp", &at)]);
    let (bell, wake) = bell();
    let mut reader = source.open(&SplitKey(format!("{topic}/0")), StartFrom::Option, wake.clone()).unwrap();
    assert_eq!(values(&read(&mut *reader, &bell, 2)), ["3", "4"]);
    let empty = source.open(&SplitKey(format!("{topic}/1")), StartFrom::Option, wake).unwrap();
    assert_eq!(empty.position().offset(), Some(0), "without such a record it begins at the end");
}

#[test]
#[ignore = "needs LAMINAR_TEST_KAFKA"]
fn a_topic_that_does_not_exist_is_named_and_found_once_it_does() {
    let missing = fresh("missing");
    let mut source = source(&missing, &[]);
    let error = source.splits().unwrap_err();
    assert_eq!((error.fault, error.code), (Fault::External, "LDB-6103"), "{error}");
    assert!(error.message.contains(&missing), "{error}");
    let wanted = NewTopic::new(&missing, 1, TopicReplication::Fixed(1));
    futures::executor::block_on(admin().create_topics([&wanted], &AdminOptions::new())).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while source.splits().is_err() {
        assert!(Instant::now() < deadline, "the topic is there and not found");
    }
}

#[test]
#[ignore = "needs LAMINAR_TEST_KAFKA"]
fn new_partitions_are_discovered() {
    let topic = topic("grows", 1);
    let mut source = source(&topic, &[("partition.discovery.interval", "1 ms")]);
    assert_eq!(source.splits().unwrap().len(), 1);
    futures::executor::block_on(admin().create_partitions([&NewPartitions::new(&topic, 3)], &AdminOptions::new()))
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    while source.splits().unwrap().len() < 3 {
        assert!(Instant::now() < deadline, "new partitions are not seen");
    }
}

#[test]
#[ignore = "needs LAMINAR_TEST_KAFKA"]
fn source_and_sink_keep_their_contracts_on_a_real_broker() {
    let input = topic("input", 2);
    let producer = producer(&[("linger.ms", "5")]);
    let many: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    for partition in 0..2 {
        write(&producer, &input, partition, &many.iter().map(String::as_str).collect::<Vec<_>>(), None);
    }
    contract::source(&mut || Box::new(source(&input, &[])), &[50, 50], false);

    let output = topic("output", 1);
    contract::sink(
        &mut || -> Box<dyn Applier> {
            Box::new(KafkaApplier::new(SinkOptions::read("real", &options(&output, &[])).unwrap()))
        },
        &mut || {
            let (bell, wake) = bell();
            let mut source = source(&output, &[]);
            let mut reader = source.open(&SplitKey(format!("{output}/0")), StartFrom::Beginning, wake).unwrap();
            let mut kept = Kept::default();
            read_until(&mut *reader, &bell, &mut kept, |_, polled| polled == Polled::Pending { caught_up: true })
                .unwrap();
            Some(kept.0.into_iter().map(|(_, key, value)| (key, Some(value))).collect())
        },
    );
}

#[test]
#[ignore = "needs LAMINAR_TEST_KAFKA"]
fn a_sink_whose_topic_is_missing_creates_it_where_the_broker_does_so() {
    let missing = fresh("made");
    let mut applier = KafkaApplier::new(SinkOptions::read("real", &options(&missing, &[])).unwrap());
    applier.start(NEWEST).unwrap();
    let mut found = source(&missing, &[]);
    let deadline = Instant::now() + PATIENCE;
    while found.splits().is_err() {
        assert!(Instant::now() < deadline, "the topic is not there");
        std::thread::yield_now();
    }
    let mut news = Vec::new();
    applier.acknowledged(Duration::ZERO, &mut news).unwrap();
    assert!(news.is_empty());
}

#[test]
#[ignore = "needs LAMINAR_TEST_KAFKA"]
fn records_that_were_deleted_stop_their_reader_and_nothing_is_skipped() {
    let topic = topic("deleted", 1);
    let producer = producer(&[]);
    let many: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    write(&producer, &topic, 0, &many.iter().map(String::as_str).collect::<Vec<_>>(), None);
    let mut source = source(&topic, &[]);
    let (bell, wake) = bell();
    let split = SplitKey(format!("{topic}/0"));
    let mut reader = source.open(&split, StartFrom::Option, wake.clone()).unwrap();
    let mut kept = Kept::default();
    read_until(&mut *reader, &bell, &mut kept, |kept, _| kept.0.len() >= 5).unwrap();
    drop(reader);
    // A checkpoint was taken behind record 4; then the broker deletes up to record 11.
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&topic, 0, Offset::Offset(12)).unwrap();
    let deleted = futures::executor::block_on(admin().delete_records(&before, &AdminOptions::new())).unwrap();
    assert_eq!(deleted.find_partition(&topic, 0).unwrap().offset(), Offset::Offset(12));
    for (at, is_there) in [(5, false), (11, false), (12, true), (20, true), (21, false)] {
        let from = StartFrom::Position(Position::from_offset(at));
        match source.open(&split, from, wake.clone()) {
            Ok(reader) => assert!(is_there && reader.position().offset() == Some(at), "{at}"),
            Err(error) => {
                assert_eq!((error.fault, error.code, is_there), (Fault::Lost, "LDB-6104", false), "{at}: {error}");
                let words = format!(
                    "topic \"{topic}\", partition 0: offset {at} is the next to read and is gone; the broker has 12 to 20"
                );
                assert!(error.message.contains(&words), "{error}");
            }
        }
    }
}
