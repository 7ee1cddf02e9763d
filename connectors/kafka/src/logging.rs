//! librdkafka's log lines as events of `tracing`, under the target `librdkafka`.

use rdkafka::config::RDKafkaLogLevel as Level;

/// Passes one line on. Lost connections are warnings of librdkafka's only: the connector reports an
/// outage itself.
pub fn line(level: Level, facility: &str, line: &str) {
    match level {
        Level::Emerg | Level::Alert | Level::Critical => tracing::error!(target: "librdkafka", facility, "{line}"),
        Level::Error | Level::Warning => tracing::warn!(target: "librdkafka", facility, "{line}"),
        Level::Notice | Level::Info => tracing::info!(target: "librdkafka", facility, "{line}"),
        Level::Debug => tracing::debug!(target: "librdkafka", facility, "{line}"),
    }
}
