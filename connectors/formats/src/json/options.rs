//! Options of the JSON format.

use arrow::datatypes::TimeUnit;
use laminar_connector_kit::{ByteSize, ConnectorOptions};

/// How JSON records are read.
#[derive(ConnectorOptions, Clone, Debug)]
pub struct JsonOptions {
    /// Unit of numbers in TIMESTAMP columns; without it numbers are refused there.
    #[option(name = "json.timestamp", choice = "seconds|millis|micros|nanos")]
    pub timestamp: Option<String>,
    /// Whether strings that hold a number are taken for numeric columns.
    #[option(name = "json.numbers_in_strings", default = "false")]
    pub numbers_in_strings: bool,
    /// What TEXT columns take: only strings, or the JSON text of any value.
    #[option(name = "json.text", choice = "strings|any", default = "strings")]
    pub text: String,
    /// How deep values may be nested.
    #[option(name = "json.max_depth", default = "64")]
    pub max_depth: u8,
    /// How long a record may be.
    #[option(name = "json.max_record", default = "16 MiB")]
    pub max_record: ByteSize,
}

impl JsonOptions {
    /// The unit of epoch numbers.
    pub fn epoch_unit(&self) -> Option<TimeUnit> {
        self.timestamp.as_deref().map(|word| match word {
            "seconds" => TimeUnit::Second,
            "millis" => TimeUnit::Millisecond,
            "micros" => TimeUnit::Microsecond,
            _ => TimeUnit::Nanosecond,
        })
    }
}
