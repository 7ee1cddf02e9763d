//! What a configuration says, as plain values with their defaults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A value and where it stands in the file (byte offset of the value).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Byte offset of its first character in the file.
    pub offset: usize,
}

/// `[server]`: addresses, threads, limits.
#[derive(Clone, Debug)]
pub struct Server {
    /// HTTP address.
    pub bind: SocketAddr,
    /// PostgreSQL address.
    pub pgwire_bind: SocketAddr,
    /// Where everything durable lives.
    pub data_dir: PathBuf,
    /// Reactors; none = one per core of the process's affinity mask.
    pub workers: Option<usize>,
    /// The least severe log lines that are written.
    pub log_level: &'static str,
    /// Whether log lines are text or JSON.
    pub log_format: LogFormat,
    /// What drives the reactors.
    pub reactor: ReactorKind,
    /// Most connections, over each protocol.
    pub max_connections: usize,
    /// Largest message of a PostgreSQL client after start-up, in bytes.
    pub max_message_bytes: usize,
    /// Largest body of an HTTP request, in bytes.
    pub max_body_bytes: usize,
    /// Most rows `POST /api/v1/sql` answers with.
    pub max_result_rows: usize,
    /// How long a client may take to introduce itself.
    pub startup_timeout: Duration,
    /// How long an HTTP request may take.
    pub request_timeout: Duration,
    /// How long an ad-hoc statement may run; none = as long as it takes.
    pub statement_timeout: Option<Duration>,
    /// How long the final checkpoint may take when the server stops.
    pub shutdown_timeout: Duration,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What drives the reactors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReactorKind {
    /// io_uring; parked threads where the kernel has none.
    Glommio,
    /// Plain parked threads.
    Thread,
}

/// `[state]`: memory and shards.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Most bytes of state of one query; none = the database's default.
    pub memory_limit: Option<u64>,
    /// Bytes that may wait for one sink's target; none = the database's default.
    pub sink_limit: Option<u64>,
    /// Bytes of changes that may wait for one subscription's client; none = the database's default.
    pub subscription_limit: Option<u64>,
    /// Idempotency keys that each table or push source knows; none = the database's default.
    pub idempotency_keys: Option<u64>,
    /// Shards of a new data directory; an existing one keeps its own.
    pub shards: Option<u16>,
}

/// `[checkpoint]`: how often state becomes durable, and where.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Time between checkpoints.
    pub interval: Duration,
    /// Shortest time between epochs.
    pub epoch_interval: Duration,
}

/// `[kafka]`: the broker for trying out.
#[derive(Clone, Debug, Default)]
pub struct Kafka {
    /// Whether an in-process broker is started; its data is lost with the process.
    pub embedded: bool,
}

/// `[files]`: what the file connector may touch.
#[derive(Clone, Debug)]
pub struct Files {
    /// Directories below which files are read and written.
    pub roots: Vec<PathBuf>,
}

/// One `[[source]]`.
#[derive(Clone, Debug)]
pub struct SourceObject {
    /// Name in SQL.
    pub name: Located<String>,
    /// Connector; none = a push source.
    pub connector: Option<Located<String>>,
    /// Format of its records.
    pub format: Option<Located<String>>,
    /// Columns as in `CREATE SOURCE (…)`.
    pub schema: Located<String>,
    /// Watermark clause after the word `WATERMARK`.
    pub watermark: Option<Located<String>>,
    /// Options of connector and format.
    pub properties: Vec<(String, Located<String>)>,
}

/// What a `[[pipeline]]` becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipelineKind {
    /// A materialized view: its result is kept and can be read.
    View,
    /// A stream: its result flows on.
    Stream,
}

/// One `[[pipeline]]`.
#[derive(Clone, Debug)]
pub struct PipelineObject {
    /// Name in SQL.
    pub name: Located<String>,
    /// View or stream.
    pub kind: PipelineKind,
    /// Its query.
    pub sql: Located<String>,
}

/// One `[[sink]]`.
#[derive(Clone, Debug)]
pub struct SinkObject {
    /// Name in SQL.
    pub name: Located<String>,
    /// The pipeline it drains.
    pub pipeline: Located<String>,
    /// Connector.
    pub connector: Located<String>,
    /// Format of its records.
    pub format: Option<Located<String>>,
    /// `at_least_once` or `exactly_once`.
    pub delivery: Option<Located<String>>,
    /// Options of connector and format.
    pub properties: Vec<(String, Located<String>)>,
}

/// The whole file.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]`.
    pub server: Server,
    /// `[state]`.
    pub state: State,
    /// `[checkpoint]`.
    pub checkpoint: Checkpoint,
    /// `[kafka]`.
    pub kafka: Kafka,
    /// `[files]`.
    pub files: Files,
    /// `[[source]]`s in order.
    pub sources: Vec<SourceObject>,
    /// `[[pipeline]]`s in order.
    pub pipelines: Vec<PipelineObject>,
    /// `[[sink]]`s in order.
    pub sinks: Vec<SinkObject>,
    /// `sql`: a script that runs after the objects above are declared.
    pub sql: Option<Located<String>>,
}
