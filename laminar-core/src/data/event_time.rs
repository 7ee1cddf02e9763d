//! Timestamp columns as event time, and back.
//!
//! Invariant: a finer unit is rounded down (towards the past), a coarser one is exact; values that do
//! not fit the range of microseconds are clamped to just inside [`EventTime::MIN`]..[`EventTime::MAX`],
//! so that no row can pretend to be the final watermark.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    TimestampSecondArray,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};

use super::EventTime;

/// A column that is not a timestamp was taken for event time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("LDB-3103: a time attribute must be a TIMESTAMP column, not {found}; convert it in a computed column")]
pub struct NotATimestamp {
    /// The column's type.
    pub found: DataType,
}

/// A timestamp column in microseconds. Borrowed where the column is in microseconds already.
#[derive(Clone, Debug)]
pub struct EventTimes<'a> {
    /// One value a row; meaningless where the row is NULL.
    pub micros: Cow<'a, [i64]>,
    /// Which rows are NULL; none = no row is.
    pub nulls: Option<&'a NullBuffer>,
}

impl<'a> EventTimes<'a> {
    /// Reads a column.
    ///
    /// # Errors
    /// The column is not a timestamp.
    pub fn read(column: &'a dyn Array) -> Result<Self, NotATimestamp> {
        let micros = match column.data_type() {
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Cow::Borrowed(&column.as_primitive::<TimestampMicrosecondType>().values()[..])
            }
            DataType::Timestamp(TimeUnit::Second, _) => {
                scaled(column.as_primitive::<TimestampSecondType>().values(), 1_000_000)
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                scaled(column.as_primitive::<TimestampMillisecondType>().values(), 1_000)
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                let values = column.as_primitive::<TimestampNanosecondType>().values();
                Cow::Owned(values.iter().map(|nanos| nanos.div_euclid(1_000)).collect())
            }
            other => return Err(NotATimestamp { found: other.clone() }),
        };
        Ok(Self { micros, nulls: column.nulls().filter(|nulls| nulls.null_count() > 0) })
    }

    /// The time of a row; none where it is NULL.
    pub fn get(&self, row: usize) -> Option<EventTime> {
        match self.nulls {
            Some(nulls) if nulls.is_null(row) => None,
            _ => Some(inside(self.micros[row])),
        }
    }

    /// Smallest and greatest time that is not NULL; none when all are.
    pub fn bounds(&self) -> Option<(EventTime, EventTime)> {
        let mut least = i64::MAX;
        let mut greatest = i64::MIN;
        match self.nulls {
            None => {
                for &micros in self.micros.iter() {
                    least = least.min(micros);
                    greatest = greatest.max(micros);
                }
                if self.micros.is_empty() {
                    return None;
                }
            }
            Some(nulls) => {
                if nulls.null_count() == nulls.len() {
                    return None;
                }
                for row in nulls.valid_indices() {
                    least = least.min(self.micros[row]);
                    greatest = greatest.max(self.micros[row]);
                }
            }
        }
        Some((inside(least), inside(greatest)))
    }
}

fn inside(micros: i64) -> EventTime {
    EventTime(micros.clamp(i64::MIN + 1, i64::MAX - 1))
}

fn scaled(values: &[i64], factor: i64) -> Cow<'static, [i64]> {
    Cow::Owned(values.iter().map(|value| value.saturating_mul(factor)).collect())
}

/// Makes a column without NULLs of a timestamp type (unit and zone as given) from microseconds.
/// A coarser unit is rounded down; a finer one is clamped to its range.
///
/// # Errors
/// The type is not a timestamp.
pub fn timestamp_column(micros: Vec<i64>, data_type: &DataType) -> Result<ArrayRef, NotATimestamp> {
    let DataType::Timestamp(unit, zone) = data_type else {
        return Err(NotATimestamp { found: data_type.clone() });
    };
    let zone = zone.clone();
    Ok(match unit {
        TimeUnit::Microsecond => {
            Arc::new(TimestampMicrosecondArray::new(ScalarBuffer::from(micros), None).with_timezone_opt(zone))
        }
        TimeUnit::Second => {
            let values: Vec<i64> = micros.iter().map(|m| m.div_euclid(1_000_000)).collect();
            Arc::new(TimestampSecondArray::new(ScalarBuffer::from(values), None).with_timezone_opt(zone))
        }
        TimeUnit::Millisecond => {
            let values: Vec<i64> = micros.iter().map(|m| m.div_euclid(1_000)).collect();
            Arc::new(TimestampMillisecondArray::new(ScalarBuffer::from(values), None).with_timezone_opt(zone))
        }
        TimeUnit::Nanosecond => {
            let values: Vec<i64> = micros.iter().map(|m| m.saturating_mul(1_000)).collect();
            Arc::new(TimestampNanosecondArray::new(ScalarBuffer::from(values), None).with_timezone_opt(zone))
        }
    })
}

/// Microseconds in one unit of a timestamp type, at least 1 (nanoseconds round to 1): what
/// `window_time` lies before `window_end`, unless the unit is finer.
pub fn unit_micros(data_type: &DataType) -> i64 {
    match data_type {
        DataType::Timestamp(TimeUnit::Second, _) => 1_000_000,
        DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_precision_reads_as_microseconds_rounded_down() {
        let columns: [(ArrayRef, i64); 4] = [
            (Arc::new(TimestampSecondArray::from(vec![-2])), -2_000_000),
            (Arc::new(TimestampMillisecondArray::from(vec![-2])), -2_000),
            (Arc::new(TimestampMicrosecondArray::from(vec![-2])), -2),
            (Arc::new(TimestampNanosecondArray::from(vec![-2])), -1),
        ];
        for (column, expected) in columns {
            let times = EventTimes::read(column.as_ref()).unwrap();
            assert_eq!(times.get(0), Some(EventTime(expected)), "{}", column.data_type());
            let back = timestamp_column(vec![expected], column.data_type()).unwrap();
            assert_eq!(back.data_type(), column.data_type());
        }
    }

    #[test]
    fn a_value_out_of_range_never_becomes_the_final_watermark() {
        let column = TimestampSecondArray::from(vec![i64::MAX, i64::MIN]);
        let times = EventTimes::read(&column).unwrap();
        assert_eq!(times.get(0), Some(EventTime(i64::MAX - 1)));
        assert_eq!(times.get(1), Some(EventTime(i64::MIN + 1)));
    }

    #[test]
    fn nulls_have_no_time_and_do_not_count_in_bounds() {
        let column = TimestampMillisecondArray::from(vec![None, Some(5), Some(3), None]);
        let times = EventTimes::read(&column).unwrap();
        assert_eq!(times.get(0), None);
        assert_eq!(times.bounds(), Some((EventTime(3_000), EventTime(5_000))));
        assert_eq!(EventTimes::read(&TimestampMillisecondArray::from(vec![None, None])).unwrap().bounds(), None);
    }
}
