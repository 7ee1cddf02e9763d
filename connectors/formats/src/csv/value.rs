//! Reads one field's text into a column.

use arrow::datatypes::TimeUnit;

use crate::column::Column;
use crate::value::{Fault, Kind, decimal, identifier, moment, number};

/// Appends the value of `text`, which is not NULL.
///
/// # Errors
/// The text does not fit; the caller cuts the column.
pub fn read(column: &mut Column, text: &[u8], epoch: Option<TimeUnit>) -> Result<(), Fault> {
    let kind = column.kind;
    let text = if matches!(kind, Kind::Text | Kind::Json) { text } else { text.trim_ascii() };
    let all = |end: usize| if end == text.len() { Ok(()) } else { Err(Fault::Type) };
    let store = &mut column.store;
    match kind {
        Kind::Text | Kind::Json => store.push_bytes(text)?,
        Kind::Boolean => store.push_bool(boolean(text)?),
        Kind::SmallInt | Kind::Integer | Kind::BigInt => {
            let (value, end) = number::integer(text, 0)?;
            all(end)?;
            store.push_i64(value)?;
        }
        Kind::Real => {
            let (value, end) = number::single(text, 0)?;
            all(end)?;
            store.push_f32(value);
        }
        Kind::Double => {
            let (value, end) = number::double(text, 0)?;
            all(end)?;
            store.push_f64(value);
        }
        Kind::Decimal { precision, scale } => {
            all(number::scan(text, 0)?.end)?;
            store.push_i128(decimal::rounded(text, precision, scale)?);
        }
        Kind::Date => store.push_i64(i64::from(moment::date(text)?))?,
        Kind::Time(unit) => store.push_i64(moment::time(text, unit)?)?,
        Kind::Timestamp(unit) => store.push_i64(timestamp(text, unit, epoch)?)?,
        Kind::Uuid => store.push_fixed(identifier::uuid(text)?),
        Kind::Bytes => store.push_written(|data| identifier::bytes(text, data))?,
    }
    column.stored();
    Ok(())
}

fn boolean(text: &[u8]) -> Result<bool, Fault> {
    let is = |words: [&str; 3]| words.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()));
    match () {
        () if is(["true", "t", "1"]) => Ok(true),
        () if is(["false", "f", "0"]) => Ok(false),
        () => Err(Fault::Type),
    }
}

fn timestamp(text: &[u8], unit: TimeUnit, epoch: Option<TimeUnit>) -> Result<i64, Fault> {
    match number::scan(text, 0) {
        Ok(number) if number.end == text.len() => {
            moment::epoch(text, 0, epoch.ok_or(Fault::Epoch)?, unit).map(|(value, _)| value)
        }
        _ => moment::timestamp(text, unit),
    }
}
