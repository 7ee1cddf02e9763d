//! Floating-point numbers as PostgreSQL writes them: shortest digits that read back the same,
//! with an exponent where it does.

/// A DOUBLE PRECISION.
pub fn double(value: f64) -> String {
    special(value).unwrap_or_else(|| written(&format!("{value:e}"), 15))
}

/// A REAL.
pub fn single(value: f32) -> String {
    special(f64::from(value)).unwrap_or_else(|| written(&format!("{value:e}"), 6))
}

fn special(value: f64) -> Option<String> {
    let word = if value.is_nan() {
        "NaN"
    } else if value == f64::INFINITY {
        "Infinity"
    } else if value == f64::NEG_INFINITY {
        "-Infinity"
    } else {
        return None;
    };
    Some(word.to_owned())
}

/// Rewrites Rust's `d.ddde±x`; from `most` on the exponent is written out.
fn written(scientific: &str, most: i32) -> String {
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific.to_owned() };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= most {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    let point = 1 + exponent;
    let text = match usize::try_from(point) {
        Ok(0) | Err(_) => format!("0.{}{digits}", "0".repeat(point.unsigned_abs() as usize)),
        Ok(point) if point >= digits.len() => format!("{digits}{}", "0".repeat(point - digits.len())),
        Ok(point) => format!("{}.{}", &digits[..point], &digits[point..]),
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_are_written_as_postgresql_does() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (123_456_789_012_345.0, "123456789012345"),
            (1e15, "1e+15"),
            (1.25e300, "1.25e+300"),
            (100.0, "100"),
            (0.1 + 0.2, "0.30000000000000004"),
        ] {
            assert_eq!(double(value), text);
        }
        assert_eq!(single(0.1), "0.1");
        assert_eq!(single(1e6), "1e+06");
        assert_eq!(single(f32::NEG_INFINITY), "-Infinity");
    }

    #[test]
    fn every_finite_value_reads_back_the_same() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..100_000 {
            let value = f64::from_bits(rng.u64(..));
            if value.is_finite() {
                assert_eq!(double(value).parse::<f64>().unwrap().to_bits(), value.to_bits());
            }
        }
    }
}
