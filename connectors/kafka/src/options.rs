//! The options of Kafka sources and sinks, declared once, and the librdkafka settings they make.

use std::sync::LazyLock;
use std::time::Duration;

use laminar_core::connector::options::{OptionKind, OptionSpec, Options};
use rdkafka::ClientConfig;

use crate::error::Trouble;
use crate::properties;
use crate::reading::{Given, duration, required, resolve};

const fn spec(name: &'static str, aliases: &'static [&'static str], kind: OptionKind, doc: &'static str) -> OptionSpec {
    OptionSpec { name, aliases, kind, default: None, required: false, secret: false, doc }
}

const SERVERS: OptionSpec = OptionSpec {
    required: true,
    ..spec(
        "bootstrap.servers",
        &["properties.bootstrap.servers", "properties.bootstrap.server", "bootstrap_servers", "brokers"],
        OptionKind::Text,
        "Brokers to ask first, host:port with commas between.",
    )
};

const SECURITY: OptionSpec = spec(
    "security.protocol",
    &["properties.security.protocol"],
    OptionKind::Text,
    "plaintext, the only one that this build has.",
);

/// What a source takes.
pub static SOURCE: LazyLock<Vec<OptionSpec>> = LazyLock::new(|| {
    let own = [
        OptionSpec {
            required: true,
            ..spec("topic", &["topics", "kafka.topic"], OptionKind::Text, "Topic, or topics with commas between.")
        },
        SERVERS,
        SECURITY,
        OptionSpec {
            default: Some("earliest"),
            ..spec(
                "start",
                &["scan.startup.mode", "auto.offset.reset", "properties.auto.offset.reset", "start_offset"],
                OptionKind::Choice(&["earliest", "latest", "timestamp", "earliest-offset", "latest-offset"]),
                "Where a source without a checkpoint begins.",
            )
        },
        spec(
            "start.timestamp",
            &["scan.startup.timestamp-millis", "scan.startup.timestamp.millis"],
            OptionKind::Integer,
            "With start = timestamp: milliseconds since 1970 UTC of the first record to read.",
        ),
        spec(
            "group.id",
            &["properties.group.id", "group_id"],
            OptionKind::Text,
            "Group under which progress is told to the broker; default laminardb-<source>.",
        ),
        OptionSpec {
            default: Some("30 s"),
            ..spec(
                "partition.discovery.interval",
                &["scan.topic-partition-discovery.interval"],
                OptionKind::Duration,
                "How often new partitions are looked for; 0 s = never.",
            )
        },
    ];
    own.into_iter().chain(properties::COMMON.iter().copied()).chain(properties::CONSUMER.iter().copied()).collect()
});

/// What a sink takes.
pub static SINK: LazyLock<Vec<OptionSpec>> = LazyLock::new(|| {
    let own = [
        OptionSpec { required: true, ..spec("topic", &["kafka.topic"], OptionKind::Text, "Topic that is written.") },
        SERVERS,
        SECURITY,
        OptionSpec {
            default: Some("write"),
            ..spec(
                "timestamp",
                &[],
                OptionKind::Choice(&["write", "event"]),
                "Timestamp of the records: the time of writing, or the event time (which the topic's retention and \
                 limits then judge).",
            )
        },
    ];
    own.into_iter().chain(properties::COMMON.iter().copied()).chain(properties::PRODUCER.iter().copied()).collect()
});

/// Where a source without a checkpoint begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record.
    Earliest,
    /// Behind the newest record.
    Latest,
    /// At the first record of this time or later, in milliseconds since 1970 UTC.
    Timestamp(i64),
}

/// A source's options, read.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// Topics in the order given.
    pub topics: Vec<String>,
    /// `bootstrap.servers`.
    pub servers: String,
    /// Where to begin.
    pub start: Start,
    /// Time between two looks for partitions; none = only at start.
    pub discovery: Option<Duration>,
    /// For librdkafka.
    pub config: ClientConfig,
}

/// Which timestamp the written records carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// The time of writing.
    Write,
    /// The event time.
    Event,
}

/// A sink's options, read.
#[derive(Clone, Debug)]
pub struct SinkOptions {
    /// The topic.
    pub topic: String,
    /// `bootstrap.servers`.
    pub servers: String,
    /// Timestamp of records.
    pub stamp: Stamp,
    /// For librdkafka.
    pub config: ClientConfig,
}

impl SourceOptions {
    /// Reads and checks the options of the source called `source`.
    ///
    /// # Errors
    /// An option is unknown, missing, wrong or refused.
    pub fn read(source: &str, options: &Options) -> Result<Self, Trouble> {
        let given = resolve(&SOURCE, options)?;
        let topics: Vec<String> = required(&given, "topic")?.split(',').map(|t| t.trim().to_string()).collect();
        for topic in &topics {
            check_topic(topic)?;
        }
        let servers = required(&given, "bootstrap.servers")?.to_string();
        let start = start(&given)?;
        let discovery = duration(&given, "partition.discovery.interval")?.unwrap_or(Duration::from_secs(30));
        let mut config = base(&servers, &format!("laminardb-{source}"));
        config
            .set("group.id", given.get("group.id").cloned().unwrap_or_else(|| format!("laminardb-{source}")))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("allow.auto.create.topics", "false")
            // Nothing joins a group, so nothing must be expelled from it.
            .set("max.poll.interval.ms", "86400000")
            // The default of 1 s would idle a fast reader between two full queues.
            .set("fetch.queue.backoff.ms", "5")
            // The bound of what one partition holds ahead.
            .set("queued.max.messages.kbytes", "16384");
        pass_on(&given, properties::CONSUMER, &mut config);
        Ok(Self { topics, servers, start, discovery: (!discovery.is_zero()).then_some(discovery), config })
    }
}

impl SinkOptions {
    /// Reads and checks the options of the sink called `sink`.
    ///
    /// # Errors
    /// An option is unknown, missing, wrong or refused.
    pub fn read(sink: &str, options: &Options) -> Result<Self, Trouble> {
        let given = resolve(&SINK, options)?;
        let topic = required(&given, "topic")?.trim().to_string();
        check_topic(&topic)?;
        let servers = required(&given, "bootstrap.servers")?.to_string();
        let stamp = match given.get("timestamp").map(String::as_str) {
            Some("event") => Stamp::Event,
            _ => Stamp::Write,
        };
        let mut config = base(&servers, &format!("laminardb-{sink}"));
        config
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "0")
            // The bounds of what waits for the broker.
            .set("queue.buffering.max.messages", "100000")
            .set("queue.buffering.max.kbytes", "65536")
            .set("message.timeout.ms", "120000");
        pass_on(&given, properties::PRODUCER, &mut config);
        Ok(Self { topic, servers, stamp, config })
    }
}

fn base(servers: &str, client: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", servers)
        .set("client.id", client)
        .set("log.connection.close", "false")
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.ms", "100")
        // Output must resume within 10 s of the broker's return; the default lets 10 s pass alone.
        .set("reconnect.backoff.max.ms", "2000");
    config
}

fn pass_on(given: &Given, own: &[OptionSpec], config: &mut ClientConfig) {
    for setting in properties::COMMON.iter().chain(own) {
        if let Some(value) = given.get(setting.name) {
            config.set(setting.name, value);
        }
    }
}

fn start(given: &Given) -> Result<Start, Trouble> {
    let timestamp = given.get("start.timestamp");
    let mode = given.get("start").map_or("earliest", String::as_str);
    match (mode, timestamp) {
        ("timestamp", Some(text)) => text.trim().parse().map(Start::Timestamp).map_err(|_| {
            Trouble::Option(format!(
                "option \"start.timestamp\": \"{text}\" is not a number of milliseconds since 1970"
            ))
        }),
        ("timestamp", None) => Err(Trouble::Option(
            "option \"start\" = timestamp needs \"start.timestamp\" (milliseconds since 1970)".into(),
        )),
        (_, Some(_)) => Err(Trouble::Option("option \"start.timestamp\" needs \"start\" = timestamp".into())),
        ("latest" | "latest-offset", None) => Ok(Start::Latest),
        ("earliest" | "earliest-offset", None) => Ok(Start::Earliest),
        (other, None) => Err(Trouble::Option(format!(
            "option \"start\": \"{other}\" is not one of earliest, latest, timestamp; progress is kept in checkpoints, \
             not in the group"
        ))),
    }
}

fn check_topic(topic: &str) -> Result<(), Trouble> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.is_empty() || topic.len() > 249 || !topic.chars().all(legal) || topic == "." || topic == ".." {
        return Err(Trouble::Option(format!(
            "option \"topic\": \"{topic}\" is not a topic name (1 to 249 letters, digits, dots, dashes, underscores)"
        )));
    }
    Ok(())
}
