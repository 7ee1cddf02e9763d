//! SQL types to Arrow types.
//!
//! Invariants: TIMESTAMP counts microseconds unless another precision is given, TIMESTAMP WITH TIME
//! ZONE is UTC, FLOAT is DOUBLE; a type that is not here is refused by name.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit, TimeUnit};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, CharacterLength, DataType as SqlType, ExactNumberInfo, TimezoneInfo,
};

use crate::error::{Kind, SqlError};

/// An Arrow type with what Arrow does not say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Typed {
    pub data_type: DataType,
    /// VARCHAR(n).
    pub max_chars: Option<u32>,
}

impl From<DataType> for Typed {
    fn from(data_type: DataType) -> Self {
        Self { data_type, max_chars: None }
    }
}

/// The zone of TIMESTAMP WITH TIME ZONE.
pub(crate) const UTC: &str = "+00:00";

/// The Arrow type of a SQL type.
pub(crate) fn arrow_type(sql: &SqlType) -> Result<Typed, SqlError> {
    Ok(match sql {
        SqlType::Boolean | SqlType::Bool => DataType::Boolean.into(),
        SqlType::TinyInt(_) | SqlType::SmallInt(_) | SqlType::Int2(_) | SqlType::Int16 => DataType::Int16.into(),
        SqlType::Int(_) | SqlType::Integer(_) | SqlType::Int4(_) | SqlType::MediumInt(_) | SqlType::Int32 => {
            DataType::Int32.into()
        }
        SqlType::BigInt(_) | SqlType::Int8(_) | SqlType::Int64 => DataType::Int64.into(),
        SqlType::Real | SqlType::Float4 | SqlType::Float32 => DataType::Float32.into(),
        SqlType::Float(_) | SqlType::Double(_) | SqlType::DoublePrecision | SqlType::Float8 | SqlType::Float64 => {
            DataType::Float64.into()
        }
        SqlType::Decimal(info) | SqlType::Numeric(info) | SqlType::Dec(info) => decimal(info)?.into(),
        SqlType::Text | SqlType::String(_) => DataType::Utf8.into(),
        SqlType::Varchar(n)
        | SqlType::CharacterVarying(n)
        | SqlType::CharVarying(n)
        | SqlType::Char(n)
        | SqlType::Character(n)
        | SqlType::Nvarchar(n) => Typed { data_type: DataType::Utf8, max_chars: length(n)? },
        SqlType::Bytea | SqlType::Blob(_) | SqlType::Bytes(_) | SqlType::Varbinary(_) => DataType::Binary.into(),
        SqlType::Date => DataType::Date32.into(),
        SqlType::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            DataType::Time64(TimeUnit::Microsecond).into()
        }
        SqlType::Timestamp(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone)
        | SqlType::TimestampNtz(precision) => DataType::Timestamp(unit(*precision, sql)?, None).into(),
        SqlType::Timestamp(precision, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => {
            DataType::Timestamp(unit(*precision, sql)?, Some(UTC.into())).into()
        }
        SqlType::Datetime(precision) => DataType::Timestamp(unit(*precision, sql)?, None).into(),
        SqlType::Interval { fields: None, precision: None } => DataType::Interval(IntervalUnit::MonthDayNano).into(),
        SqlType::Array(
            ArrayElemTypeDef::SquareBracket(inner, _)
            | ArrayElemTypeDef::AngleBracket(inner)
            | ArrayElemTypeDef::Parenthesis(inner),
        ) => DataType::List(Arc::new(Field::new("item", arrow_type(inner)?.data_type, true))).into(),
        SqlType::Struct(fields, _) => {
            let fields = fields
                .iter()
                .map(|f| {
                    let name = f.field_name.as_ref().map(crate::parse::fold).unwrap_or_default();
                    Ok(Field::new(name, arrow_type(&f.field_type)?.data_type, true))
                })
                .collect::<Result<Fields, SqlError>>()?;
            DataType::Struct(fields).into()
        }
        SqlType::Uuid => return Err(SqlError::unsupported("type UUID", "use TEXT")),
        SqlType::JSON | SqlType::JSONB => return Err(SqlError::unsupported("type JSON", "use TEXT")),
        other => {
            return Err(SqlError::new(Kind::Datatype, format!("type {other} does not exist")).hint(
                "BOOLEAN, SMALLINT, INTEGER, BIGINT, REAL, DOUBLE PRECISION, DECIMAL(p,s), VARCHAR(n), TEXT, BYTEA, DATE, TIME, \
                 TIMESTAMP [WITH TIME ZONE], INTERVAL and type[] exist",
            ));
        }
    })
}

fn decimal(info: &ExactNumberInfo) -> Result<DataType, SqlError> {
    let (precision, scale) = match *info {
        ExactNumberInfo::None => (38, 10),
        ExactNumberInfo::Precision(p) => (p, 0),
        ExactNumberInfo::PrecisionAndScale(p, s) => (p, s),
    };
    let fits = (1..=38).contains(&precision) && (0..=precision as i64).contains(&scale);
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(p), Ok(s)) if fits => Ok(DataType::Decimal128(p, s)),
        _ => Err(SqlError::new(Kind::Datatype, format!("DECIMAL({precision},{scale}) does not exist"))
            .hint("the precision is 1 to 38, the scale 0 to the precision")),
    }
}

fn length(given: &Option<CharacterLength>) -> Result<Option<u32>, SqlError> {
    match given {
        None | Some(CharacterLength::Max) => Ok(None),
        Some(CharacterLength::IntegerLength { length, unit: _ }) => u32::try_from(*length)
            .ok()
            .filter(|n| *n > 0)
            .map(Some)
            .ok_or_else(|| SqlError::new(Kind::Datatype, format!("VARCHAR({length}) does not exist"))),
    }
}

fn unit(precision: Option<u64>, sql: &SqlType) -> Result<TimeUnit, SqlError> {
    match precision {
        None | Some(4..=6) => Ok(TimeUnit::Microsecond),
        Some(1..=3) => Ok(TimeUnit::Millisecond),
        Some(0) => Ok(TimeUnit::Second),
        Some(7..=9) => Ok(TimeUnit::Nanosecond),
        Some(_) => Err(SqlError::new(Kind::Datatype, format!("type {sql} does not exist"))
            .hint("the precision of TIMESTAMP is 0 to 9")),
    }
}

/// The same for types inside queries.
#[derive(Debug)]
pub(crate) struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, sql: &SqlType) -> DfResult<Option<FieldRef>> {
        match arrow_type(sql) {
            Ok(typed) => Ok(Some(Arc::new(Field::new("", typed.data_type, true)))),
            // PostgreSQL's catalog types occur in clients' queries; they are texts and numbers here.
            Err(error) => match sql.to_string().trim_start_matches("pg_catalog.").to_ascii_lowercase().as_str() {
                "regclass" | "regtype" | "regproc" | "name" | "\"char\"" => {
                    Ok(Some(Arc::new(Field::new("", DataType::Utf8, true))))
                }
                "oid" => Ok(Some(Arc::new(Field::new("", DataType::Int64, true)))),
                _ => Err(datafusion::common::DataFusionError::External(Box::new(error))),
            },
        }
    }
}

/// A type as the user writes it.
pub fn sql_type(data_type: &DataType, max_chars: Option<u32>) -> String {
    let precision = |unit: &TimeUnit| match unit {
        TimeUnit::Second => "(0)",
        TimeUnit::Millisecond => "(3)",
        TimeUnit::Microsecond => "",
        TimeUnit::Nanosecond => "(9)",
    };
    match data_type {
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INTEGER".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::Float32 => "REAL".into(),
        DataType::Float64 => "DOUBLE PRECISION".into(),
        DataType::Decimal128(p, s) => format!("DECIMAL({p},{s})"),
        DataType::Utf8 => max_chars.map_or_else(|| "VARCHAR".into(), |n| format!("VARCHAR({n})")),
        DataType::Binary => "BYTEA".into(),
        DataType::Date32 => "DATE".into(),
        DataType::Time64(_) => "TIME".into(),
        DataType::Timestamp(unit, None) => format!("TIMESTAMP{}", precision(unit)),
        DataType::Timestamp(unit, Some(_)) => format!("TIMESTAMP{} WITH TIME ZONE", precision(unit)),
        DataType::Interval(_) => "INTERVAL".into(),
        DataType::List(item) => format!("{}[]", sql_type(item.data_type(), None)),
        other => other.to_string(),
    }
}
