//! Options of file sources and sinks.

use std::time::Duration;

use laminar_connector_kit::{ByteSize, ConnectorOptions};

/// What a file source reads.
#[derive(ConnectorOptions, Clone, Debug)]
pub struct FileSourceOptions {
    /// A file, a directory (all its files), or a pattern with * in the last part; each file is a split.
    #[option(alias = "connector.path")]
    pub path: String,
    /// Whether to wait for more at the end of a file instead of ending.
    #[option(alias = "tail", default = "false")]
    pub follow: bool,
    /// How often a followed file is looked at when it does not grow.
    #[option(name = "follow.interval", default = "50 ms")]
    pub follow_interval: Duration,
    /// How long one record may be.
    #[option(name = "max_line", default = "16 MiB")]
    pub max_line: ByteSize,
}

/// What a file sink writes.
#[derive(ConnectorOptions, Clone, Debug)]
pub struct FileSinkOptions {
    /// The file, made where it does not exist, else lines are appended; exactly once: the directory of parts.
    #[option(alias = "connector.path")]
    pub path: String,
    /// At which size the file is put aside as path.000001 and so on, and a new one begun; without it never.
    pub rotate: Option<ByteSize>,
}
