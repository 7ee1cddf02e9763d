//! The log: lines on standard error, so that standard output stays free for results.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::{LogFormat, Server};

/// Starts the log; `LAMINAR_LOG_FILTER` overrides the configured level with a full filter.
pub fn start(server: &Server) {
    let configured = || EnvFilter::new(format!("{},datafusion=warn,hyper=warn", server.log_level));
    let filter = EnvFilter::try_from_env("LAMINAR_LOG_FILTER").unwrap_or_else(|_| configured());
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(true);
    // A second start (tests in one process) keeps the first log.
    let _ = match server.log_format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}
