//! The values of a column in the layout of Arrow.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, Date32Array, Decimal128Array,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, StringArray, StringViewArray,
    Time32MillisecondArray, Time32SecondArray, Time64MicrosecondArray, Time64NanosecondArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::error::ArrowError;

use crate::value::{Fault, Kind};

/// Values without validity.
pub enum Store {
    /// Bits.
    Bool(BooleanBufferBuilder),
    /// SMALLINT.
    I16(Vec<i16>),
    /// INTEGER, DATE, TIME in seconds and milliseconds.
    I32(Vec<i32>),
    /// BIGINT, TIMESTAMP, TIME in micro- and nanoseconds.
    I64(Vec<i64>),
    /// REAL.
    F32(Vec<f32>),
    /// DOUBLE PRECISION.
    F64(Vec<f64>),
    /// DECIMAL.
    I128(Vec<i128>),
    /// TEXT, JSON, BYTEA: bytes one behind the other, and where each value ends.
    Bytes {
        /// All bytes.
        data: Vec<u8>,
        /// End of each value in `data`.
        ends: Vec<i32>,
    },
    /// UUID.
    Fixed(Vec<[u8; 16]>),
}

impl Store {
    /// An empty store; none where type and kind do not go together.
    pub fn new(kind: Kind, data_type: &DataType) -> Option<Self> {
        Some(match kind {
            Kind::Boolean => Self::Bool(BooleanBufferBuilder::new(0)),
            Kind::SmallInt => Self::I16(Vec::new()),
            Kind::Integer | Kind::Date => Self::I32(Vec::new()),
            Kind::BigInt | Kind::Timestamp(_) => Self::I64(Vec::new()),
            Kind::Real => Self::F32(Vec::new()),
            Kind::Double => Self::F64(Vec::new()),
            Kind::Decimal { .. } => Self::I128(Vec::new()),
            Kind::Text | Kind::Json | Kind::Bytes => Self::Bytes { data: Vec::new(), ends: Vec::new() },
            Kind::Uuid => Self::Fixed(Vec::new()),
            Kind::Time(_) => match data_type {
                DataType::Time32(TimeUnit::Second | TimeUnit::Millisecond) => Self::I32(Vec::new()),
                DataType::Time64(TimeUnit::Microsecond | TimeUnit::Nanosecond) => Self::I64(Vec::new()),
                _ => return None,
            },
        })
    }

    /// Number of values.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Self::Bool(values) => values.len(),
            Self::I16(values) => values.len(),
            Self::I32(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::I128(values) => values.len(),
            Self::Bytes { ends, .. } => ends.len(),
            Self::Fixed(values) => values.len(),
        }
    }

    /// Appends a truth value.
    #[inline]
    pub fn push_bool(&mut self, value: bool) {
        match self {
            Self::Bool(values) => values.append(value),
            _ => unfit(),
        }
    }

    /// Appends a whole number to whatever integer width the store has.
    ///
    /// # Errors
    /// [`Fault::Range`]: the width is too small.
    #[inline(always)]
    pub fn push_i64(&mut self, value: i64) -> Result<(), Fault> {
        match self {
            Self::I64(values) => values.push(value),
            Self::I32(values) => values.push(i32::try_from(value).map_err(|_| Fault::Range)?),
            Self::I16(values) => values.push(i16::try_from(value).map_err(|_| Fault::Range)?),
            _ => unfit(),
        }
        Ok(())
    }

    /// Appends a single.
    #[inline]
    pub fn push_f32(&mut self, value: f32) {
        match self {
            Self::F32(values) => values.push(value),
            _ => unfit(),
        }
    }

    /// Appends a double.
    #[inline]
    pub fn push_f64(&mut self, value: f64) {
        match self {
            Self::F64(values) => values.push(value),
            _ => unfit(),
        }
    }

    /// Appends a scaled decimal.
    #[inline]
    pub fn push_i128(&mut self, value: i128) {
        match self {
            Self::I128(values) => values.push(value),
            _ => unfit(),
        }
    }

    /// Appends a UUID.
    #[inline]
    pub fn push_fixed(&mut self, value: [u8; 16]) {
        match self {
            Self::Fixed(values) => values.push(value),
            _ => unfit(),
        }
    }

    /// Appends bytes as one value.
    ///
    /// # Errors
    /// [`Fault::Full`]: the batch holds 2 GiB of text.
    #[inline(always)]
    pub fn push_bytes(&mut self, value: &[u8]) -> Result<(), Fault> {
        match self {
            Self::Bytes { data, ends } => {
                data.extend_from_slice(value);
                ends.push(i32::try_from(data.len()).map_err(|_| Fault::Full)?);
            }
            _ => unfit(),
        }
        Ok(())
    }

    /// Appends what `write` appends to the bytes as one value; on its error the caller cuts.
    ///
    /// # Errors
    /// Those of `write`, and [`Fault::Full`].
    #[inline]
    pub fn push_written(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), Fault>) -> Result<(), Fault> {
        match self {
            Self::Bytes { data, ends } => {
                write(data)?;
                ends.push(i32::try_from(data.len()).map_err(|_| Fault::Full)?);
            }
            _ => unfit(),
        }
        Ok(())
    }

    /// Appends the value that stands under a null.
    pub fn push_default(&mut self) {
        match self {
            Self::Bool(values) => values.append(false),
            Self::I16(values) => values.push(0),
            Self::I32(values) => values.push(0),
            Self::I64(values) => values.push(0),
            Self::F32(values) => values.push(0.0),
            Self::F64(values) => values.push(0.0),
            Self::I128(values) => values.push(0),
            Self::Bytes { ends, .. } => ends.push(ends.last().copied().unwrap_or(0)),
            Self::Fixed(values) => values.push([0; 16]),
        }
    }

    /// Keeps the first `rows` values, and drops bytes of a value that was not finished.
    pub fn cut(&mut self, rows: usize) {
        match self {
            Self::Bool(values) => {
                if values.len() > rows {
                    values.truncate(rows);
                }
            }
            Self::I16(values) => values.truncate(rows),
            Self::I32(values) => values.truncate(rows),
            Self::I64(values) => values.truncate(rows),
            Self::F32(values) => values.truncate(rows),
            Self::F64(values) => values.truncate(rows),
            Self::I128(values) => values.truncate(rows),
            Self::Bytes { data, ends } => {
                ends.truncate(rows);
                data.truncate(ends.last().map_or(0, |end| usize::try_from(*end).unwrap_or(0)));
            }
            Self::Fixed(values) => values.truncate(rows),
        }
    }

    /// Takes the values as an array; the next batch is expected to be of the same size.
    ///
    /// # Errors
    /// Arrow finds the parts inconsistent: a defect.
    pub fn finish(&mut self, data_type: &DataType, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Self::Bool(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Self::I16(values) => Arc::new(Int16Array::try_new(take(values), nulls)?),
            Self::I32(values) => {
                let values = take(values);
                match data_type {
                    DataType::Date32 => Arc::new(Date32Array::try_new(values, nulls)?),
                    DataType::Time32(TimeUnit::Second) => Arc::new(Time32SecondArray::try_new(values, nulls)?),
                    DataType::Time32(_) => Arc::new(Time32MillisecondArray::try_new(values, nulls)?),
                    _ => Arc::new(Int32Array::try_new(values, nulls)?),
                }
            }
            Self::I64(values) => i64_array(take(values), nulls, data_type)?,
            Self::F32(values) => Arc::new(Float32Array::try_new(take(values), nulls)?),
            Self::F64(values) => Arc::new(Float64Array::try_new(take(values), nulls)?),
            Self::I128(values) => {
                Arc::new(Decimal128Array::try_new(take(values), nulls)?.with_data_type(data_type.clone()))
            }
            Self::Bytes { data, ends } => bytes_array(data, ends, nulls, data_type)?,
            Self::Fixed(values) => {
                let flat: Vec<u8> = values.iter().flatten().copied().collect();
                let rows = values.len();
                values.clear();
                Arc::new(FixedSizeBinaryArray::try_new_with_len(16, Buffer::from_vec(flat), nulls, rows)?)
            }
        })
    }
}

fn take<T: arrow::datatypes::ArrowNativeType>(values: &mut Vec<T>) -> ScalarBuffer<T> {
    let next = Vec::with_capacity(values.len());
    ScalarBuffer::from(std::mem::replace(values, next))
}

fn i64_array(
    values: ScalarBuffer<i64>,
    nulls: Option<NullBuffer>,
    data_type: &DataType,
) -> Result<ArrayRef, ArrowError> {
    Ok(match data_type {
        DataType::Time64(TimeUnit::Nanosecond) => Arc::new(Time64NanosecondArray::try_new(values, nulls)?),
        DataType::Time64(_) => Arc::new(Time64MicrosecondArray::try_new(values, nulls)?),
        DataType::Timestamp(unit, zone) => {
            let zone = zone.clone();
            match unit {
                TimeUnit::Second => Arc::new(TimestampSecondArray::try_new(values, nulls)?.with_timezone_opt(zone)),
                TimeUnit::Millisecond => {
                    Arc::new(TimestampMillisecondArray::try_new(values, nulls)?.with_timezone_opt(zone))
                }
                TimeUnit::Microsecond => {
                    Arc::new(TimestampMicrosecondArray::try_new(values, nulls)?.with_timezone_opt(zone))
                }
                TimeUnit::Nanosecond => {
                    Arc::new(TimestampNanosecondArray::try_new(values, nulls)?.with_timezone_opt(zone))
                }
            }
        }
        _ => Arc::new(Int64Array::try_new(values, nulls)?),
    })
}

fn bytes_array(
    data: &mut Vec<u8>,
    ends: &mut Vec<i32>,
    nulls: Option<NullBuffer>,
    data_type: &DataType,
) -> Result<ArrayRef, ArrowError> {
    let mut offsets = Vec::with_capacity(ends.len() + 1);
    offsets.push(0);
    offsets.extend_from_slice(ends);
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let next = Vec::with_capacity(data.len());
    let bytes = Buffer::from_vec(std::mem::replace(data, next));
    ends.clear();
    Ok(match data_type {
        DataType::Binary => Arc::new(BinaryArray::try_new(offsets, bytes, nulls)?),
        DataType::Utf8View => {
            let text = StringArray::try_new(offsets, bytes, nulls)?;
            Arc::new(StringViewArray::from(&text))
        }
        _ => Arc::new(StringArray::try_new(offsets, bytes, nulls)?) as Arc<dyn Array>,
    })
}

/// A value of another kind than the store's: the kind chose the store, so this cannot happen.
#[cold]
fn unfit() {
    debug_assert!(false, "a store takes values of the kind that made it");
}
