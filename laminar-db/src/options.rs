//! How a database is opened.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use laminar_core::engine::StartProgress;

/// Settings of one database; the defaults are those of `laminardb.toml`.
#[derive(Clone, Debug)]
pub struct DatabaseOptions {
    /// Where everything durable lives; created when missing.
    pub data_dir: PathBuf,
    /// Reactors; none = one for each core of the process's affinity mask.
    pub reactors: Option<usize>,
    /// What runs the reactors.
    pub backend: Backend,
    /// Shards of a new data directory; none = next power of two ≥ reactors, at least 4.
    pub shard_count: Option<u16>,
    /// Least time between two epochs while data flows.
    pub epoch_interval: Duration,
    /// Time between two checkpoints.
    pub checkpoint_interval: Duration,
    /// Bytes of state that one query may hold in all shards together.
    pub memory_limit: u64,
    /// Bytes that may wait for one sink's target; from then on what feeds it waits.
    pub sink_limit: u64,
    /// Bytes of changes that may wait for one subscription's client behind the epoch that it reads; with more it is cut
    /// off.
    pub subscription_limit: u64,
    /// How many idempotency keys of requests each table or push source knows: the newest.
    pub idempotency_keys: u64,
    /// Told how far the start is.
    pub progress: Arc<StartProgress>,
    /// Time after which an ad-hoc statement is cancelled; none = never.
    pub statement_timeout: Option<Duration>,
}

/// What runs the reactors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// glommio over io_uring; a plain thread where the kernel has no io_uring.
    Glommio,
    /// A plain parked thread.
    Thread,
}

impl DatabaseOptions {
    /// The defaults, in a directory.
    pub fn in_directory(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            reactors: None,
            backend: Backend::Glommio,
            shard_count: None,
            epoch_interval: Duration::from_millis(20),
            checkpoint_interval: Duration::from_secs(1),
            memory_limit: 4 << 30,
            sink_limit: 256 << 20,
            subscription_limit: 64 << 20,
            idempotency_keys: 1 << 16,
            progress: Arc::default(),
            statement_timeout: None,
        }
    }
}
