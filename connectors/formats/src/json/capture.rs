//! Reads one JSON value into a column.

use arrow::datatypes::TimeUnit;

use super::{skip, string};
use crate::column::Column;
use crate::value::{Fault, Kind, decimal, identifier, moment, number};

/// How values are read beyond their types.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Unit of numbers in timestamp columns.
    pub epoch: Option<TimeUnit>,
    /// Whether strings may hold numbers.
    pub numbers_in_strings: bool,
    /// Whether text columns take any value as JSON text.
    pub any_as_text: bool,
    /// How deep values may be nested.
    pub max_depth: u8,
}

/// Appends the value at `at` to the column; says where it ends.
///
/// # Errors
/// The value does not fit; the caller cuts the column.
#[inline]
pub fn value(column: &mut Column, bytes: &[u8], at: usize, reading: &Reading) -> Result<usize, Fault> {
    let end = match (column.kind, bytes.get(at)) {
        (Kind::Text, Some(b'"')) => text(column, bytes, at)?,
        (Kind::BigInt | Kind::Integer | Kind::SmallInt, Some(b'-' | b'0'..=b'9')) => {
            let (value, end) = number::integer(bytes, at)?;
            column.store.push_i64(value)?;
            end
        }
        (Kind::Double, Some(b'-' | b'0'..=b'9')) => {
            let (value, end) = number::double(bytes, at)?;
            column.store.push_f64(value);
            end
        }
        (Kind::Timestamp(unit), Some(b'"')) => {
            let span = string::span(bytes, at + 1)?;
            if span.escaped {
                return Err(Fault::Type);
            }
            column.store.push_i64(moment::timestamp(&bytes[at + 1..span.end], unit)?)?;
            span.end + 1
        }
        (Kind::Timestamp(unit), Some(b'-' | b'0'..=b'9')) => {
            let from = reading.epoch.ok_or(Fault::Epoch)?;
            let (value, end) = moment::epoch(bytes, at, from, unit)?;
            column.store.push_i64(value)?;
            end
        }
        (_, Some(b'n')) => {
            let end = skip::literal(bytes, at, b"null")?;
            column.push_null(Fault::Null)?;
            return Ok(end);
        }
        _ => rarer(column, bytes, at, reading)?,
    };
    column.stored();
    Ok(end)
}

#[inline(always)]
fn text(column: &mut Column, bytes: &[u8], at: usize) -> Result<usize, Fault> {
    let span = string::span(bytes, at + 1)?;
    let inner = &bytes[at + 1..span.end];
    if span.escaped {
        column.store.push_written(|data| string::unescape(inner, data))?;
    } else {
        column.store.push_bytes(inner)?;
    }
    Ok(span.end + 1)
}

fn rarer(column: &mut Column, bytes: &[u8], at: usize, reading: &Reading) -> Result<usize, Fault> {
    let first = *bytes.get(at).ok_or(Fault::Truncated)?;
    match (column.kind, first) {
        (Kind::Boolean, b't') => {
            let end = skip::literal(bytes, at, b"true")?;
            column.store.push_bool(true);
            Ok(end)
        }
        (Kind::Boolean, b'f') => {
            let end = skip::literal(bytes, at, b"false")?;
            column.store.push_bool(false);
            Ok(end)
        }
        (Kind::Real, b'-' | b'0'..=b'9') => {
            let (value, end) = number::single(bytes, at)?;
            column.store.push_f32(value);
            Ok(end)
        }
        (Kind::Decimal { precision, scale }, b'-' | b'0'..=b'9') => {
            let (value, end) = decimal_value(bytes, at, precision, scale)?;
            column.store.push_i128(value);
            Ok(end)
        }
        (Kind::Json, _) => json(column, bytes, at, reading),
        (Kind::Text, _) if reading.any_as_text => json(column, bytes, at, reading),
        (Kind::Date | Kind::Time(_) | Kind::Uuid | Kind::Bytes, b'"') => quoted(column, bytes, at),
        (Kind::Real | Kind::Double | Kind::Decimal { .. } | Kind::BigInt | Kind::Integer | Kind::SmallInt, b'"')
            if reading.numbers_in_strings =>
        {
            number_in_string(column, bytes, at, reading)
        }
        _ => {
            // A value of another type, unless it is no value at all.
            skip::value(bytes, at, reading.max_depth)?;
            Err(Fault::Type)
        }
    }
}

#[inline]
fn decimal_value(bytes: &[u8], at: usize, precision: u8, scale: i8) -> Result<(i128, usize), Fault> {
    let number = number::scan(bytes, at)?;
    let shift = number.exponent.saturating_add(i32::from(scale));
    if number.exact && (0..=18).contains(&shift) {
        // 64 bits times 10^18 fit 128 bits.
        let value = i128::from(number.mantissa) * 10i128.pow(shift as u32);
        if value >= 10i128.checked_pow(u32::from(precision)).ok_or(Fault::Range)? {
            return Err(Fault::Range);
        }
        return Ok((if number.negative { -value } else { value }, number.end));
    }
    decimal::rounded(&bytes[at..number.end], precision, scale).map(|value| (value, number.end))
}

/// Keeps the text of any value as it stands.
fn json(column: &mut Column, bytes: &[u8], at: usize, reading: &Reading) -> Result<usize, Fault> {
    let end = skip::value(bytes, at, reading.max_depth)?;
    column.store.push_bytes(&bytes[at..end])?;
    Ok(end)
}

fn quoted(column: &mut Column, bytes: &[u8], at: usize) -> Result<usize, Fault> {
    let span = string::span(bytes, at + 1)?;
    let mut plain = Vec::new();
    let text = if span.escaped {
        string::unescape(&bytes[at + 1..span.end], &mut plain)?;
        plain.as_slice()
    } else {
        &bytes[at + 1..span.end]
    };
    match column.kind {
        Kind::Date => column.store.push_i64(i64::from(moment::date(text)?))?,
        Kind::Time(unit) => column.store.push_i64(moment::time(text, unit)?)?,
        Kind::Uuid => column.store.push_fixed(identifier::uuid(text)?),
        _ => column.store.push_written(|data| identifier::bytes(text, data))?,
    }
    Ok(span.end + 1)
}

fn number_in_string(column: &mut Column, bytes: &[u8], at: usize, reading: &Reading) -> Result<usize, Fault> {
    let span = string::span(bytes, at + 1)?;
    let inner = &bytes[at + 1..span.end];
    if !matches!(inner.first(), Some(b'-' | b'0'..=b'9')) {
        return Err(Fault::Type);
    }
    // The number ends before the closing quote, so reading within the quotes suffices.
    let end = match column.kind {
        Kind::BigInt | Kind::Integer | Kind::SmallInt => {
            let (value, end) = number::integer(inner, 0)?;
            column.store.push_i64(value)?;
            end
        }
        Kind::Double => {
            let (value, end) = number::double(inner, 0)?;
            column.store.push_f64(value);
            end
        }
        _ => rarer(column, inner, 0, reading)?,
    };
    if end == inner.len() { Ok(span.end + 1) } else { Err(Fault::Type) }
}
