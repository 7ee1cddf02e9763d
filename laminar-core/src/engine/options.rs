//! How an engine is set up.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{EngineError, StartProgress};
pub use crate::reactor::Backend;
use crate::shard::ShardMap;

/// Called when durable storage has failed: the process must end.
pub type FatalHook = Arc<dyn Fn(&EngineError) + Send + Sync>;

/// Options of an engine. Every limit has a default.
#[derive(Clone)]
pub struct EngineOptions {
    /// Where everything durable lives; none = in memory only, nothing survives.
    pub data_dir: Option<PathBuf>,
    /// Number of reactors, at least 1.
    pub reactors: u16,
    /// Which shell.
    pub backend: Backend,
    /// Number of shards of a new data directory: a power of two; none = next power of two ≥ reactors, at least 4.
    pub shards: Option<u16>,
    /// The least distance of two epochs while data flows.
    pub epoch_interval: Duration,
    /// The least distance of two checkpoints while there is something new.
    pub checkpoint_interval: Duration,
    /// How long an epoch may take before it is told as stuck: an end that is asked for then does without its last
    /// checkpoint.
    pub epoch_timeout: Duration,
    /// Memory limit of a query that declares none, over all shards, in bytes.
    pub state_bytes: u64,
    /// Records a split may deliver at once.
    pub batch_rows: usize,
    /// Bytes a split may deliver at once.
    pub batch_bytes: usize,
    /// Staged bytes at which a sink is full on a reactor, and what feeds it waits.
    pub outbox_bytes: u64,
    /// How many idempotency keys of requests a table or push source knows: the newest, at least 1.
    pub request_keys: u64,
    /// How often a source is asked for new splits.
    pub discovery_interval: Duration,
    /// Told how far the start is.
    pub progress: Arc<StartProgress>,
    /// Told when durable storage has failed.
    pub on_fatal: Option<FatalHook>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            data_dir: None,
            reactors: 1,
            backend: Backend::Glommio,
            shards: None,
            epoch_interval: Duration::from_millis(20),
            checkpoint_interval: Duration::from_secs(1),
            epoch_timeout: Duration::from_secs(60),
            state_bytes: 4 << 30,
            batch_rows: 4096,
            batch_bytes: 1 << 20,
            outbox_bytes: 256 << 20,
            request_keys: 1 << 16,
            discovery_interval: Duration::from_secs(10),
            progress: Arc::default(),
            on_fatal: None,
        }
    }
}

impl EngineOptions {
    /// Shards of a new data directory.
    pub fn shard_count(&self) -> u16 {
        self.shards.unwrap_or_else(|| ShardMap::default_shards(self.reactors))
    }
}
