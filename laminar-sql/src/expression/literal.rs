//! Constants, between the engine's `Literal` with its type and DataFusion's `ScalarValue`.
//!
//! Invariant: the two directions are inverse for every type a literal can have.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalUnit};
use datafusion::common::ScalarValue;
use laminar_core::expr::{CompileError, Literal};

fn unsupported(what: impl std::fmt::Display) -> CompileError {
    CompileError { message: format!("a constant of type {what} is not supported in a continuous query") }
}

/// The value as DataFusion's scalar of a type.
///
/// # Errors
/// The value does not fit the type, or the type has no literals.
pub fn literal_to_scalar(value: &Literal, data_type: &DataType) -> Result<ScalarValue, CompileError> {
    let scalar = match value {
        Literal::Null => ScalarValue::try_new_null(data_type).map_err(|_| unsupported(data_type))?,
        Literal::Bool(b) => ScalarValue::Boolean(Some(*b)),
        Literal::Int(i) => return int_to_scalar(*i, data_type),
        Literal::Float(bits) if *data_type == DataType::Float32 => {
            ScalarValue::Float32(Some(f64::from_bits(*bits) as f32))
        }
        Literal::Float(bits) => ScalarValue::Float64(Some(f64::from_bits(*bits))),
        Literal::Text(text) => match data_type {
            DataType::LargeUtf8 => ScalarValue::LargeUtf8(Some(text.clone())),
            DataType::Utf8View => ScalarValue::Utf8View(Some(text.clone())),
            _ => ScalarValue::Utf8(Some(text.clone())),
        },
        Literal::Bytes(bytes) => match data_type {
            DataType::FixedSizeBinary(n) => ScalarValue::FixedSizeBinary(*n, Some(bytes.clone())),
            DataType::LargeBinary => ScalarValue::LargeBinary(Some(bytes.clone())),
            DataType::BinaryView => ScalarValue::BinaryView(Some(bytes.clone())),
            _ => ScalarValue::Binary(Some(bytes.clone())),
        },
        Literal::Interval(months, days, nanos) => {
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(*months, *days, *nanos)))
        }
    };
    if scalar.data_type() == *data_type { Ok(scalar) } else { Err(unsupported(data_type)) }
}

fn int_to_scalar(value: i128, data_type: &DataType) -> Result<ScalarValue, CompileError> {
    if let DataType::Decimal128(precision, scale) = data_type {
        return Ok(ScalarValue::Decimal128(Some(value), *precision, *scale));
    }
    let out_of_range = || CompileError { message: format!("constant {value} is out of range for {data_type}") };
    if *data_type == DataType::UInt64 {
        return u64::try_from(value).map(|v| ScalarValue::UInt64(Some(v))).map_err(|_| out_of_range());
    }
    let narrow = i64::try_from(value).map_err(|_| out_of_range())?;
    let array: ArrayRef = Arc::new(Int64Array::from(vec![narrow]));
    let array = match data_type {
        DataType::Date32 | DataType::Time32(_) => {
            let int32 = strict_cast(&array, &DataType::Int32).ok_or_else(out_of_range)?;
            strict_cast(&int32, data_type)
        }
        _ => strict_cast(&array, data_type),
    };
    let array = array.ok_or_else(out_of_range)?;
    ScalarValue::try_from_array(&array, 0).map_err(|_| unsupported(data_type))
}

fn strict_cast(array: &ArrayRef, to: &DataType) -> Option<ArrayRef> {
    cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() }).ok()
}

/// The engine's literal and its type from a scalar.
///
/// # Errors
/// A type that has no literals (lists, structs, maps).
pub fn literal_from_scalar(scalar: &ScalarValue) -> Result<(Literal, DataType), CompileError> {
    let data_type = scalar.data_type();
    if scalar.is_null() {
        return Ok((Literal::Null, data_type));
    }
    let literal = match scalar {
        ScalarValue::Boolean(Some(b)) => Literal::Bool(*b),
        ScalarValue::Float32(Some(f)) => Literal::Float(f64::from(*f).to_bits()),
        ScalarValue::Float64(Some(f)) => Literal::Float(f.to_bits()),
        ScalarValue::Utf8(Some(s)) | ScalarValue::LargeUtf8(Some(s)) | ScalarValue::Utf8View(Some(s)) => {
            Literal::Text(s.clone())
        }
        ScalarValue::Binary(Some(b))
        | ScalarValue::LargeBinary(Some(b))
        | ScalarValue::BinaryView(Some(b))
        | ScalarValue::FixedSizeBinary(_, Some(b)) => Literal::Bytes(b.clone()),
        ScalarValue::Decimal128(Some(v), _, _) => Literal::Int(*v),
        ScalarValue::UInt64(Some(v)) => Literal::Int((*v).into()),
        ScalarValue::IntervalMonthDayNano(Some(v)) => Literal::Interval(v.months, v.days, v.nanoseconds),
        ScalarValue::IntervalYearMonth(Some(v)) => return Ok(month_day_nano(*v, 0, 0)),
        ScalarValue::IntervalDayTime(Some(v)) => {
            return Ok(month_day_nano(0, v.days, i64::from(v.milliseconds) * 1_000_000));
        }
        other => int_from_scalar(other, &data_type)?,
    };
    Ok((literal, data_type))
}

fn month_day_nano(months: i32, days: i32, nanos: i64) -> (Literal, DataType) {
    (Literal::Interval(months, days, nanos), DataType::Interval(IntervalUnit::MonthDayNano))
}

fn int_from_scalar(scalar: &ScalarValue, data_type: &DataType) -> Result<Literal, CompileError> {
    let array = scalar.to_array().map_err(|_| unsupported(data_type))?;
    let array = match data_type {
        DataType::Date32 | DataType::Time32(_) => strict_cast(&array, &DataType::Int32),
        DataType::List(_) | DataType::Struct(_) | DataType::Map(_, _) => None,
        _ => Some(array),
    };
    let array = array.and_then(|a| strict_cast(&a, &DataType::Int64)).ok_or_else(|| unsupported(data_type))?;
    let ints = array.as_any().downcast_ref::<Int64Array>().ok_or_else(|| unsupported(data_type))?;
    Ok(Literal::Int(ints.value(0).into()))
}

/// Whether literals of a type exist at all.
#[cfg(test)]
fn has_literals(data_type: &DataType) -> bool {
    literal_to_scalar(&Literal::Null, data_type).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::TimeUnit;

    #[test]
    fn every_literal_survives_the_way_there_and_back() {
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
        let cases = [
            (Literal::Null, DataType::Utf8),
            (Literal::Bool(true), DataType::Boolean),
            (Literal::Int(-3), DataType::Int16),
            (Literal::Int(i64::MIN.into()), DataType::Int64),
            (Literal::Int(u64::MAX.into()), DataType::UInt64),
            (Literal::Int(12_345), DataType::Decimal128(10, 2)),
            (Literal::Int(19_000), DataType::Date32),
            (Literal::Int(1_700_000_000_000_000), timestamp),
            (Literal::Int(-1), zoned),
            (Literal::Int(5), DataType::Time64(TimeUnit::Microsecond)),
            (Literal::Float(1.5f64.to_bits()), DataType::Float64),
            (Literal::Float(1.5f64.to_bits()), DataType::Float32),
            (Literal::Text("a".to_owned()), DataType::Utf8),
            (Literal::Bytes(vec![1, 2]), DataType::Binary),
            (Literal::Bytes(vec![0; 16]), DataType::FixedSizeBinary(16)),
            (Literal::Interval(1, 2, 3), DataType::Interval(IntervalUnit::MonthDayNano)),
        ];
        for (literal, data_type) in cases {
            assert!(has_literals(&data_type));
            let scalar = literal_to_scalar(&literal, &data_type).unwrap();
            assert_eq!(scalar.data_type(), data_type);
            assert_eq!(literal_from_scalar(&scalar).unwrap(), (literal, data_type));
        }
    }

    #[test]
    fn a_constant_out_of_range_is_refused() {
        assert!(literal_to_scalar(&Literal::Int(40_000), &DataType::Int16).is_err());
        assert!(literal_to_scalar(&Literal::Int(i128::MAX), &DataType::Int64).is_err());
    }
}
