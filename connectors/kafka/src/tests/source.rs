//! Claims about the source.

use std::time::{Duration, Instant};

use laminar_connector_kit::contract;
use laminar_core::connector::{Fault, Polled, Position, Source, SplitKey, SplitReader, StartFrom};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::{Bell, Kept, PATIENCE, bell, numbers, options, produce, produce_padded, read, read_until};
use crate::options::SourceOptions;
use crate::{Bootstrap, EmbeddedBroker, KafkaSource};

fn open(source: &mut KafkaSource, split: &str, from: StartFrom) -> (Box<dyn SplitReader>, std::sync::Arc<Bell>) {
    let (bell, wake) = bell();
    (source.open(&SplitKey(split.into()), from, wake).unwrap(), bell)
}

fn source(broker: &EmbeddedBroker, more: &[(&str, &str)]) -> KafkaSource {
    let mut given = vec![("topic", "t")];
    given.extend_from_slice(more);
    KafkaSource::create(SourceOptions::read("src", &options(broker, &given)).unwrap()).unwrap()
}

fn payloads(kept: &Kept) -> Vec<Vec<u8>> {
    kept.0.iter().map(|(_, _, payload)| payload.clone()).collect()
}

fn broker(partitions: i32) -> EmbeddedBroker {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("t", partitions).unwrap();
    broker
}

#[test]
fn each_partition_is_a_split_and_is_read_in_order() {
    let broker = broker(3);
    let mut source = source(&broker, &[]);
    let splits: Vec<String> = source.splits().unwrap().into_iter().map(|split| split.0).collect();
    assert_eq!(splits, ["t/0", "t/1", "t/2"]);
    for partition in 0..3 {
        produce(&broker, "t", partition, 0..100);
    }
    for split in &splits {
        let (mut reader, bell) = open(&mut source, split, StartFrom::Option);
        let kept = read(&mut *reader, &bell, 100);
        assert_eq!(payloads(&kept), numbers(0..100));
        assert_eq!(kept.0.iter().map(|record| record.0).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
        assert_eq!(kept.0[8].1.as_deref(), Some(&b"k1"[..]));
        assert_eq!(reader.position().offset(), Some(100));
    }
}

#[test]
fn a_reader_opened_at_a_position_delivers_exactly_what_follows() {
    let broker = broker(1);
    produce(&broker, "t", 0, 0..5000);
    let mut source = source(&broker, &[]);
    let (mut reader, bell) = open(&mut source, "t/0", StartFrom::Option);
    let mut all = Kept::default();
    while all.0.len() < 5000 {
        let target = all.0.len() + 700;
        read_until(&mut *reader, &bell, &mut all, |kept, _| kept.0.len() >= target.min(5000)).unwrap();
        let position = reader.position();
        drop(reader);
        let again = source.open(&SplitKey("t/0".into()), StartFrom::Position(position), bell.clone()).unwrap();
        reader = again;
    }
    assert_eq!(payloads(&all), numbers(0..5000), "nothing lost, nothing twice over the restarts");
}

#[test]
fn two_readers_of_one_partition_keep_their_own_places() {
    let broker = broker(1);
    produce(&broker, "t", 0, 0..300);
    let mut source = source(&broker, &[]);
    let (mut slow, slow_bell) = open(&mut source, "t/0", StartFrom::Beginning);
    let (mut fast, fast_bell) = open(&mut source, "t/0", StartFrom::Position(Position::from_offset(200)));
    assert_eq!(payloads(&read(&mut *fast, &fast_bell, 100)), numbers(200..300));
    assert_eq!(payloads(&read(&mut *slow, &slow_bell, 300)), numbers(0..300));
}

#[test]
fn caught_up_is_said_at_the_end_only_and_new_records_wake_the_reader() {
    let broker = broker(1);
    produce(&broker, "t", 0, 0..10);
    let mut source = source(&broker, &[]);
    let (mut reader, bell) = open(&mut source, "t/0", StartFrom::Option);
    let mut kept = Kept::default();
    let end = |_: &Kept, polled| polled == Polled::Pending { caught_up: true };
    read_until(&mut *reader, &bell, &mut kept, |kept, polled| {
        assert!(kept.0.len() == 10 || !end(kept, polled), "not caught up before the end");
        end(kept, polled)
    })
    .unwrap();
    assert_eq!((kept.0.len(), reader.lag()), (10, Some(0)));
    produce(&broker, "t", 0, 10..20);
    read_until(&mut *reader, &bell, &mut kept, |kept, _| kept.0.len() == 20).unwrap();
    assert_eq!(payloads(&kept), numbers(0..20));
}

#[test]
fn latest_begins_behind_what_is_there() {
    let broker = broker(1);
    produce(&broker, "t", 0, 0..10);
    let mut source = source(&broker, &[("start", "latest")]);
    let (mut reader, bell) = open(&mut source, "t/0", StartFrom::Option);
    produce(&broker, "t", 0, 10..15);
    assert_eq!(payloads(&read(&mut *reader, &bell, 5)), numbers(10..15));
}

#[test]
fn a_position_that_the_broker_does_not_have_is_lost_never_a_jump() {
    let broker = broker(1);
    produce(&broker, "t", 0, 0..10);
    let mut source = source(&broker, &[]);
    let (_, wake) = bell();
    let from = StartFrom::Position(Position::from_offset(11));
    let error = source.open(&SplitKey("t/0".into()), from, wake).err().unwrap();
    assert_eq!((error.fault, error.code), (Fault::Lost, "LDB-6104"));
    for words in
        ["topic \"t\", partition 0", "offset 11 is the next to read and is gone", "has 0 to 10", "drop the source"]
    {
        assert!(error.message.contains(words), "{words}: {error}");
    }
}

#[test]
fn records_dropped_by_retention_are_lost_when_their_reader_comes_back() {
    let broker = broker(1);
    // The embedded broker keeps about 5 MB of a partition.
    produce_padded(&broker, "t", 8000, 1024);
    let mut source = source(&broker, &[]);
    let (_, wake) = bell();
    let from = StartFrom::Position(Position::from_offset(5));
    let error = source.open(&SplitKey("t/0".into()), from, wake).err().unwrap();
    assert_eq!(error.fault, Fault::Lost, "{error}");
    let (mut reader, bell) = open(&mut source, "t/0", StartFrom::Beginning);
    let first = reader.position().offset().unwrap();
    assert!(first > 5);
    assert_eq!(read(&mut *reader, &bell, 1).0[0].0, first);
}

struct Overtaken {
    broker: EmbeddedBroker,
    source: KafkaSource,
    reader: Box<dyn SplitReader>,
    bell: std::sync::Arc<Bell>,
    kept: Kept,
}

/// A reader that has begun when retention takes away what comes next: the embedded broker keeps about 5 MB of a partition.
fn overtaken() -> Overtaken {
    let broker = broker(1);
    produce_padded(&broker, "t", 200, 1024);
    let mut source = source(&broker, &[("queued.min.messages", "1"), ("queued.max.messages.kbytes", "16")]);
    let (mut reader, bell) = open(&mut source, "t/0", StartFrom::Option);
    let mut kept = Kept::default();
    reader.poll(super::budget(1), &mut kept).unwrap();
    produce_padded(&broker, "t", 12_000, 1024);
    Overtaken { broker, source, reader, bell, kept }
}

#[test]
fn a_reader_that_retention_overtakes_stops_with_what_the_broker_has_and_delivers_no_gap() {
    let Overtaken { broker: _broker, mut source, mut reader, bell, mut kept } = overtaken();
    let error = read_until(&mut *reader, &bell, &mut kept, |_, _| false).unwrap_err();
    assert_eq!((error.fault, error.code), (Fault::Lost, "LDB-6104"), "{error}");
    let next = reader.position().offset().unwrap();
    assert_eq!(kept.0.iter().map(|record| record.0).collect::<Vec<_>>(), (0..next).collect::<Vec<_>>());
    let (mut left, _) = open(&mut source, "t/0", StartFrom::Beginning);
    let oldest = left.position().offset().unwrap();
    assert!(oldest > next && error.message.contains(&format!("offset {next} is the next to read")), "{error}");
    assert!(error.message.contains(&format!("the broker has {oldest} to 12200")), "{oldest}: {error}");
    assert!(left.poll(super::budget(1), &mut kept).is_ok());
    assert!(reader.poll(super::budget(1), &mut kept).is_err(), "it stays stopped");
}

#[test]
fn a_lost_place_of_which_the_broker_says_nothing_is_an_error_until_it_does() {
    let Overtaken { broker, source: _source, mut reader, bell, mut kept } = overtaken();
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    broker.fail_next(RDKafkaApiKey::ListOffsets, &[refused; 4]).unwrap();
    let error = read_until(&mut *reader, &bell, &mut kept, |_, _| false).unwrap_err();
    assert_eq!((error.fault, error.code), (Fault::User, "LDB-6105"), "{error}");
    assert!(error.message.contains("refuses access to t "), "{error}");
    let deadline = Instant::now() + PATIENCE;
    let error = loop {
        match read_until(&mut *reader, &bell, &mut kept, |_, _| false).unwrap_err() {
            error if error.code == "LDB-6105" => assert!(Instant::now() < deadline, "{error}"),
            error => break error,
        }
    };
    assert_eq!((error.fault, error.code), (Fault::Lost, "LDB-6104"), "{error}");
    assert!(error.message.contains("to 12200"), "{error}");
}

#[test]
fn a_broker_that_goes_away_is_reported_and_reading_resumes_by_itself() {
    let broker = broker(1);
    produce(&broker, "t", 0, 0..100);
    let mut source = source(&broker, &[]);
    let (mut reader, bell) = open(&mut source, "t/0", StartFrom::Option);
    let mut kept = Kept::default();
    read_until(&mut *reader, &bell, &mut kept, |_, polled| polled == Polled::Pending { caught_up: true }).unwrap();
    broker.go_down().unwrap();
    let error = read_until(&mut *reader, &bell, &mut kept, |_, _| false).unwrap_err();
    assert_eq!((error.fault, error.code), (Fault::External, "LDB-6102"));
    assert!(error.message.contains("cannot be reached"), "{error}");
    assert!(reader.poll(super::budget(10), &mut kept).is_err(), "as long as the broker is away, the state says so");
    broker.come_up().unwrap();
    produce(&broker, "t", 0, 100..200);
    let deadline = Instant::now() + PATIENCE;
    // An error that was under way when the broker came back may still arrive between records.
    while kept.0.len() < 200 {
        let seen = bell.rings();
        // As the engine: polled again after a pause or a wake.
        if !matches!(reader.poll(super::budget(10), &mut kept), Ok(Polled::Ready)) {
            bell.wait_beyond(seen);
        }
        assert!(Instant::now() < deadline, "reading does not resume");
    }
    assert_eq!(payloads(&kept), numbers(0..200));
}

#[test]
fn a_broker_that_is_away_at_the_start_is_an_external_error_that_names_it() {
    let mut given = options(&EmbeddedBroker::start().unwrap(), &[("topic", "t"), ("socket.timeout.ms", "1000")]);
    // The broker above has ended; its port refuses.
    given.insert("reconnect.backoff.ms".into(), "100".into());
    let mut source = KafkaSource::create(SourceOptions::read("src", &given).unwrap()).unwrap();
    let error = source.splits().unwrap_err();
    assert_eq!(error.fault, Fault::External);
    assert!(error.message.contains(&given["bootstrap.servers"]), "{error}");
}

#[test]
fn a_checkpoint_is_told_to_the_group_of_the_source() {
    let broker = broker(1);
    produce(&broker, "t", 0, 0..50);
    let mut source = source(&broker, &[]);
    let (mut reader, bell) = open(&mut source, "t/0", StartFrom::Option);
    read(&mut *reader, &bell, 50);
    reader.checkpointed(&Position::from_offset(42));
    let group: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .set("group.id", "laminardb-src")
        .create()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut asked = TopicPartitionList::new();
        asked.add_partition("t", 0);
        let told = group.committed_offsets(asked, Duration::from_secs(5)).unwrap();
        if told.find_partition("t", 0).unwrap().offset() == Offset::Offset(42) {
            break;
        }
        assert!(Instant::now() < deadline, "the commit does not arrive");
    }
}

#[test]
fn two_hundred_thousand_records_of_four_partitions_arrive_once_in_order() {
    let broker = broker(4);
    for partition in 0..4 {
        produce(&broker, "t", partition, 0..50_000);
    }
    let mut source = source(&broker, &[]);
    let mut readers: Vec<_> =
        (0..4).map(|partition| open(&mut source, &format!("t/{partition}"), StartFrom::Option)).collect();
    let began = Instant::now();
    for (reader, bell) in &mut readers {
        let kept = read(&mut **reader, bell, 50_000);
        assert_eq!(payloads(&kept), numbers(0..50_000));
    }
    println!("200000 records in {:?}", began.elapsed());
}

#[test]
fn the_word_embedded_stands_for_one_broker_of_the_process_where_it_is_allowed() {
    let given = std::collections::BTreeMap::from([("brokers".to_string(), "embedded".to_string())]);
    let refused = Bootstrap::real_only().resolve("embedded", &["t".into()], &given).unwrap_err();
    assert!(refused.to_string().contains("[kafka]"), "{refused}");
    let allowed = Bootstrap::or_embedded();
    let first = allowed.resolve("embedded", &["t".into()], &given).unwrap();
    assert_ne!(first["brokers"], "embedded");
    assert_eq!(allowed.clone().resolve("embedded", &["t".into(), "u".into()], &given).unwrap(), first);
}

#[test]
fn the_source_keeps_the_contract_of_all_sources() {
    let broker = broker(2);
    produce(&broker, "t", 0, 0..40);
    produce(&broker, "t", 1, 0..25);
    contract::source(&mut || Box::new(source(&broker, &[])), &[40, 25], false);
}
