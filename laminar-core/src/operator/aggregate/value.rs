//! Single values inside a group's state: words, wide words, and references to blobs.
//!
//! Invariant: words and wide words compare like the SQL values they stand for (NaN is the greatest
//! float, −0.0 equals 0.0), so that min and max compare integers.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, FixedSizeBinaryArray, PrimitiveArray, UInt64Array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
};

use crate::data::key::{canonical_bits, each_i64, variable_column};

/// How values of a type are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueKind {
    /// Eight bytes.
    Word,
    /// Sixteen bytes.
    Wide,
    /// A blob.
    Blob,
}

impl ValueKind {
    /// How a type is kept; none when it cannot be.
    pub(super) fn of(data_type: &DataType) -> Option<Self> {
        macro_rules! word {
            ($type:ty) => {
                Self::Word
            };
        }
        Some(match data_type {
            DataType::Boolean | DataType::Float32 | DataType::Float64 => Self::Word,
            DataType::Decimal128(_, _) | DataType::Interval(IntervalUnit::MonthDayNano) => Self::Wide,
            DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Self::Blob,
            other => each_i64!(other, word, return None),
        })
    }

    /// Whether a type has an order that min and max may use.
    pub(super) fn is_ordered(data_type: &DataType) -> bool {
        !matches!(data_type, DataType::Interval(_)) && Self::of(data_type).is_some()
    }

    /// Bytes in a state.
    pub(super) fn width(self) -> usize {
        match self {
            Self::Word | Self::Blob => 8,
            Self::Wide => 16,
        }
    }
}

const SIGN: i64 = i64::MIN;

fn ordered_float(value: f64) -> i64 {
    let bits = canonical_bits(value) as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

fn float_of(word: i64) -> f64 {
    f64::from_bits((word ^ (((word >> 63) as u64) >> 1) as i64) as u64)
}

/// A column of word kind as ordered words; entries of NULL rows mean nothing.
pub(super) fn words(column: &dyn Array) -> Cow<'_, [i64]> {
    macro_rules! each {
        ($type:ty) => {
            <$type as AsWords>::words(column.as_primitive::<$type>().values())
        };
    }
    let other = |column: &dyn Array| match column.data_type() {
        DataType::Boolean => column.as_boolean().values().iter().map(i64::from).collect::<Vec<_>>(),
        DataType::Float32 => {
            let values = column.as_primitive::<Float32Type>().values();
            values.iter().map(|value| ordered_float(f64::from(*value))).collect()
        }
        DataType::Float64 => {
            column.as_primitive::<Float64Type>().values().iter().map(|value| ordered_float(*value)).collect()
        }
        other => unreachable!("{other} is not of word kind: the plan checked it"),
    };
    each_i64!(column.data_type(), each, Cow::Owned(other(column)))
}

/// Lets a column of i64 be borrowed where others are copied.
trait AsWords: ArrowPrimitiveType {
    fn words(values: &[Self::Native]) -> Cow<'_, [i64]>;
}

macro_rules! as_words {
    ($($name:ident),* => $convert:expr) => {
        $(impl AsWords for arrow::datatypes::$name {
            fn words(values: &[Self::Native]) -> Cow<'_, [i64]> {
                $convert(values)
            }
        })*
    };
}
as_words!(Int64Type, Date64Type, Time64MicrosecondType, Time64NanosecondType, TimestampSecondType,
    TimestampMillisecondType, TimestampMicrosecondType, TimestampNanosecondType, DurationSecondType,
    DurationMillisecondType, DurationMicrosecondType, DurationNanosecondType => Cow::Borrowed);
as_words!(Int8Type, Int16Type, Int32Type, UInt8Type, UInt16Type, UInt32Type, Date32Type, Time32SecondType,
    Time32MillisecondType, IntervalYearMonthType
    => |values: &[_]| Cow::Owned(values.iter().map(|value| i64::from(*value)).collect()));
as_words!(UInt64Type => |values: &[u64]| Cow::Owned(values.iter().map(|value| *value as i64 ^ SIGN).collect()));

/// A column of an integer type, decimal or long interval as i128; entries of NULL rows mean nothing.
pub(super) fn wides(column: &dyn Array) -> Cow<'_, [i128]> {
    match column.data_type() {
        DataType::Decimal128(_, _) => Cow::Borrowed(&column.as_primitive::<Decimal128Type>().values()[..]),
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let values = column.as_primitive::<IntervalMonthDayNanoType>().values();
            let pack = |value: &IntervalMonthDayNano| {
                let days = i128::from(value.days as u32) << 64;
                i128::from(value.months) << 96 | days | i128::from(value.nanoseconds as u64)
            };
            values.iter().map(pack).collect()
        }
        DataType::UInt64 => words(column).iter().map(|word| i128::from((word ^ SIGN) as u64)).collect(),
        _ => words(column).iter().map(|word| i128::from(*word)).collect(),
    }
}

/// A column of floats as f64.
pub(super) fn floats(column: &dyn Array) -> Cow<'_, [f64]> {
    match column.data_type() {
        DataType::Float32 => {
            column.as_primitive::<Float32Type>().values().iter().map(|value| f64::from(*value)).collect()
        }
        _ => Cow::Borrowed(&column.as_primitive::<Float64Type>().values()[..]),
    }
}

/// The bytes of a row of a column of blob kind.
pub(super) fn bytes_at(column: &dyn Array, row: usize) -> &[u8] {
    match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(row).as_bytes(),
        DataType::LargeUtf8 => column.as_string::<i64>().value(row).as_bytes(),
        DataType::Utf8View => column.as_string_view().value(row).as_bytes(),
        DataType::Binary => column.as_binary::<i32>().value(row),
        DataType::LargeBinary => column.as_binary::<i64>().value(row),
        DataType::BinaryView => column.as_binary_view().value(row),
        DataType::FixedSizeBinary(_) => column.as_fixed_size_binary().value(row),
        other => unreachable!("{other} is not of blob kind: the plan checked it"),
    }
}

/// Ordered words back to a column.
pub(super) fn column_of_words(data_type: &DataType, words: &[i64], nulls: Option<NullBuffer>) -> ArrayRef {
    macro_rules! each {
        ($type:ty) => {{
            let values: Vec<<$type as ArrowPrimitiveType>::Native> = words.iter().map(|word| *word as _).collect();
            Arc::new(PrimitiveArray::<$type>::new(values.into(), nulls).with_data_type(data_type.clone())) as ArrayRef
        }};
    }
    match data_type {
        DataType::UInt64 => {
            let values: Vec<u64> = words.iter().map(|word| (*word ^ SIGN) as u64).collect();
            Arc::new(UInt64Array::new(values.into(), nulls))
        }
        DataType::Boolean => Arc::new(BooleanArray::new(words.iter().map(|word| *word != 0).collect(), nulls)),
        DataType::Float32 => {
            let values: Vec<f32> = words.iter().map(|word| float_of(*word) as f32).collect();
            Arc::new(PrimitiveArray::<Float32Type>::new(values.into(), nulls))
        }
        DataType::Float64 => {
            let values: Vec<f64> = words.iter().map(|word| float_of(*word)).collect();
            Arc::new(PrimitiveArray::<Float64Type>::new(values.into(), nulls))
        }
        other => each_i64!(other, each, unreachable!("{other} is not of word kind: the plan checked it")),
    }
}

/// Wide words back to a column.
pub(super) fn column_of_wides(data_type: &DataType, wides: Vec<i128>, nulls: Option<NullBuffer>) -> ArrayRef {
    match data_type {
        DataType::Interval(_) => {
            let unpack =
                |wide: &i128| IntervalMonthDayNano::new((wide >> 96) as i32, (wide >> 64) as i32, *wide as i64);
            let values: Vec<_> = wides.iter().map(unpack).collect();
            Arc::new(PrimitiveArray::<IntervalMonthDayNanoType>::new(values.into(), nulls))
        }
        _ => Arc::new(PrimitiveArray::<Decimal128Type>::new(wides.into(), nulls).with_data_type(data_type.clone())),
    }
}

/// Blobs back to a column. State holds only what a column of that type held, so text is valid UTF-8;
/// bytes that are not (damaged state) become replacement characters.
pub(super) fn column_of_blobs<'a>(data_type: &DataType, blobs: impl Iterator<Item = Option<&'a [u8]>>) -> ArrayRef {
    match data_type {
        DataType::FixedSizeBinary(width) => {
            let (mut values, mut valid) = (Vec::new(), Vec::new());
            for blob in blobs {
                valid.push(blob.is_some());
                let end = values.len() + *width as usize;
                values.extend_from_slice(blob.unwrap_or(&[]));
                values.resize(end, 0);
            }
            let nulls = Some(NullBuffer::from(valid)).filter(|nulls| nulls.null_count() > 0);
            Arc::new(FixedSizeBinaryArray::new(*width, values.into(), nulls))
        }
        _ => variable_column(data_type, blobs),
    }
}
