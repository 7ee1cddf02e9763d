//! One key column of fixed width: values to bytes and back.
//!
//! Integers of all widths are kept as i64 (UINT64 as u64), floats as the bits of the canonical f64,
//! decimals as (i128 without trailing zeros, scale), dates, times and timestamps as i64 in the
//! column's own unit; little endian.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, FixedSizeBinaryArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, IntervalDayTime, IntervalDayTimeType, IntervalMonthDayNano,
    IntervalMonthDayNanoType, IntervalUnit,
};

use super::KeyColumn;

/// A key column of fixed width, by its type.
#[derive(Clone, Debug)]
pub(crate) struct FixedColumn {
    width: usize,
    data_type: DataType,
}

impl KeyColumn {
    /// How a type is kept; none when it cannot be a key.
    pub(crate) fn of(data_type: &DataType) -> Option<Self> {
        let width = match data_type {
            DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView => return Some(Self::Variable),
            DataType::Boolean => 1,
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32
            | DataType::UInt64
            | DataType::Float32
            | DataType::Float64
            | DataType::Date32
            | DataType::Date64
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Timestamp(_, _)
            | DataType::Duration(_)
            | DataType::Interval(IntervalUnit::YearMonth | IntervalUnit::DayTime) => 8,
            DataType::Interval(IntervalUnit::MonthDayNano) => 16,
            DataType::Decimal128(_, _) => 17,
            DataType::FixedSizeBinary(width) => *width as usize,
            _ => return None,
        };
        Some(Self::Fixed(FixedColumn { width, data_type: data_type.clone() }))
    }
}

/// Calls a macro with the Arrow type where values are integers of at most 64 bits, else gives the other.
macro_rules! each_i64 {
    ($data_type:expr, $macro:ident, $other:expr) => {
        match $data_type {
            DataType::Int8 => $macro!(arrow::datatypes::Int8Type),
            DataType::Int16 => $macro!(arrow::datatypes::Int16Type),
            DataType::Int32 => $macro!(arrow::datatypes::Int32Type),
            DataType::Int64 => $macro!(arrow::datatypes::Int64Type),
            DataType::UInt8 => $macro!(arrow::datatypes::UInt8Type),
            DataType::UInt16 => $macro!(arrow::datatypes::UInt16Type),
            DataType::UInt32 => $macro!(arrow::datatypes::UInt32Type),
            DataType::UInt64 => $macro!(arrow::datatypes::UInt64Type),
            DataType::Date32 => $macro!(arrow::datatypes::Date32Type),
            DataType::Date64 => $macro!(arrow::datatypes::Date64Type),
            DataType::Time32(arrow::datatypes::TimeUnit::Second) => $macro!(arrow::datatypes::Time32SecondType),
            DataType::Time32(_) => $macro!(arrow::datatypes::Time32MillisecondType),
            DataType::Time64(arrow::datatypes::TimeUnit::Nanosecond) => $macro!(arrow::datatypes::Time64NanosecondType),
            DataType::Time64(_) => $macro!(arrow::datatypes::Time64MicrosecondType),
            DataType::Timestamp(arrow::datatypes::TimeUnit::Second, _) => {
                $macro!(arrow::datatypes::TimestampSecondType)
            }
            DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, _) => {
                $macro!(arrow::datatypes::TimestampMillisecondType)
            }
            DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, _) => {
                $macro!(arrow::datatypes::TimestampMicrosecondType)
            }
            DataType::Timestamp(arrow::datatypes::TimeUnit::Nanosecond, _) => {
                $macro!(arrow::datatypes::TimestampNanosecondType)
            }
            DataType::Duration(arrow::datatypes::TimeUnit::Second) => $macro!(arrow::datatypes::DurationSecondType),
            DataType::Duration(arrow::datatypes::TimeUnit::Millisecond) => {
                $macro!(arrow::datatypes::DurationMillisecondType)
            }
            DataType::Duration(arrow::datatypes::TimeUnit::Microsecond) => {
                $macro!(arrow::datatypes::DurationMicrosecondType)
            }
            DataType::Duration(arrow::datatypes::TimeUnit::Nanosecond) => {
                $macro!(arrow::datatypes::DurationNanosecondType)
            }
            DataType::Interval(arrow::datatypes::IntervalUnit::YearMonth) => {
                $macro!(arrow::datatypes::IntervalYearMonthType)
            }
            _ => $other,
        }
    };
}
pub(crate) use each_i64;

/// The bits that stand for a float: −0.0 is 0.0 and there is one NaN.
pub(crate) fn canonical_bits(value: f64) -> u64 {
    if value.is_nan() { 0x7ff8_0000_0000_0000 } else { (value + 0.0).to_bits() }
}

/// A decimal without trailing zeros.
pub(crate) fn normal_decimal(mut unscaled: i128, mut scale: i8) -> (i128, i8) {
    if unscaled == 0 {
        return (0, 0);
    }
    while let Ok(narrow) = i64::try_from(unscaled) {
        if narrow % 10 != 0 {
            return (unscaled, scale);
        }
        unscaled = i128::from(narrow / 10);
        scale -= 1;
    }
    while unscaled % 10 == 0 {
        unscaled /= 10;
        scale -= 1;
    }
    (unscaled, scale)
}

impl FixedColumn {
    /// Bytes of a value.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Writes the value of each row through `place` (row → its bytes); NULLs are left as they are.
    pub(crate) fn write(&self, column: &dyn Array, mut put: impl FnMut(usize, &[u8])) {
        let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0);
        macro_rules! put_i64 {
            ($type:ty) => {{
                let values = column.as_primitive::<$type>().values();
                each_row(nulls, values.len(), |row| put(row, &(values[row] as i64).to_le_bytes()));
            }};
        }
        each_i64!(&self.data_type, put_i64, self.write_other(column, nulls, put));
    }

    fn write_other(&self, column: &dyn Array, nulls: Option<&NullBuffer>, mut put: impl FnMut(usize, &[u8])) {
        let rows = column.len();
        match &self.data_type {
            DataType::Boolean => {
                let values = column.as_boolean().values();
                each_row(nulls, rows, |row| put(row, &[u8::from(values.value(row))]));
            }
            DataType::Float32 => {
                let values = column.as_primitive::<Float32Type>().values();
                each_row(nulls, rows, |row| put(row, &canonical_bits(f64::from(values[row])).to_le_bytes()));
            }
            DataType::Float64 => {
                let values = column.as_primitive::<Float64Type>().values();
                each_row(nulls, rows, |row| put(row, &canonical_bits(values[row]).to_le_bytes()));
            }
            DataType::Decimal128(_, scale) => {
                let values = column.as_primitive::<Decimal128Type>().values();
                each_row(nulls, rows, |row| {
                    let (unscaled, scale) = normal_decimal(values[row], *scale);
                    let mut bytes = [0; 17];
                    bytes[..16].copy_from_slice(&unscaled.to_le_bytes());
                    bytes[16] = scale as u8;
                    put(row, &bytes);
                });
            }
            DataType::Interval(IntervalUnit::DayTime) => {
                let values = column.as_primitive::<IntervalDayTimeType>().values();
                each_row(nulls, rows, |row| {
                    let packed = u64::from(values[row].days as u32) << 32 | u64::from(values[row].milliseconds as u32);
                    put(row, &packed.to_le_bytes());
                });
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                let values = column.as_primitive::<IntervalMonthDayNanoType>().values();
                each_row(nulls, rows, |row| {
                    let mut bytes = [0; 16];
                    bytes[..4].copy_from_slice(&values[row].months.to_le_bytes());
                    bytes[4..8].copy_from_slice(&values[row].days.to_le_bytes());
                    bytes[8..].copy_from_slice(&values[row].nanoseconds.to_le_bytes());
                    put(row, &bytes);
                });
            }
            DataType::FixedSizeBinary(_) => {
                let values = column.as_fixed_size_binary();
                each_row(nulls, rows, |row| put(row, values.value(row)));
            }
            other => unreachable!("{other} has no fixed key form: KeyColumn::of refuses it"),
        }
    }

    /// Reads a column back: `value(row)` is the row's bytes, `nulls` says which are NULL.
    pub(crate) fn read<'a>(
        &self,
        rows: usize,
        nulls: Option<NullBuffer>,
        value: impl Fn(usize) -> &'a [u8],
    ) -> ArrayRef {
        let word = |row: usize| i64::from_le_bytes(first_eight(value(row)));
        macro_rules! read_i64 {
            ($type:ty) => {
                primitive::<$type>(&self.data_type, nulls, (0..rows).map(|row| word(row) as _).collect())
            };
        }
        each_i64!(
            &self.data_type,
            read_i64,
            match &self.data_type {
                DataType::Boolean => {
                    let values = (0..rows).map(|row| value(row)[0] != 0).collect();
                    Arc::new(BooleanArray::new(values, nulls)) as ArrayRef
                }
                DataType::Float32 => {
                    let values = (0..rows).map(|row| f64::from_bits(word(row) as u64) as f32).collect();
                    primitive::<Float32Type>(&self.data_type, nulls, values)
                }
                DataType::Float64 => {
                    let values = (0..rows).map(|row| f64::from_bits(word(row) as u64)).collect();
                    primitive::<Float64Type>(&self.data_type, nulls, values)
                }
                DataType::Decimal128(_, scale) => {
                    let values = (0..rows).map(|row| decimal_at_scale(value(row), *scale)).collect();
                    primitive::<Decimal128Type>(&self.data_type, nulls, values)
                }
                DataType::Interval(IntervalUnit::DayTime) => {
                    let values =
                        (0..rows).map(|row| IntervalDayTime::new((word(row) >> 32) as i32, word(row) as i32)).collect();
                    primitive::<IntervalDayTimeType>(&self.data_type, nulls, values)
                }
                DataType::Interval(IntervalUnit::MonthDayNano) => {
                    let values = (0..rows).map(|row| {
                        let bytes = value(row);
                        let days = word(row);
                        let nanos = i64::from_le_bytes(first_eight(&bytes[8..]));
                        IntervalMonthDayNano::new(days as i32, (days >> 32) as i32, nanos)
                    });
                    primitive::<IntervalMonthDayNanoType>(&self.data_type, nulls, values.collect())
                }
                DataType::FixedSizeBinary(width) => {
                    let values: Vec<u8> =
                        (0..rows).flat_map(|row| value(row)[..*width as usize].iter().copied()).collect();
                    Arc::new(FixedSizeBinaryArray::new(*width, values.into(), nulls))
                }
                other => unreachable!("{other} has no fixed key form: KeyColumn::of refuses it"),
            }
        )
    }
}

fn decimal_at_scale(bytes: &[u8], scale: i8) -> i128 {
    let mut unscaled = [0; 16];
    unscaled.copy_from_slice(&bytes[..16]);
    let missing = i32::from(scale) - i32::from(bytes[16] as i8);
    // A key came from a column of this scale, so putting its zeros back cannot overflow.
    i128::from_le_bytes(unscaled).wrapping_mul(10_i128.wrapping_pow(missing.max(0) as u32))
}

fn first_eight(bytes: &[u8]) -> [u8; 8] {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[..8]);
    eight
}

fn primitive<T: ArrowPrimitiveType>(
    data_type: &DataType,
    nulls: Option<NullBuffer>,
    values: Vec<T::Native>,
) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(values.into(), nulls).with_data_type(data_type.clone()))
}

#[inline(always)]
fn each_row(nulls: Option<&NullBuffer>, rows: usize, mut put: impl FnMut(usize)) {
    match nulls {
        None => (0..rows).for_each(&mut put),
        Some(nulls) => nulls.valid_indices().for_each(&mut put),
    }
}
