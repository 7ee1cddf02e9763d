//! Options of the CSV format.

use arrow::datatypes::TimeUnit;
use laminar_connector_kit::{ByteSize, ConnectorError, ConnectorOptions, Options};

/// How CSV records are read and written.
#[derive(ConnectorOptions, Clone, Debug)]
pub struct CsvOptions {
    /// Whether the first line names the columns; without it they come in the declared order.
    #[option(name = "csv.header", default = "false")]
    pub header: bool,
    /// The character between fields.
    #[option(name = "csv.delimiter", alias = "csv.field-delimiter", default = ",")]
    pub delimiter: String,
    /// The character around fields that hold delimiters or line ends; doubled inside.
    #[option(name = "csv.quote", alias = "csv.quote-character", default = "\"")]
    pub quote: String,
    /// The unquoted text that means NULL.
    #[option(name = "csv.null", alias = "csv.null-literal", default = "")]
    pub null: String,
    /// Unit of numbers in TIMESTAMP columns; without it numbers are refused there.
    #[option(name = "csv.timestamp", choice = "seconds|millis|micros|nanos")]
    pub timestamp: Option<String>,
    /// How long a record may be.
    #[option(name = "csv.max_record", default = "16 MiB")]
    pub max_record: ByteSize,
}

impl CsvOptions {
    /// Reads and checks the options.
    ///
    /// # Errors
    /// The kit's, and `LDB-6205`: delimiter or quote is not one ASCII character.
    pub fn read(given: &Options) -> Result<Self, ConnectorError> {
        let mut options = Self::from_options(given)?;
        if options.delimiter == "\\t" {
            options.delimiter = "\t".to_string();
        }
        for (name, value) in [("csv.delimiter", &options.delimiter), ("csv.quote", &options.quote)] {
            if value.len() != 1 || matches!(value.as_bytes(), [b'\n' | b'\r']) {
                let message = format!("option '{name}': '{value}' is not one ASCII character");
                return Err(ConnectorError::user("LDB-6205", message));
            }
        }
        if options.delimiter == options.quote {
            let message = "options 'csv.delimiter' and 'csv.quote' must differ";
            return Err(ConnectorError::user("LDB-6205", message));
        }
        Ok(options)
    }

    /// Delimiter and quote as bytes.
    pub fn marks(&self) -> (u8, u8) {
        (self.delimiter.as_bytes()[0], self.quote.as_bytes()[0])
    }

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
