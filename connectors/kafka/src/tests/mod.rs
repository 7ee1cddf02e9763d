//! Claims about the connector, each against a broker inside the process.

mod options;
mod real;
mod real_transactions;
mod sink;
mod source;
mod transactions;

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use laminar_core::connector::options::Options;
use laminar_core::connector::{Budget, ConnectorError, Ingest, Polled, RawRecord, SplitReader, Wake};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::EmbeddedBroker;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(30);

fn budget(records: usize) -> Budget {
    Budget { records, bytes: 1 << 20, now_us: 0 }
}

fn options(broker: &EmbeddedBroker, more: &[(&str, &str)]) -> Options {
    let mut options: Options = more.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    options.insert("bootstrap.servers".into(), broker.bootstrap().into());
    options
}

/// Counts calls; a test waits for the next one.
#[derive(Default)]
struct Bell {
    rings: Mutex<u64>,
    rung: Condvar,
}

impl Wake for Bell {
    fn wake(&self) {
        *self.rings.lock().unwrap() += 1;
        self.rung.notify_all();
    }
}

impl Bell {
    fn rings(&self) -> u64 {
        *self.rings.lock().unwrap()
    }

    fn wait_beyond(&self, seen: u64) {
        let rings = self.rings.lock().unwrap();
        let (_rings, late) = self.rung.wait_timeout_while(rings, PATIENCE, |rings| *rings <= seen).unwrap();
        assert!(!late.timed_out(), "a pending reader was not woken");
    }
}

/// Keeps (offset, key, payload).
#[derive(Default)]
struct Kept(Vec<(u64, Option<Vec<u8>>, Vec<u8>)>);

impl Ingest for Kept {
    fn record(&mut self, record: RawRecord<'_>) {
        self.0.push((record.offset, record.key.map(<[u8]>::to_vec), record.payload.to_vec()));
    }

    fn rows(&mut self, _: arrow::array::RecordBatch, _: u64) {
        panic!("kafka brings records");
    }
}

/// Reads until `until` holds, as a reactor would: after Pending only a wake leads to the next poll.
fn read_until(
    reader: &mut dyn SplitReader,
    bell: &Bell,
    kept: &mut Kept,
    mut until: impl FnMut(&Kept, Polled) -> bool,
) -> Result<(), ConnectorError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "the reader does not get there, {} records so far", kept.0.len());
        let seen = bell.rings();
        let polled = reader.poll(budget(1000), kept)?;
        if until(kept, polled) {
            return Ok(());
        }
        if matches!(polled, Polled::Pending { .. }) {
            bell.wait_beyond(seen);
        }
    }
}

fn read(reader: &mut dyn SplitReader, bell: &Bell, count: usize) -> Kept {
    let mut kept = Kept::default();
    read_until(reader, bell, &mut kept, |kept, _| kept.0.len() >= count).unwrap();
    kept
}

/// Writes payloads `0..count` with the given prefix to one partition.
fn produce(broker: &EmbeddedBroker, topic: &str, partition: i32, range: std::ops::Range<usize>) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", broker.bootstrap()).set("linger.ms", "1").create().unwrap();
    for number in range {
        let (key, payload) = (format!("k{}", number % 7), format!("{{\"n\":{number}}}"));
        loop {
            let record = BaseRecord::to(topic).partition(partition).key(&key).payload(&payload);
            if producer.send(record).is_ok() {
                break;
            }
            producer.poll(Duration::from_millis(5));
        }
    }
    producer.flush(PATIENCE).unwrap();
}

/// Writes so many payloads of so many bytes to partition 0.
fn produce_padded(broker: &EmbeddedBroker, topic: &str, count: usize, bytes: usize) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", broker.bootstrap()).create().unwrap();
    let payload = vec![b'x'; bytes];
    for _ in 0..count {
        producer.send(BaseRecord::<(), _>::to(topic).partition(0).payload(&payload)).unwrap();
        producer.poll(Duration::ZERO);
    }
    producer.flush(PATIENCE).unwrap();
}

fn numbers(range: std::ops::Range<usize>) -> Vec<Vec<u8>> {
    range.map(|number| format!("{{\"n\":{number}}}").into_bytes()).collect()
}

fn bell() -> (Arc<Bell>, Arc<dyn Wake>) {
    let bell = Arc::new(Bell::default());
    (bell.clone(), bell)
}
