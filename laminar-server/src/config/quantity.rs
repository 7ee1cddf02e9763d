//! Lengths of time and sizes as people write them: `500 ms`, `2 s`, `64 KiB`.

use std::time::Duration;

/// Reads a length of time; a bare number is refused, since its unit would be a guess.
///
/// # Errors
/// What is wrong with the text.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text)?;
    let nanos = match unit {
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "min" | "m" => 60e9,
        "h" => 3600e9,
        "d" => 86_400e9,
        _ => return Err(format!("`{text}` is not a length of time; write e.g. `500 ms`, `2 s`, `1 h`")),
    };
    let nanos = number * nanos;
    if nanos > 1e18 {
        return Err(format!("`{text}` is longer than 30 years"));
    }
    Ok(Duration::from_nanos(nanos as u64))
}

/// Reads a size in bytes.
///
/// # Errors
/// What is wrong with the text.
pub fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text)?;
    let scale = match unit {
        "" | "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        _ => return Err(format!("`{text}` is not a size; write e.g. `64 KiB`, `16 MiB`, `2 GiB`")),
    };
    let size = number * scale;
    if size > 1e18 {
        return Err(format!("`{text}` is larger than an exabyte"));
    }
    Ok(size as u64)
}

fn split(text: &str) -> Result<(f64, &str), String> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().map_err(|_| format!("`{text}` does not start with a number"))?;
    Ok((number, text[end..].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_with_units_are_read() {
        assert_eq!(duration("500 ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(bytes("64 KiB"), Ok(65_536));
        assert_eq!(bytes("10"), Ok(10));
    }

    #[test]
    fn quantity_without_or_with_unknown_unit_is_refused() {
        assert!(duration("5").unwrap_err().contains("length of time"));
        assert!(duration("soon").unwrap_err().contains("number"));
        assert!(bytes("5 potatoes").unwrap_err().contains("not a size"));
    }
}
