//! JSON numbers: grammar, integers, floats.
//!
//! Invariant: a number is read to its correctly rounded value or refused; what the short way cannot
//! do exactly goes to the standard library's parser.

use super::Fault;
use super::decimal;
use super::word::{digits, digits_onto};

/// A number as scanned: `±mantissa × 10^exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// A minus stood before it.
    pub negative: bool,
    /// Its digits; meaningless unless `exact`.
    pub mantissa: u64,
    /// Power of ten.
    pub exponent: i32,
    /// Whether the mantissa holds all digits.
    pub exact: bool,
    /// Where it ends.
    pub end: usize,
}

/// Scans one number by JSON's grammar.
///
/// # Errors
/// [`Fault::Type`]: no number begins here.
#[inline]
pub fn scan(bytes: &[u8], at: usize) -> Result<Number, Fault> {
    let negative = bytes.get(at) == Some(&b'-');
    let start = at + usize::from(negative);
    let (mut mantissa, mut end) = digits(bytes, start);
    let mut count = end - start;
    if count == 0 || (count > 1 && bytes[start] == b'0') {
        return Err(Fault::Type);
    }
    let mut exponent = 0;
    if bytes.get(end) == Some(&b'.') {
        let fraction = end + 1;
        (mantissa, end) = digits_onto(mantissa, bytes, fraction);
        if end == fraction {
            return Err(Fault::Type);
        }
        count += end - fraction;
        exponent = -((end - fraction) as i32);
    }
    if let Some(b'e' | b'E') = bytes.get(end) {
        let sign = bytes.get(end + 1).copied();
        let from = end + 1 + usize::from(matches!(sign, Some(b'+' | b'-')));
        let (power, stop) = digits(bytes, from);
        if stop == from {
            return Err(Fault::Type);
        }
        // Beyond every type's range; the digits of the mantissa decide between 0 and a refusal.
        let power = if stop - from > 6 { saturated(&bytes[from..stop]) } else { power as i32 };
        exponent = if sign == Some(b'-') { exponent.saturating_sub(power) } else { exponent.saturating_add(power) };
        end = stop;
    }
    Ok(Number { negative, mantissa, exponent, exact: count <= 19, end })
}

#[cold]
fn saturated(digits: &[u8]) -> i32 {
    digits.iter().fold(0i32, |value, digit| value.saturating_mul(10).saturating_add(i32::from(digit - b'0')))
}

/// Reads a whole number. A fraction of zeros and an exponent are accepted where the value is whole.
///
/// # Errors
/// Not a number, not whole, or outside of `i64`.
#[inline]
pub fn integer(bytes: &[u8], at: usize) -> Result<(i64, usize), Fault> {
    let negative = bytes.get(at) == Some(&b'-');
    let start = at + usize::from(negative);
    let (value, end) = digits(bytes, start);
    let count = end - start;
    if count == 0 || (count > 1 && bytes[start] == b'0') {
        return Err(Fault::Type);
    }
    if count > 18 || matches!(bytes.get(end), Some(b'.' | b'e' | b'E')) {
        return integer_slow(bytes, at);
    }
    let value = value as i64;
    Ok((if negative { -value } else { value }, end))
}

#[cold]
fn integer_slow(bytes: &[u8], at: usize) -> Result<(i64, usize), Fault> {
    let end = scan(bytes, at)?.end;
    let value = decimal::exact(&bytes[at..end], 0)?;
    i64::try_from(value).map(|value| (value, end)).map_err(|_| Fault::Range)
}

/// Reads a double.
///
/// # Errors
/// Not a number, or too great for a finite double.
#[inline]
pub fn double(bytes: &[u8], at: usize) -> Result<(f64, usize), Fault> {
    let negative = bytes.get(at) == Some(&b'-');
    let start = at + usize::from(negative);
    let (mut mantissa, mut end) = digits(bytes, start);
    let whole = end - start;
    if whole == 0 || (whole > 1 && bytes[start] == b'0') {
        return Err(Fault::Type);
    }
    let mut places = 0;
    if bytes.get(end) == Some(&b'.') {
        let fraction = end + 1;
        (mantissa, end) = digits_onto(mantissa, bytes, fraction);
        places = end - fraction;
        if places == 0 {
            return Err(Fault::Type);
        }
    }
    // Up to 19 digits the mantissa is exact; it and the power being exact doubles, one division
    // rounds once (Clinger 1990).
    if whole + places <= 19 && mantissa <= 1 << 53 && !matches!(bytes.get(end), Some(b'e' | b'E')) {
        let value = mantissa as f64 / EXACT_DOUBLES[places];
        return Ok((if negative { -value } else { value }, end));
    }
    double_slow(bytes, at, scan(bytes, at)?.end)
}

/// Powers of ten that a double holds exactly.
const EXACT_DOUBLES: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

#[cold]
fn double_slow(bytes: &[u8], at: usize, end: usize) -> Result<(f64, usize), Fault> {
    let text = std::str::from_utf8(&bytes[at..end]).map_err(|_| Fault::Utf8)?;
    let value: f64 = text.parse().map_err(|_| Fault::Type)?;
    if value.is_finite() { Ok((value, end)) } else { Err(Fault::Range) }
}

/// Reads a single-precision number, rounded once.
///
/// # Errors
/// Not a number, or too great for a finite single.
#[inline]
pub fn single(bytes: &[u8], at: usize) -> Result<(f32, usize), Fault> {
    const EXACT: [f32; 11] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];
    let number = scan(bytes, at)?;
    if number.exact && number.mantissa <= 1 << 24 && number.exponent.unsigned_abs() <= 10 {
        let mantissa = number.mantissa as f32;
        let power = EXACT[number.exponent.unsigned_abs() as usize];
        let value = if number.exponent < 0 { mantissa / power } else { mantissa * power };
        return Ok((if number.negative { -value } else { value }, number.end));
    }
    let text = std::str::from_utf8(&bytes[at..number.end]).map_err(|_| Fault::Utf8)?;
    let value: f32 = text.parse().map_err(|_| Fault::Type)?;
    if value.is_finite() { Ok((value, number.end)) } else { Err(Fault::Range) }
}
