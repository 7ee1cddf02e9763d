//! The DataFusion session behind planning and ad-hoc execution: made once, the same for both.

use std::sync::{Arc, LazyLock};

use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::prelude::SessionConfig;

/// Bytes that all ad-hoc queries may hold together.
const MEMORY_LIMIT: usize = 1 << 30;

static STATE: LazyLock<SessionState> = LazyLock::new(|| {
    let pool = Arc::new(GreedyMemoryPool::new(MEMORY_LIMIT));
    let mut builder = SessionStateBuilder::new().with_config(config()).with_default_features();
    if let Ok(runtime) = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc() {
        builder = builder.with_runtime_env(runtime);
    }
    builder.build()
});

/// The session state: time zone UTC, plain UTF-8 strings, identifiers as the caller folded them.
pub fn state() -> &'static SessionState {
    &STATE
}

/// Bytes that all ad-hoc queries hold together for joins, sorts and groups.
pub fn memory_bytes() -> u64 {
    state().runtime_env().memory_pool.reserved() as u64
}

fn config() -> SessionConfig {
    let mut config = SessionConfig::new().with_target_partitions(1).with_information_schema(false);
    let options = config.options_mut();
    options.execution.time_zone = Some("+00:00".to_owned());
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.enable_ident_normalization = true;
    config
}
