//! Options of the generator.

use std::time::Duration;

use laminar_connector_kit::{ConnectorError, ConnectorOptions, Options};
use laminar_formats::parse_timestamp_us;

/// What the generator makes, as declared in SQL.
#[derive(ConnectorOptions, Clone, Debug)]
pub struct GeneratorOptions {
    /// What is made: trades of a market, or keys and values.
    #[option(choice = "trades|sequence", default = "trades")]
    pub kind: String,
    /// Rows in all splits together, after which the source ends; without it the source is endless.
    #[option(alias = "number-of-rows", alias = "max_rows")]
    pub rows: Option<u64>,
    /// Rows per second of all splits together; 0 = as fast as they are taken.
    #[option(alias = "rows-per-second", alias = "datagen.rows.per.second", default = "1000")]
    pub rate: f64,
    /// How many times faster than the clock event time runs.
    #[option(default = "1")]
    pub speed: f64,
    /// Rows per second of event time; without it rate / speed, or 50000 where rate = 0.
    #[option(name = "event_rate")]
    pub event_rate: Option<f64>,
    /// Event time of the first row.
    #[option(default = "2024-01-01T00:00:00Z")]
    pub start: String,
    /// How far event times are shuffled backwards, at most.
    #[option(default = "0 s")]
    pub disorder: Duration,
    /// Share of rows that are late, 0 to 1.
    #[option(name = "late_ratio", default = "0")]
    pub late_ratio: f64,
    /// How late a late row is.
    #[option(name = "late_by", default = "60 s")]
    pub late_by: Duration,
    /// Number of splits.
    #[option(default = "1")]
    pub splits: u16,
    /// Decides all that is random.
    #[option(default = "42")]
    pub seed: u64,
    /// Number of symbols (trades) or keys (sequence); without it 20 symbols, 10000 keys.
    #[option(alias = "symbols")]
    pub keys: Option<u64>,
    /// How often each key comes: equally, or by Zipf's law.
    #[option(choice = "uniform|zipf", default = "uniform")]
    pub distribution: String,
}

impl GeneratorOptions {
    /// Reads and checks the options.
    ///
    /// # Errors
    /// `LDB-6003` and `LDB-6004` as the kit's, `LDB-6301` a number out of its range.
    pub fn read(given: &Options) -> Result<Self, ConnectorError> {
        let options = Self::from_options(given)?;
        let refuse = |name: &str, value: String, range: &str| {
            Err(ConnectorError::user("LDB-6301", format!("option '{name}': {value} is not {range}")))
        };
        if !(0.0..=1e9).contains(&options.rate) {
            return refuse("rate", options.rate.to_string(), "between 0 and 1000000000");
        }
        if !(options.speed > 0.0 && options.speed <= 1e6) {
            return refuse("speed", options.speed.to_string(), "above 0 and at most 1000000");
        }
        if let Some(rate) = options.event_rate.filter(|rate| !(*rate > 0.0 && *rate <= 1e9)) {
            return refuse("event_rate", rate.to_string(), "above 0 and at most 1000000000");
        }
        if !(0.0..=1.0).contains(&options.late_ratio) {
            return refuse("late_ratio", options.late_ratio.to_string(), "between 0 and 1");
        }
        if options.splits == 0 {
            return refuse("splits", "0".to_string(), "at least 1");
        }
        if options.keys == Some(0) {
            return refuse("keys", "0".to_string(), "at least 1");
        }
        if options.start_us().is_none() {
            return refuse("start", format!("'{}'", options.start), "a timestamp such as '2024-01-01T00:00:00Z'");
        }
        Ok(options)
    }

    /// Event time of the first row in microseconds since 1970 UTC.
    pub fn start_us(&self) -> Option<i64> {
        parse_timestamp_us(&self.start)
    }
}
