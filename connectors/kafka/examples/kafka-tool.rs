//! What the end-to-end tests need of Kafka, on the command line.
//!
//! ```text
//! kafka-tool create-topic ADDRESS TOPIC PARTITIONS
//! kafka-tool produce ADDRESS TOPIC          stdin: partition TAB key TAB value; a partition of - lets the key choose
//! kafka-tool consume ADDRESS TOPIC          all committed records: partition TAB offset TAB key TAB value
//! kafka-tool consume-all ADDRESS TOPIC      the same with records of transactions that were aborted or are open
//! kafka-tool open-transactions ADDRESS TOPIC  in how many partitions a transaction is open
//! ```
//!
//! Not part of the product: it shares no code with the connector, so that it can judge it.

use std::io::{BufRead, BufWriter, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

type Failure = Box<dyn std::error::Error>;

/// A broker that has just started answers within this time.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["create-topic", address, topic, partitions] => create_topic(address, topic, partitions),
        ["produce", address, topic] => produce(address, topic),
        ["consume", address, topic] => consume(address, topic, "read_committed"),
        ["consume-all", address, topic] => consume(address, topic, "read_uncommitted"),
        ["open-transactions", address, topic] => open_transactions(address, topic),
        _ => Err(
            "usage: kafka-tool create-topic|produce|consume|consume-all|open-transactions ADDRESS TOPIC [PARTITIONS]"
                .into(),
        ),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kafka-tool: {error}");
            ExitCode::FAILURE
        }
    }
}

fn client(address: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address);
    config
}

fn create_topic(address: &str, topic: &str, partitions: &str) -> Result<(), Failure> {
    let admin: AdminClient<DefaultClientContext> = client(address).create()?;
    let wanted = NewTopic::new(topic, partitions.parse()?, TopicReplication::Fixed(1));
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
    for answer in futures::executor::block_on(admin.create_topics([&wanted], &options))? {
        match answer {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => return Err(format!("topic {name}: {code}").into()),
        }
    }
    Ok(())
}

fn produce(address: &str, topic: &str) -> Result<(), Failure> {
    let producer: BaseProducer = client(address).set("linger.ms", "5").set("enable.idempotence", "true").create()?;
    let mut count = 0_u64;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut fields = line.splitn(3, '\t');
        let (Some(partition), Some(key), Some(value)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(format!("line {} is not partition TAB key TAB value", count + 1).into());
        };
        let mut record = BaseRecord::to(topic).key(key).payload(value);
        if partition != "-" {
            record = record.partition(partition.parse()?);
        }
        loop {
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    producer.poll(Duration::from_millis(10));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
        count += 1;
        if count.is_multiple_of(1000) {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(PATIENCE)?;
    println!("{count}");
    Ok(())
}

fn reader(address: &str, isolation: &str) -> Result<BaseConsumer, Failure> {
    let mut config = client(address);
    config.set("group.id", "kafka-tool").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    Ok(config.set("isolation.level", isolation).create()?)
}

/// Asks again for a while: a broker that has just started has no leaders yet, and not every client knows yet all
/// partitions of a topic that was just made.
fn patiently<T>(mut ask: impl FnMut() -> Result<T, KafkaError>) -> Result<T, KafkaError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
            answer => return answer,
        }
    }
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<Vec<i32>, Failure> {
    let metadata = patiently(|| consumer.fetch_metadata(Some(topic), PATIENCE))?;
    Ok(metadata.topics().iter().flat_map(|t| t.partitions()).map(|partition| partition.id()).collect())
}

/// A partition with an open transaction ends earlier for a reader of committed records.
fn open_transactions(address: &str, topic: &str) -> Result<(), Failure> {
    let (committed, all) = (reader(address, "read_committed")?, reader(address, "read_uncommitted")?);
    let mut open = 0;
    for partition in partitions(&all, topic)? {
        let (_, stable) = patiently(|| committed.fetch_watermarks(topic, partition, PATIENCE))?;
        let (_, end) = patiently(|| all.fetch_watermarks(topic, partition, PATIENCE))?;
        open += u32::from(stable < end);
    }
    println!("{open}");
    Ok(())
}

fn consume(address: &str, topic: &str, isolation: &str) -> Result<(), Failure> {
    let consumer = reader(address, isolation)?;
    let partitions = partitions(&consumer, topic)?;
    let mut all = TopicPartitionList::new();
    for partition in &partitions {
        all.add_partition_offset(topic, *partition, Offset::Beginning)?;
    }
    consumer.assign(&all)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut ended = 0;
    let deadline = Instant::now() + 5 * PATIENCE;
    while ended < partitions.len() {
        if Instant::now() > deadline {
            return Err("the end of the topic was not reached".into());
        }
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(message)) => {
                write!(out, "{}\t{}\t", message.partition(), message.offset())?;
                out.write_all(message.key().unwrap_or_default())?;
                out.write_all(b"\t")?;
                out.write_all(message.payload().unwrap_or_default())?;
                out.write_all(b"\n")?;
            }
        }
    }
    out.flush()?;
    Ok(())
}
