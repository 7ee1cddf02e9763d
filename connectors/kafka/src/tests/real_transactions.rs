//! Claims about exactly-once delivery that only a real Kafka can show.
//!
//! They need `LAMINAR_TEST_KAFKA` as those of `real` do.

use std::time::{Duration, Instant};

use laminar_connector_kit::contract::{self, NEWEST};
use laminar_core::connector::{Applier, Fault, Polled, Source, SplitKey, StartFrom};
use laminar_core::ids::CheckpointNumber;
use rdkafka::admin::{AdminOptions, ResourceSpecifier};
use rdkafka::producer::{BaseRecord, Producer};

use super::real::{admin, fresh, options, producer, source, topic, values};
use super::transactions::{frames, identity};
use super::{Kept, PATIENCE, bell, read_until};
use crate::KafkaTransactions;
use crate::options::SinkOptions;

fn applier(topic: &str, progress: &str, more: &[(&str, &str)]) -> KafkaTransactions {
    let all: Vec<(&str, &str)> = [("progress.topic", progress)].iter().chain(more).copied().collect();
    KafkaTransactions::new(SinkOptions::read("real", &options(topic, &all)).unwrap(), identity(nonce(progress), 3))
}

/// Another writer for each run, since a broker may outlive it.
fn nonce(progress: &str) -> u64 {
    progress.rsplit('-').next().unwrap().parse().unwrap()
}

/// What a reader of committed rows sees in partition 0.
fn committed(topic: &str) -> Vec<String> {
    let (bell, wake) = bell();
    let mut source = source(topic, &[]);
    let mut reader = source.open(&SplitKey(format!("{topic}/0")), StartFrom::Beginning, wake).unwrap();
    let mut kept = Kept::default();
    read_until(&mut *reader, &bell, &mut kept, |_, polled| polled == Polled::Pending { caught_up: true }).unwrap();
    values(&kept)
}

fn expected(checkpoints: &[u64], records: usize) -> Vec<String> {
    let values = |checkpoint: &u64| {
        let frames = frames(*checkpoint, records);
        let records: Vec<_> = frames.iter().flat_map(|frame| frame.records.clone()).collect();
        records.into_iter().map(|record| String::from_utf8(record.value.unwrap()).unwrap()).collect::<Vec<_>>()
    };
    checkpoints.iter().flat_map(values).collect()
}

#[test]
#[ignore = "needs LAMINAR_TEST_KAFKA"]
fn rows_and_marker_of_a_checkpoint_are_committed_together_and_the_topic_of_markers_is_compacted() {
    let (out, progress) = (topic("exact", 1), fresh("progress"));
    let mut first = applier(&out, &progress, &[]);
    assert_eq!(first.start(NEWEST).unwrap(), None);
    for checkpoint in 1..=3 {
        first.commit(CheckpointNumber(checkpoint), &frames(checkpoint, 300)).unwrap();
    }
    drop(first);
    assert_eq!(committed(&out), expected(&[1, 2, 3], 300));
    assert_eq!(applier(&out, &progress, &[]).start(NEWEST).unwrap(), Some(CheckpointNumber(3)));
    let (admin, asked) = (admin(), ResourceSpecifier::Topic(&progress));
    let described = admin.describe_configs([&asked], &AdminOptions::new());
    let described = futures::executor::block_on(described).unwrap().remove(0).unwrap();
    assert_eq!(described.get("cleanup.policy").unwrap().value.as_deref(), Some("compact"));
}

#[test]
#[ignore = "needs LAMINAR_TEST_KAFKA"]
fn contract_holds_exactly_once() {
    let (out, progress) = (topic("contract", 1), fresh("progress"));
    contract::exact_sink(&mut || Box::new(applier(&out, &progress, &[])), &mut || {
        committed(&out).into_iter().map(String::into_bytes).collect()
    });
}

#[test]
#[ignore = "needs LAMINAR_TEST_KAFKA"]
fn a_transaction_whose_writer_died_leaves_neither_rows_nor_marker() {
    let (out, progress) = (topic("died", 1), fresh("progress"));
    let mut first = applier(&out, &progress, &[]);
    first.start(NEWEST).unwrap();
    first.commit(CheckpointNumber(1), &frames(1, 10)).unwrap();
    drop(first);
    // A writer of the same name that stops with everything sent and nothing committed.
    let name = identity(nonce(&progress), 3).to_string();
    let dying = producer(&[("transactional.id", name.as_str())]);
    dying.init_transactions(PATIENCE).unwrap();
    dying.begin_transaction().unwrap();
    for record in frames(2, 10).iter().flat_map(|frame| &frame.records) {
        dying.send(BaseRecord::<[u8], [u8]>::to(&out).payload(record.value.as_deref().unwrap())).unwrap();
    }
    let marker = r#"{"checkpoint":2}"#;
    dying.send(BaseRecord::<str, str>::to(&progress).key(&name).payload(marker)).unwrap();
    dying.flush(PATIENCE).unwrap();
    let mut second = applier(&out, &progress, &[]);
    assert_eq!(second.start(NEWEST).unwrap(), Some(CheckpointNumber(1)), "an aborted marker does not count");
    second.commit(CheckpointNumber(2), &frames(2, 10)).unwrap();
    assert_eq!(committed(&out), expected(&[1, 2], 10));
    drop(dying);
}

#[test]
#[ignore = "needs LAMINAR_TEST_KAFKA"]
fn a_second_life_fences_the_first_on_a_real_broker() {
    let (out, progress) = (topic("fenced", 1), fresh("progress"));
    let mut first = applier(&out, &progress, &[]);
    first.start(NEWEST).unwrap();
    first.commit(CheckpointNumber(1), &frames(1, 10)).unwrap();
    let mut second = applier(&out, &progress, &[]);
    assert_eq!(second.start(NEWEST).unwrap(), Some(CheckpointNumber(1)));
    let error = first.commit(CheckpointNumber(2), &frames(7, 10)).unwrap_err();
    assert_eq!((error.fault, error.code), (Fault::Fenced, "LDB-6111"), "{error}");
    second.commit(CheckpointNumber(2), &frames(2, 10)).unwrap();
    assert_eq!(committed(&out), expected(&[1, 2], 10));
}

#[test]
#[ignore = "needs LAMINAR_TEST_KAFKA"]
fn an_open_transaction_of_another_writer_does_not_hide_a_marker() {
    let (out, progress) = (topic("hidden", 1), topic("progress", 1));
    let other = fresh("other");
    let other = producer(&[("transactional.id", other.as_str())]);
    other.init_transactions(PATIENCE).unwrap();
    let mut first = applier(&out, &progress, &[]);
    first.start(NEWEST).unwrap();
    other.begin_transaction().unwrap();
    other.send(BaseRecord::<str, str>::to(&progress).key("other").payload("{}")).unwrap();
    other.flush(PATIENCE).unwrap();
    // Behind the other's open record: a reader of committed records stops before it.
    first.commit(CheckpointNumber(5), &frames(5, 1)).unwrap();
    drop(first);
    let (send, marker) = std::sync::mpsc::channel();
    let (out2, progress2) = (out.clone(), progress.clone());
    let starting = std::thread::spawn(move || send.send(applier(&out2, &progress2, &[]).start(NEWEST)).unwrap());
    assert!(marker.recv_timeout(Duration::from_secs(2)).is_err(), "it waits for the other's decision");
    other.commit_transaction(PATIENCE).unwrap();
    assert_eq!(marker.recv_timeout(PATIENCE).unwrap().unwrap(), Some(CheckpointNumber(5)));
    starting.join().unwrap();
}

#[test]
#[ignore = "needs LAMINAR_TEST_KAFKA"]
fn an_idle_sink_holds_no_transaction_that_could_time_out() {
    let (out, progress) = (topic("late", 1), fresh("progress"));
    let mut applier = applier(&out, &progress, &[("transaction.timeout.ms", "1000")]);
    applier.start(NEWEST).unwrap();
    applier.commit(CheckpointNumber(1), &frames(1, 1)).unwrap();
    // Idle for longer than a transaction may take: none is open, so nothing is given up.
    let idle = Instant::now();
    while idle.elapsed() < Duration::from_millis(2500) {
        std::thread::park_timeout(Duration::from_millis(100));
    }
    applier.commit(CheckpointNumber(2), &frames(2, 1)).unwrap();
    assert_eq!(committed(&out), expected(&[1, 2], 1));
}
