//! Text of dates, times and timestamps.
//!
//! Read are RFC 3339 and `YYYY-MM-DD hh:mm[:ss[.f…]]` with or without zone; text without a zone is
//! UTC. Digits finer than the column's unit are cut (rounded down), so that no time moves forward.

use arrow::datatypes::TimeUnit;

use super::{Fault, civil, decimal, number};

const NANOS: i64 = 1_000_000_000;

/// A number of units in one second.
pub const fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => NANOS,
    }
}

/// Days since 1970 of `YYYY-MM-DD`.
///
/// # Errors
/// [`Fault::Type`]: not a date.
pub fn date(text: &[u8]) -> Result<i32, Fault> {
    let (days, end) = leading_date(text).ok_or(Fault::Type)?;
    if end == text.len() { i32::try_from(days).map_err(|_| Fault::Range) } else { Err(Fault::Type) }
}

/// Units since midnight of `hh:mm[:ss[.f…]]`.
///
/// # Errors
/// [`Fault::Type`]: not a time of day.
pub fn time(text: &[u8], unit: TimeUnit) -> Result<i64, Fault> {
    let (seconds, nanos, end) = leading_time(text, 0).ok_or(Fault::Type)?;
    if end != text.len() || seconds >= 86_400 {
        return Err(Fault::Type);
    }
    Ok(seconds * per_second(unit) + nanos / (NANOS / per_second(unit)))
}

/// Units since 1970-01-01 UTC of a timestamp's text.
///
/// # Errors
/// [`Fault::Type`] not a timestamp, [`Fault::Range`] outside of what the unit can count.
#[inline]
pub fn timestamp(text: &[u8], unit: TimeUnit) -> Result<i64, Fault> {
    let (seconds, nanos) = instant(text).ok_or(Fault::Type)?;
    let scale = per_second(unit);
    seconds.checked_mul(scale).and_then(|units| units.checked_add(nanos / (NANOS / scale))).ok_or(Fault::Range)
}

/// Units since 1970 of an epoch number in units of `from`, which ends at `.1`.
///
/// # Errors
/// [`Fault::Type`] not a number, [`Fault::Range`] too great.
#[inline]
pub fn epoch(bytes: &[u8], at: usize, from: TimeUnit, unit: TimeUnit) -> Result<(i64, usize), Fault> {
    let scanned = number::scan(bytes, at)?;
    let (from, to) = (per_second(from), per_second(unit));
    if !(scanned.exact && scanned.exponent == 0 && scanned.mantissa <= i64::MAX as u64) {
        return epoch_slow(&bytes[at..scanned.end], from, to).map(|units| (units, scanned.end));
    }
    let value = if scanned.negative { -(scanned.mantissa as i64) } else { scanned.mantissa as i64 };
    let units =
        if to >= from { value.checked_mul(to / from).ok_or(Fault::Range)? } else { value.div_euclid(from / to) };
    Ok((units, scanned.end))
}

#[cold]
fn epoch_slow(text: &[u8], from: i64, to: i64) -> Result<i64, Fault> {
    // Nanoseconds hold every unit exactly; what is finer than that is rounded to them.
    let shift = (NANOS / from).ilog10();
    let nanos = decimal::rounded(text, 38, shift as i8)?;
    i64::try_from(nanos.div_euclid(i128::from(NANOS / to))).map_err(|_| Fault::Range)
}

/// Seconds since 1970 and nanoseconds.
#[inline]
fn instant(text: &[u8]) -> Option<(i64, i64)> {
    let (days, at) = leading_date(text)?;
    if at == text.len() {
        return Some((days * 86_400, 0));
    }
    if !matches!(text[at], b'T' | b't' | b' ') {
        return None;
    }
    let (seconds, nanos, at) = leading_time(text, at + 1)?;
    let offset = zone(&text[at..])?;
    Some((days * 86_400 + seconds - offset, nanos))
}

#[inline]
fn leading_date(text: &[u8]) -> Option<(i64, usize)> {
    let head = text.first_chunk::<10>()?;
    if head[4] != b'-' || head[7] != b'-' {
        return None;
    }
    let year = two(head[0], head[1])? * 100 + two(head[2], head[3])?;
    let days = civil::days(i64::from(year), two(head[5], head[6])?, two(head[8], head[9])?)?;
    Some((days, 10))
}

/// Seconds of the day (24:00:00 and second 60 count on), nanoseconds, and where the text goes on.
#[inline]
fn leading_time(text: &[u8], at: usize) -> Option<(i64, i64, usize)> {
    let head = text.get(at..)?.first_chunk::<5>()?;
    if head[2] != b':' {
        return None;
    }
    let (hour, minute) = (two(head[0], head[1])?, two(head[3], head[4])?);
    let (mut second, mut nanos, mut end) = (0, 0, at + 5);
    if text.get(end) == Some(&b':') {
        let tail = text.get(end + 1..)?.first_chunk::<2>()?;
        second = two(tail[0], tail[1])?;
        end += 3;
        if text.get(end) == Some(&b'.') {
            (nanos, end) = fraction(text, end + 1)?;
        }
    }
    if hour > 24 || minute > 59 || second > 60 || (hour == 24 && (minute, second, nanos) != (0, 0, 0)) {
        return None;
    }
    Some((i64::from(hour * 3600 + minute * 60 + second), nanos, end))
}

/// Nanoseconds of the digits behind a point; digits beyond the ninth are cut.
#[inline]
fn fraction(text: &[u8], at: usize) -> Option<(i64, usize)> {
    let (mut nanos, mut weight, mut end) = (0, NANOS / 10, at);
    while let Some(digit) = text.get(end).filter(|byte| byte.is_ascii_digit()) {
        nanos += i64::from(digit - b'0') * weight;
        weight /= 10;
        end += 1;
    }
    (end > at).then_some((nanos, end))
}

/// Seconds east of UTC: `Z`, `±hh`, `±hhmm`, `±hh:mm`, a blank or `UTC` before them, or nothing.
#[inline]
fn zone(text: &[u8]) -> Option<i64> {
    if matches!(text, [] | [b'Z' | b'z']) {
        return Some(0);
    }
    let text = text.strip_prefix(b" ").unwrap_or(text);
    if text == b"UTC" || text == b"Z" {
        return Some(0);
    }
    let (sign, digits) = match text.split_first()? {
        (b'+', rest) => (1, rest),
        (b'-', rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match digits {
        [a, b] => (two(*a, *b)?, 0),
        [a, b, c, d] | [a, b, b':', c, d] => (two(*a, *b)?, two(*c, *d)?),
        _ => return None,
    };
    (hours <= 23 && minutes <= 59).then_some(sign * i64::from(hours * 3600 + minutes * 60))
}

#[inline(always)]
fn two(tens: u8, ones: u8) -> Option<u32> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then_some(u32::from(tens) * 10 + u32::from(ones))
}

/// Writes `YYYY-MM-DD`.
pub fn write_date(days: i64, into: &mut Vec<u8>) {
    let (year, month, day) = civil::date(days);
    if (0..=9999).contains(&year) {
        let year = year as u32;
        into.extend_from_slice(&pair(year / 100));
        into.extend_from_slice(&pair(year % 100));
    } else {
        into.extend_from_slice(format!("{year:+05}").as_bytes());
    }
    into.push(b'-');
    into.extend_from_slice(&pair(month));
    into.push(b'-');
    into.extend_from_slice(&pair(day));
}

/// Writes `hh:mm:ss`, and `.ffffff` (`.fffffffff` for nanoseconds) of a time of day in `unit`.
pub fn write_time(units: i64, unit: TimeUnit, into: &mut Vec<u8>) {
    let scale = per_second(unit);
    let seconds = units.div_euclid(scale) as u32;
    into.extend_from_slice(&pair(seconds / 3600 % 24));
    into.push(b':');
    into.extend_from_slice(&pair(seconds / 60 % 60));
    into.push(b':');
    into.extend_from_slice(&pair(seconds % 60));
    let nanos = (units.rem_euclid(scale) * (NANOS / scale)) as u32;
    into.push(b'.');
    into.extend_from_slice(&pair(nanos / 10_000_000));
    into.extend_from_slice(&pair(nanos / 100_000 % 100));
    into.extend_from_slice(&pair(nanos / 1000 % 100));
    if unit == TimeUnit::Nanosecond {
        let rest = nanos % 1000;
        into.push(b'0' + (rest / 100) as u8);
        into.extend_from_slice(&pair(rest % 100));
    }
}

/// Writes RFC 3339 in UTC, microseconds always shown.
pub fn write_timestamp(units: i64, unit: TimeUnit, into: &mut Vec<u8>) {
    let per_day = 86_400 * per_second(unit);
    write_date(units.div_euclid(per_day), into);
    into.push(b'T');
    write_time(units.rem_euclid(per_day), unit, into);
    into.push(b'Z');
}

#[inline]
fn pair(value: u32) -> [u8; 2] {
    [b'0' + (value / 10) as u8, b'0' + (value % 10) as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_of_every_spelling_are_one_instant() {
        let expected = 1_700_000_000_123_000;
        for text in [
            "2023-11-14T22:13:20.123Z",
            "2023-11-14t22:13:20.123z",
            "2023-11-14 22:13:20.123",
            "2023-11-14 22:13:20.123456+00:00".get(..23).unwrap(),
            "2023-11-14T23:13:20.123+01:00",
            "2023-11-14T23:13:20.123+01",
            "2023-11-14T17:43:20.123-0430",
            "2023-11-14 22:13:20.1230009 UTC",
        ] {
            assert_eq!(timestamp(text.as_bytes(), TimeUnit::Microsecond), Ok(expected), "{text}");
        }
        assert_eq!(timestamp(b"1969-12-31T23:59:59.9999999Z", TimeUnit::Millisecond), Ok(-1), "cut means down");
        assert_eq!(timestamp(b"1970-01-02", TimeUnit::Second), Ok(86_400));
        assert_eq!(timestamp(b"9999-01-01T00:00:00Z", TimeUnit::Nanosecond), Err(Fault::Range));
    }

    #[test]
    fn what_is_no_timestamp_is_refused() {
        for text in [
            "",
            "2023",
            "2023-11-14T",
            "2023-11-14T22",
            "2023-02-29 00:00:00",
            "2023-11-14T25:00:00Z",
            "2023-11-14T22:60:00Z",
            "2023-11-14T22:13:20.Z",
            "2023-11-14T22:13:20Zx",
            "2023-11-14T22:13:20+1",
            "2023-11-14X22:13:20",
            "2023/11/14 22:13:20",
            "１２３４-11-14",
        ] {
            assert_eq!(timestamp(text.as_bytes(), TimeUnit::Microsecond), Err(Fault::Type), "{text}");
        }
    }

    #[test]
    fn epochs_convert_between_units_rounding_down() {
        let read = |text: &str, from, to| epoch(text.as_bytes(), 0, from, to).map(|(value, _)| value);
        use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
        assert_eq!(read("1700000000123", Millisecond, Microsecond), Ok(1_700_000_000_123_000));
        assert_eq!(read("1700000000.5", Second, Millisecond), Ok(1_700_000_000_500));
        assert_eq!(read("1.7e9", Second, Second), Ok(1_700_000_000));
        assert_eq!(read("-1", Nanosecond, Microsecond), Ok(-1));
        assert_eq!(read("99999999999999999", Second, Nanosecond), Err(Fault::Range));
    }

    #[test]
    fn written_timestamps_read_back() {
        for micros in [0, -1, 1_700_000_000_123_456, -62_135_596_800_000_000, 253_402_300_799_999_999] {
            let mut text = Vec::new();
            write_timestamp(micros, TimeUnit::Microsecond, &mut text);
            assert_eq!(timestamp(&text, TimeUnit::Microsecond), Ok(micros), "{}", String::from_utf8_lossy(&text));
        }
        let mut text = Vec::new();
        write_timestamp(1_700_000_000_123_456_789, TimeUnit::Nanosecond, &mut text);
        assert_eq!(text, b"2023-11-14T22:13:20.123456789Z");
    }

    #[test]
    fn times_and_dates_read_their_forms() {
        assert_eq!(time(b"01:02:03.5", TimeUnit::Microsecond), Ok(3_723_500_000));
        assert_eq!(time(b"23:59", TimeUnit::Millisecond), Ok(86_340_000));
        assert_eq!(time(b"24:00:00", TimeUnit::Second), Err(Fault::Type));
        assert_eq!(date(b"2000-02-29"), Ok(11_016));
        assert_eq!(date(b"2000-02-29 "), Err(Fault::Type));
    }
}
