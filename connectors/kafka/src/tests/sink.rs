//! Claims about the sink.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use laminar_connector_kit::contract::{self, NEWEST};
use laminar_core::connector::{Applier, Fault, Frame, FrameRecord, Polled, Readiness, Source, SplitKey, StartFrom};
use laminar_core::ids::ShardId;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::{PATIENCE, bell, options, read};
use crate::options::{SinkOptions, SourceOptions};
use crate::{EmbeddedBroker, KafkaApplier, KafkaSource};

fn applier(broker: &EmbeddedBroker, more: &[(&str, &str)]) -> KafkaApplier {
    let mut given = vec![("topic", "out")];
    given.extend_from_slice(more);
    KafkaApplier::new(SinkOptions::read("sink", &options(broker, &given)).unwrap())
}

fn frame(shard: u16, sequence: u64, records: usize) -> Arc<Frame> {
    let record = |index: usize| FrameRecord {
        key: Some(format!("{shard}-{}", index % 5).into_bytes()),
        value: Some(format!("{:08}", sequence as usize * records + index).into_bytes()),
        timestamp_ms: Some(1),
    };
    Arc::new(Frame { shard: ShardId(shard), sequence, records: (0..records).map(record).collect() })
}

/// Offers frames as the engine does until all are acknowledged; returns how often the sink was busy.
fn send_all(applier: &mut KafkaApplier, frames: &[Arc<Frame>]) -> usize {
    let deadline = Instant::now() + PATIENCE;
    let mut newest: BTreeMap<ShardId, u64> = BTreeMap::new();
    let mut news = Vec::new();
    let mut busy = 0;
    for frame in frames {
        while applier.send(frame).unwrap() == Readiness::Busy {
            busy += 1;
            applier.acknowledged(Duration::from_millis(100), &mut news).unwrap();
            assert!(Instant::now() < deadline, "the sink stays busy");
        }
    }
    let last: BTreeMap<ShardId, u64> = frames.iter().map(|frame| (frame.shard, frame.sequence)).collect();
    while newest != last {
        applier.acknowledged(Duration::from_millis(100), &mut news).unwrap();
        for (shard, sequence) in news.drain(..) {
            assert!(newest.insert(shard, sequence).is_none_or(|before| before < sequence), "prefixes only grow");
        }
        assert!(Instant::now() < deadline, "frames are not acknowledged: {newest:?} of {last:?}");
    }
    busy
}

/// All values of the topic by key, in the order of their partition.
pub fn written(broker: &EmbeddedBroker, count: usize) -> BTreeMap<Vec<u8>, Vec<Vec<u8>>> {
    let mut source =
        KafkaSource::create(SourceOptions::read("check", &options(broker, &[("topic", "out")])).unwrap()).unwrap();
    let mut by_key: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    let mut total = 0;
    for split in source.splits().unwrap() {
        let (bell, wake) = bell();
        let mut reader = source.open(&SplitKey(split.0), StartFrom::Beginning, wake).unwrap();
        let mut kept = super::Kept::default();
        super::read_until(&mut *reader, &bell, &mut kept, |_, polled| polled == Polled::Pending { caught_up: true })
            .unwrap();
        total += kept.0.len();
        for (_, key, value) in kept.0 {
            by_key.entry(key.unwrap()).or_default().push(value);
        }
    }
    assert_eq!(total, count);
    by_key
}

fn broker() -> EmbeddedBroker {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("out", 4).unwrap();
    broker
}

fn sorted(values: &[Vec<u8>]) -> bool {
    values.is_sorted()
}

#[test]
fn frames_are_acknowledged_as_prefixes_and_keys_keep_their_order() {
    let broker = broker();
    let mut applier = applier(&broker, &[]);
    assert_eq!(applier.start(NEWEST).unwrap(), None);
    let frames: Vec<Arc<Frame>> =
        (0..40).flat_map(|sequence| (0..2).map(move |shard| frame(shard, sequence, 500))).collect();
    send_all(&mut applier, &frames);
    let written = written(&broker, 40_000);
    assert_eq!(written.len(), 10);
    assert!(written.values().all(|values| values.len() == 4000 && sorted(values)));
}

#[test]
fn a_full_queue_is_busy_and_the_rest_of_a_frame_follows_once() {
    let broker = broker();
    let mut applier = applier(&broker, &[("queue.buffering.max.messages", "300")]);
    applier.start(NEWEST).unwrap();
    let frames: Vec<Arc<Frame>> = (0..10).map(|sequence| frame(0, sequence, 500)).collect();
    assert!(send_all(&mut applier, &frames) > 0, "frames larger than the queue meet its bound");
    assert!(written(&broker, 5000).values().all(|values| sorted(values)));
}

#[test]
fn errors_that_pass_are_retried_without_loss_duplicate_or_disorder() {
    let broker = broker();
    let mut applier = applier(&broker, &[("retry.backoff.ms", "10")]);
    applier.start(NEWEST).unwrap();
    let errors = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
    ];
    broker.fail_next(RDKafkaApiKey::Produce, &errors).unwrap();
    let frames: Vec<Arc<Frame>> = (0..20).map(|sequence| frame(0, sequence, 100)).collect();
    send_all(&mut applier, &frames);
    assert!(written(&broker, 2000).values().all(|values| sorted(values)));
}

#[test]
fn a_record_refused_for_good_is_an_error_of_the_user_and_a_new_start_goes_on() {
    let broker = broker();
    let mut applier = applier(&broker, &[]);
    applier.start(NEWEST).unwrap();
    broker.fail_next(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD; 1]).unwrap();
    assert_eq!(applier.send(&frame(0, 0, 1)).unwrap(), Readiness::Accepted);
    let error = applier.acknowledged(PATIENCE, &mut Vec::new()).unwrap_err();
    assert_eq!((error.fault, error.code), (Fault::User, "LDB-6106"), "{error}");
    assert!(applier.send(&frame(0, 1, 1)).is_err(), "nothing is sent behind a refused record");
    applier.start(NEWEST).unwrap();
    send_all(&mut applier, &[frame(0, 0, 1), frame(0, 1, 1)]);
}

#[test]
fn a_broker_that_goes_away_delays_and_loses_nothing() {
    let broker = broker();
    let mut applier = applier(&broker, &[]);
    applier.start(NEWEST).unwrap();
    send_all(&mut applier, &[frame(0, 0, 100)]);
    broker.go_down().unwrap();
    assert_eq!(applier.send(&frame(0, 1, 100)).unwrap(), Readiness::Accepted);
    let mut news = Vec::new();
    applier.acknowledged(Duration::from_millis(300), &mut news).unwrap();
    assert_eq!(news, [], "nothing is safe while the broker is away");
    broker.come_up().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while news.is_empty() {
        applier.acknowledged(Duration::from_millis(200), &mut news).unwrap();
        assert!(Instant::now() < deadline);
    }
    assert_eq!(news, [(ShardId(0), 1)]);
    assert!(written(&broker, 200).values().all(|values| sorted(values)));
}

#[test]
fn a_broker_that_is_away_at_the_start_is_an_external_error() {
    let given = options(&EmbeddedBroker::start().unwrap(), &[("topic", "out")]);
    let mut applier = KafkaApplier::new(SinkOptions::read("sink", &given).unwrap());
    let error = applier.start(NEWEST).unwrap_err();
    assert_eq!(error.fault, Fault::External);
    assert!(error.message.contains(&given["bootstrap.servers"]), "{error}");
    assert!(applier.send(&frame(0, 0, 1)).is_err());
}

#[test]
fn a_delete_is_a_record_without_value() {
    let broker = broker();
    let mut applier = applier(&broker, &[]);
    applier.start(NEWEST).unwrap();
    let record = FrameRecord { key: Some(b"gone".to_vec()), value: None, timestamp_ms: None };
    send_all(&mut applier, &[Arc::new(Frame { shard: ShardId(0), sequence: 0, records: vec![record] })]);
    assert_eq!(written(&broker, 1)[&b"gone".to_vec()], [Vec::<u8>::new()]);
}

#[test]
fn keys_go_where_java_producers_put_them() {
    // Murmur2 of "key" modulo 4 is the partition that Kafka's Java client takes for it.
    let broker = broker();
    let mut applier = applier(&broker, &[]);
    applier.start(NEWEST).unwrap();
    let record = FrameRecord { key: Some(b"key".to_vec()), value: Some(b"v".to_vec()), timestamp_ms: None };
    send_all(&mut applier, &[Arc::new(Frame { shard: ShardId(0), sequence: 0, records: vec![record] })]);
    let mut source =
        KafkaSource::create(SourceOptions::read("check", &options(&broker, &[("topic", "out")])).unwrap()).unwrap();
    let (bell, wake) = bell();
    let partition = murmur2(b"key") % 4;
    let mut reader = source.open(&SplitKey(format!("out/{partition}")), StartFrom::Beginning, wake).unwrap();
    assert_eq!(read(&mut *reader, &bell, 1).0[0].1.as_deref(), Some(&b"key"[..]));
}

/// Kafka's murmur2 for keys shorter than four bytes, made positive.
fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    assert!(key.len() < 4);
    let mut hash = 0x9747_b28c ^ key.len() as u32;
    for (place, byte) in key.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * place);
    }
    hash = hash.wrapping_mul(M);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    (hash ^ (hash >> 15)) & 0x7fff_ffff
}

#[test]
fn the_sink_keeps_the_contract_of_all_sinks() {
    let broker = EmbeddedBroker::start().unwrap();
    // One partition, so that the order of records without a key can be judged.
    broker.create_topic("out", 1).unwrap();
    contract::sink(&mut || Box::new(applier(&broker, &[])), &mut || {
        let given = options(&broker, &[("topic", "out")]);
        let mut source = KafkaSource::create(SourceOptions::read("check", &given).unwrap()).unwrap();
        let (bell, wake) = bell();
        let mut reader = source.open(&SplitKey("out/0".into()), StartFrom::Beginning, wake).unwrap();
        let mut kept = super::Kept::default();
        super::read_until(&mut *reader, &bell, &mut kept, |_, polled| polled == Polled::Pending { caught_up: true })
            .unwrap();
        Some(kept.0.into_iter().map(|(_, key, value)| (key, Some(value))).collect())
    });
}
