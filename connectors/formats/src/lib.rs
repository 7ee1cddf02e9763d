//! Formats: bytes of records to Arrow columns and back.
//!
//! Invariant: a record is decoded whole or refused whole, with the field and the value in the
//! reason; nothing here knows which system the bytes came from.

mod column;
pub mod csv;
pub mod json;
mod lines;
mod value;

pub use csv::{CsvDecoderFactory, CsvEncoderFactory};
pub use json::{JsonDecoderFactory, JsonEncoderFactory};
pub use lines::Lines;

/// Year, month and day of a number of days since 1970-01-01 (proleptic Gregorian).
pub fn date_of_days(days: i64) -> (i64, u32, u32) {
    value::civil::date(days)
}

/// Microseconds since 1970 UTC of a timestamp's text (RFC 3339 and PostgreSQL's spelling); none = not one.
pub fn parse_timestamp_us(text: &str) -> Option<i64> {
    value::moment::timestamp(text.trim().as_bytes(), arrow::datatypes::TimeUnit::Microsecond).ok()
}
