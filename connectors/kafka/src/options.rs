//! The options of Kafka sources and sinks, declared once, and the librdkafka settings they make.
//!
//! Invariant: names and kinds were resolved at CREATE; keys of the format beside the connector are
//! passed over here.

use std::sync::LazyLock;
use std::time::Duration;

use laminar_connector_kit::{ConnectorError, ConnectorOptions, OptionSpec, Options};
use rdkafka::ClientConfig;

use crate::error::Trouble;
use crate::properties::{self, refuse_reserved};

#[derive(ConnectorOptions)]
struct SourceDeclared {
    /// Topic, or topics with commas between.
    #[option(alias = "topics", alias = "kafka.topic")]
    topic: String,
    /// Brokers to ask first, host:port with commas between; or embedded, where [kafka] allows it.
    #[option(
        name = "bootstrap.servers",
        alias = "properties.bootstrap.servers",
        alias = "properties.bootstrap.server",
        alias = "bootstrap_servers",
        alias = "brokers"
    )]
    servers: String,
    /// Where a source without a checkpoint begins.
    #[option(
        alias = "scan.startup.mode",
        alias = "auto.offset.reset",
        alias = "properties.auto.offset.reset",
        alias = "start_offset",
        choice = "earliest|latest|timestamp|earliest-offset|latest-offset",
        default = "earliest"
    )]
    start: String,
    /// With start = timestamp: milliseconds since 1970 UTC of the first record to read.
    #[option(
        name = "start.timestamp",
        alias = "scan.startup.timestamp-millis",
        alias = "scan.startup.timestamp.millis"
    )]
    start_timestamp: Option<i64>,
    /// Group under which progress is told to the broker; without it laminardb-<source>.
    #[option(name = "group.id", alias = "properties.group.id", alias = "group_id")]
    group: Option<String>,
    /// How often new partitions are looked for; 0 s = never.
    #[option(
        name = "partition.discovery.interval",
        alias = "scan.topic-partition-discovery.interval",
        default = "30 s"
    )]
    discovery: Duration,
}

#[derive(ConnectorOptions)]
struct SinkDeclared {
    /// Topic that is written.
    #[option(alias = "kafka.topic")]
    topic: String,
    /// Brokers to ask first, host:port with commas between; or embedded, where [kafka] allows it.
    #[option(
        name = "bootstrap.servers",
        alias = "properties.bootstrap.servers",
        alias = "properties.bootstrap.server",
        alias = "bootstrap_servers",
        alias = "brokers"
    )]
    servers: String,
    /// Timestamp of the records: the time of writing, or the event time (which the topic's retention and limits then judge).
    #[option(choice = "write|event", default = "write")]
    timestamp: String,
    /// With delivery = exactly_once: the topic that keeps each sink's progress; made compacted where it is missing.
    #[option(name = "progress.topic", default = "laminardb-progress")]
    progress: String,
}

/// How long the broker waits for the end of a transaction. A restart ends it at once; this is for a process
/// that does not come back.
const TRANSACTION_TIMEOUT_MS: u64 = 60_000;

fn declared(own: &[OptionSpec], settings: &[OptionSpec]) -> Vec<OptionSpec> {
    [own, properties::COMMON, settings, properties::RESERVED].concat()
}

/// What a source takes.
pub static SOURCE: LazyLock<Vec<OptionSpec>> =
    LazyLock::new(|| declared(SourceDeclared::OPTIONS, properties::CONSUMER));

/// What a sink takes.
pub static SINK: LazyLock<Vec<OptionSpec>> = LazyLock::new(|| declared(SinkDeclared::OPTIONS, properties::PRODUCER));

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
    /// The topic of the markers.
    pub progress: String,
    /// For librdkafka.
    pub config: ClientConfig,
    /// For readers of the markers.
    pub reader: ClientConfig,
}

impl SourceOptions {
    /// Reads and checks the options of the source called `source`.
    ///
    /// # Errors
    /// An option is unknown, missing, wrong or refused.
    pub fn read(source: &str, options: &Options) -> Result<Self, ConnectorError> {
        refuse_all_reserved(options)?;
        let SourceDeclared { topic, servers, start, start_timestamp, group, discovery } =
            SourceDeclared::from_options(options)?;
        let topics: Vec<String> = topic.split(',').map(|t| t.trim().to_string()).collect();
        for topic in &topics {
            check_topic(topic)?;
        }
        let start = start_of(&start, start_timestamp)?;
        let mut config = base(&servers, &format!("laminardb-{source}"));
        config
            .set("group.id", group.unwrap_or_else(|| format!("laminardb-{source}")))
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
        pass_on(options, properties::CONSUMER, &mut config);
        Ok(Self { topics, servers, start, discovery: (!discovery.is_zero()).then_some(discovery), config })
    }
}

impl SinkOptions {
    /// Reads and checks the options of the sink called `sink`.
    ///
    /// # Errors
    /// An option is unknown, missing, wrong or refused.
    pub fn read(sink: &str, options: &Options) -> Result<Self, ConnectorError> {
        refuse_all_reserved(options)?;
        let SinkDeclared { topic, servers, timestamp, progress } = SinkDeclared::from_options(options)?;
        let topic = topic.trim().to_string();
        check_topic(&topic)?;
        let stamp = if timestamp == "event" { Stamp::Event } else { Stamp::Write };
        let mut config = base(&servers, &format!("laminardb-{sink}"));
        config
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "0")
            // The bounds of what waits for the broker.
            .set("queue.buffering.max.messages", "100000")
            .set("queue.buffering.max.kbytes", "65536")
            .set("message.timeout.ms", "120000");
        pass_on(options, properties::PRODUCER, &mut config);
        check_topic(&progress)?;
        if progress == topic {
            return Err(Trouble::Option(format!("option 'progress.topic': '{topic}' is the topic of the rows")).into());
        }
        let mut reader = base(&servers, &format!("laminardb-{sink}"));
        pass_on(options, &[], &mut reader);
        Ok(Self { topic, servers, stamp, progress, config, reader })
    }

    /// The settings of a transactional producer that writes under `name`.
    pub fn transactional(&self, name: &str) -> ClientConfig {
        let mut config = self.config.clone();
        config.set("transactional.id", name);
        let limit = self.transaction_limit().as_millis().to_string();
        if config.get("transaction.timeout.ms").is_none() {
            config.set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS.to_string());
        }
        // A record that is late makes the transaction fail before the broker gives it up.
        config.set("message.timeout.ms", limit);
        config
    }

    /// How long one transaction may take: less than the broker waits before it aborts it.
    pub fn transaction_limit(&self) -> Duration {
        let given = self.config.get("transaction.timeout.ms").and_then(|given| given.parse().ok());
        Duration::from_millis(given.unwrap_or(TRANSACTION_TIMEOUT_MS) / 5 * 4)
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

fn pass_on(options: &Options, own: &[OptionSpec], config: &mut ClientConfig) {
    for setting in properties::COMMON.iter().chain(own) {
        let mut names = std::iter::once(setting.name).chain(setting.aliases.iter().copied());
        if let Some(value) = names.find_map(|name| options.get(name)) {
            config.set(setting.name, value.trim());
        }
    }
}

fn refuse_all_reserved(options: &Options) -> Result<(), Trouble> {
    options.iter().try_for_each(|(key, value)| refuse_reserved(key, value))
}

fn start_of(mode: &str, timestamp: Option<i64>) -> Result<Start, Trouble> {
    match (mode, timestamp) {
        ("timestamp", Some(at)) => Ok(Start::Timestamp(at)),
        ("timestamp", None) => {
            Err(Trouble::Option("option 'start' = timestamp needs 'start.timestamp' (milliseconds since 1970)".into()))
        }
        (_, Some(_)) => Err(Trouble::Option("option 'start.timestamp' needs 'start' = timestamp".into())),
        ("latest" | "latest-offset", None) => Ok(Start::Latest),
        (_, None) => Ok(Start::Earliest),
    }
}

fn check_topic(topic: &str) -> Result<(), Trouble> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.is_empty() || topic.len() > 249 || !topic.chars().all(legal) || topic == "." || topic == ".." {
        return Err(Trouble::Option(format!(
            "option 'topic': '{topic}' is not a topic name (1 to 249 letters, digits, dots, dashes, underscores)"
        )));
    }
    Ok(())
}
