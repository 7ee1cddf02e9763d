//! Writes single values as JSON.

use std::io::Write as _;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};

use crate::value::word::string_stop;
use crate::value::{Kind, decimal, identifier, moment};

/// Writes one row's value of an array; the value is not null.
pub type WriteCell = fn(&ArrayRef, usize, &mut Vec<u8>);

/// The writer for a field's type; none = JSON cannot hold it.
pub fn writer(field: &Field) -> Option<WriteCell> {
    let unsigned_or_small: Option<WriteCell> = match field.data_type() {
        DataType::Int8 => Some(|array, row, out| number(out, array.as_primitive::<Int8Type>().value(row))),
        DataType::UInt8 => Some(|array, row, out| number(out, array.as_primitive::<UInt8Type>().value(row))),
        DataType::UInt16 => Some(|array, row, out| number(out, array.as_primitive::<UInt16Type>().value(row))),
        DataType::UInt32 => Some(|array, row, out| number(out, array.as_primitive::<UInt32Type>().value(row))),
        DataType::UInt64 => Some(|array, row, out| number(out, array.as_primitive::<UInt64Type>().value(row))),
        DataType::Null => Some(|_, _, out| out.extend_from_slice(b"null")),
        _ => None,
    };
    unsigned_or_small.or_else(|| Kind::of(field).map(|kind| of_kind(kind, field.data_type())))
}

fn of_kind(kind: Kind, data_type: &DataType) -> WriteCell {
    match kind {
        Kind::Boolean => |array, row, out| {
            out.extend_from_slice(if array.as_boolean().value(row) { b"true" } else { b"false" });
        },
        Kind::SmallInt => |array, row, out| number(out, array.as_primitive::<Int16Type>().value(row)),
        Kind::Integer => |array, row, out| number(out, array.as_primitive::<Int32Type>().value(row)),
        Kind::BigInt => |array, row, out| number(out, array.as_primitive::<Int64Type>().value(row)),
        // Infinities and NaN have no JSON form: the serialiser writes null.
        Kind::Real => |array, row, out| number(out, array.as_primitive::<Float32Type>().value(row)),
        Kind::Double => |array, row, out| number(out, array.as_primitive::<Float64Type>().value(row)),
        Kind::Decimal { .. } => |array, row, out| {
            let array = array.as_primitive::<Decimal128Type>();
            decimal::write(array.value(row), array.scale(), out);
        },
        Kind::Text if *data_type == DataType::Utf8View => {
            |array, row, out| text(array.as_string_view().value(row), out)
        }
        Kind::Text => |array, row, out| text(array.as_string::<i32>().value(row), out),
        Kind::Json if *data_type == DataType::Utf8View => {
            |array, row, out| out.extend_from_slice(array.as_string_view().value(row).as_bytes())
        }
        Kind::Json => |array, row, out| out.extend_from_slice(array.as_string::<i32>().value(row).as_bytes()),
        Kind::Bytes => |array, row, out| {
            out.extend_from_slice(b"\"\\\\x");
            array.as_binary::<i32>().value(row).iter().for_each(|byte| identifier::write_hex(*byte, out));
            out.push(b'"');
        },
        Kind::Uuid => |array, row, out| {
            quoted(out, |out| identifier::write_uuid(array.as_fixed_size_binary().value(row), out));
        },
        Kind::Date => |array, row, out| {
            let days = i64::from(array.as_primitive::<Date32Type>().value(row));
            quoted(out, |out| moment::write_date(days, out));
        },
        Kind::Time(_) => time,
        Kind::Timestamp(_) => timestamp,
    }
}

fn time(array: &ArrayRef, row: usize, out: &mut Vec<u8>) {
    let (units, unit) = match array.data_type() {
        DataType::Time32(TimeUnit::Second) => {
            (i64::from(array.as_primitive::<Time32SecondType>().value(row)), TimeUnit::Second)
        }
        DataType::Time32(_) => {
            (i64::from(array.as_primitive::<Time32MillisecondType>().value(row)), TimeUnit::Millisecond)
        }
        DataType::Time64(TimeUnit::Nanosecond) => {
            (array.as_primitive::<Time64NanosecondType>().value(row), TimeUnit::Nanosecond)
        }
        _ => (array.as_primitive::<Time64MicrosecondType>().value(row), TimeUnit::Microsecond),
    };
    quoted(out, |out| moment::write_time(units, unit, out));
}

fn timestamp(array: &ArrayRef, row: usize, out: &mut Vec<u8>) {
    use arrow::datatypes::{
        TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    };
    let unit = match array.data_type() {
        DataType::Timestamp(unit, _) => *unit,
        _ => TimeUnit::Microsecond,
    };
    let units = match unit {
        TimeUnit::Second => array.as_primitive::<TimestampSecondType>().value(row),
        TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().value(row),
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().value(row),
        TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().value(row),
    };
    quoted(out, |out| moment::write_timestamp(units, unit, out));
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

/// Writes a number in its shortest form that reads back the same.
pub fn number(out: &mut Vec<u8>, value: impl serde::Serialize) {
    // Writing a number to a vector cannot fail.
    let _ = serde_json::to_writer(out, &value);
}

/// Writes a string with its quotes.
pub fn text(value: &str, out: &mut Vec<u8>) {
    let bytes = value.as_bytes();
    out.push(b'"');
    let mut at = 0;
    loop {
        let stop = string_stop(bytes, at);
        out.extend_from_slice(&bytes[at..stop]);
        let Some(byte) = bytes.get(stop) else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            other => {
                // A control character; writing to a vector cannot fail.
                let _ = write!(out, "\\u{other:04x}");
            }
        }
        at = stop + 1;
    }
    out.push(b'"');
}
