//! How the values of a column are read, from its Arrow type.

use arrow::datatypes::{DataType, Field, TimeUnit};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// BOOLEAN.
    Boolean,
    /// SMALLINT.
    SmallInt,
    /// INTEGER.
    Integer,
    /// BIGINT.
    BigInt,
    /// REAL.
    Real,
    /// DOUBLE PRECISION.
    Double,
    /// DECIMAL(precision, scale).
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits behind the point.
        scale: i8,
    },
    /// TEXT, VARCHAR.
    Text,
    /// JSON: the text of any value.
    Json,
    /// BYTEA, written as `\x` and hexadecimal digits.
    Bytes,
    /// UUID.
    Uuid,
    /// DATE.
    Date,
    /// TIME of a precision.
    Time(TimeUnit),
    /// TIMESTAMP of a precision; the instant is kept in UTC whether or not the type has a zone.
    Timestamp(TimeUnit),
}

impl Kind {
    /// The kind of a field; none = no text format can hold the type.
    pub fn of(field: &Field) -> Option<Self> {
        Some(match field.data_type() {
            DataType::Boolean => Self::Boolean,
            DataType::Int16 => Self::SmallInt,
            DataType::Int32 => Self::Integer,
            DataType::Int64 => Self::BigInt,
            DataType::Float32 => Self::Real,
            DataType::Float64 => Self::Double,
            DataType::Decimal128(precision, scale) if *scale >= 0 => {
                Self::Decimal { precision: *precision, scale: *scale }
            }
            DataType::Utf8 | DataType::Utf8View if is_json(field) => Self::Json,
            DataType::Utf8 | DataType::Utf8View => Self::Text,
            DataType::Binary => Self::Bytes,
            DataType::FixedSizeBinary(16) => Self::Uuid,
            DataType::Date32 => Self::Date,
            DataType::Time32(unit) | DataType::Time64(unit) => Self::Time(*unit),
            DataType::Timestamp(unit, _) => Self::Timestamp(*unit),
            _ => return None,
        })
    }

    /// Its name in SQL.
    pub fn sql(self) -> String {
        let digits = |unit| match unit {
            TimeUnit::Second => 0,
            TimeUnit::Millisecond => 3,
            TimeUnit::Microsecond => 6,
            TimeUnit::Nanosecond => 9,
        };
        match self {
            Self::Boolean => "BOOLEAN".to_string(),
            Self::SmallInt => "SMALLINT".to_string(),
            Self::Integer => "INTEGER".to_string(),
            Self::BigInt => "BIGINT".to_string(),
            Self::Real => "REAL".to_string(),
            Self::Double => "DOUBLE PRECISION".to_string(),
            Self::Decimal { precision, scale } => format!("DECIMAL({precision},{scale})"),
            Self::Text => "TEXT".to_string(),
            Self::Json => "JSON".to_string(),
            Self::Bytes => "BYTEA".to_string(),
            Self::Uuid => "UUID".to_string(),
            Self::Date => "DATE".to_string(),
            Self::Time(unit) => format!("TIME({})", digits(unit)),
            Self::Timestamp(unit) => format!("TIMESTAMP({})", digits(unit)),
        }
    }
}

/// Whether a text field carries Arrow's JSON extension.
fn is_json(field: &Field) -> bool {
    field.metadata().get("ARROW:extension:name").is_some_and(|name| name == "arrow.json")
}
