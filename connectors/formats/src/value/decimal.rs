//! Exact decimals: number text to a scaled integer, and back.

use super::Fault;

/// The value of number text (already known to be JSON's grammar) times `10^scale`, which must be whole.
///
/// # Errors
/// [`Fault::Type`] digits would be lost, [`Fault::Range`] beyond 128 bits.
pub fn exact(text: &[u8], scale: i32) -> Result<i128, Fault> {
    let (value, rest) = scaled(text, scale)?;
    if rest == Rest::Zero { Ok(value) } else { Err(Fault::Type) }
}

/// The value of number text times `10^scale`, rounded half away from zero as PostgreSQL rounds a
/// numeric on the way in, and at most `precision` digits long.
///
/// # Errors
/// [`Fault::Range`]: more digits than the type has.
pub fn rounded(text: &[u8], precision: u8, scale: i8) -> Result<i128, Fault> {
    let (value, rest) = scaled(text, i32::from(scale))?;
    let away = if text.first() == Some(&b'-') { -1 } else { 1 };
    let value = if rest == Rest::HalfOrMore { value.checked_add(away).ok_or(Fault::Range)? } else { value };
    let limit = 10i128.checked_pow(u32::from(precision)).ok_or(Fault::Range)?;
    if value.abs() < limit { Ok(value) } else { Err(Fault::Range) }
}

/// What was cut off.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Zero,
    BelowHalf,
    HalfOrMore,
}

fn scaled(text: &[u8], scale: i32) -> Result<(i128, Rest), Fault> {
    let negative = text.first() == Some(&b'-');
    let (mantissa, power) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&text[..at], power_of(&text[at + 1..])),
        None => (text, 0),
    };
    let mantissa = if negative { &mantissa[1..] } else { mantissa };
    let point = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
    // Digits that lie before the point once it has moved by power and scale.
    let kept =
        i64::try_from(point).unwrap_or(i64::MAX).saturating_add(i64::from(power)).saturating_add(i64::from(scale));
    let (mut value, mut index, mut rest) = (0i128, 0i64, Rest::Zero);
    for digit in mantissa.iter().filter(|byte| **byte != b'.').map(|byte| byte - b'0') {
        if index < kept {
            value = value.checked_mul(10).and_then(|v| v.checked_add(i128::from(digit))).ok_or(Fault::Range)?;
        } else if index == kept && digit >= 5 {
            rest = Rest::HalfOrMore;
        } else if digit > 0 && rest == Rest::Zero {
            rest = Rest::BelowHalf;
        }
        index += 1;
    }
    if value != 0 {
        let zeros = u32::try_from((kept - index).max(0)).map_err(|_| Fault::Range)?;
        let factor = 10i128.checked_pow(zeros).ok_or(Fault::Range)?;
        value = value.checked_mul(factor).ok_or(Fault::Range)?;
    }
    Ok((if negative { -value } else { value }, rest))
}

fn power_of(text: &[u8]) -> i32 {
    let (negative, digits) = match text.first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let power = digits.iter().fold(0i32, |p, digit| p.saturating_mul(10).saturating_add(i32::from(digit - b'0')));
    if negative { -power } else { power }
}

/// Writes a scaled integer with its point.
pub fn write(value: i128, scale: i8, into: &mut Vec<u8>) {
    if value < 0 {
        into.push(b'-');
    }
    let text = value.unsigned_abs().to_string();
    let scale = usize::try_from(scale).unwrap_or(0);
    if text.len() > scale {
        into.extend_from_slice(&text.as_bytes()[..text.len() - scale]);
    } else {
        into.push(b'0');
    }
    if scale > 0 {
        into.push(b'.');
        let zeros = scale.saturating_sub(text.len());
        into.extend(std::iter::repeat_n(b'0', zeros));
        into.extend_from_slice(&text.as_bytes()[text.len().saturating_sub(scale)..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_or_rounded_half_away_from_zero() {
        assert_eq!(rounded(b"12.345", 10, 2), Ok(1235));
        assert_eq!(rounded(b"-12.345", 10, 2), Ok(-1235));
        assert_eq!(rounded(b"12.3449", 10, 2), Ok(1234));
        assert_eq!(rounded(b"0.005", 10, 2), Ok(1));
        assert_eq!(rounded(b"0.0049", 10, 2), Ok(0));
        assert_eq!(rounded(b"0.05", 10, 0), Ok(0));
        assert_eq!(rounded(b"1e3", 10, 2), Ok(100_000));
        assert_eq!(rounded(b"1.5E-1", 10, 2), Ok(15));
        assert_eq!(rounded(b"99.995", 4, 2), Err(Fault::Range));
        assert_eq!(rounded(b"0e999999999", 4, 2), Ok(0));
        assert_eq!(rounded(b"1e-999999999", 4, 2), Ok(0));
        assert_eq!(rounded(b"1e999999999", 4, 2), Err(Fault::Range));
        let long = b"99999999999999999999999999999999999999";
        assert_eq!(rounded(long, 38, 0), Ok(10i128.pow(38) - 1));
    }

    #[test]
    fn whole_numbers_may_be_written_with_point_and_exponent() {
        assert_eq!(exact(b"1.0", 0), Ok(1));
        assert_eq!(exact(b"12e2", 0), Ok(1200));
        assert_eq!(exact(b"1200e-2", 0), Ok(12));
        assert_eq!(exact(b"1.5", 0), Err(Fault::Type));
        assert_eq!(exact(b"-9223372036854775808", 0), Ok(i128::from(i64::MIN)));
    }

    #[test]
    fn decimals_write_what_they_read() {
        for (value, scale, text) in [(1235, 2, "12.35"), (-5, 2, "-0.05"), (0, 3, "0.000"), (42, 0, "42")] {
            let mut written = Vec::new();
            write(value, scale, &mut written);
            assert_eq!(String::from_utf8(written).unwrap(), text);
        }
    }
}
