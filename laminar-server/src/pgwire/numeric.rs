//! PostgreSQL's binary `numeric`: base-10000 digits, from and to decimal text.
//!
//! Text is the common form because it holds every Arrow decimal, up to 76 digits.

/// Sign words of the binary form.
const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;

/// Encodes decimal text (`-12.340`) as the binary form.
pub fn encode(text: &str) -> Vec<u8> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (NEGATIVE, digits),
        None => (POSITIVE, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    // Groups of four digits, aligned at the decimal point.
    let lead = (4 - whole.len() % 4) % 4;
    let trail = (4 - fraction.len() % 4) % 4;
    let padded = format!("{}{whole}{fraction}{}", "0".repeat(lead), "0".repeat(trail));
    let mut groups: Vec<u16> =
        padded.as_bytes().chunks(4).map(|c| c.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0'))).collect();
    let mut weight = (whole.len() + lead) as i16 / 4 - 1;
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let zeros = groups.iter().take_while(|g| **g == 0).count();
    groups.drain(..zeros);
    weight -= zeros as i16;
    if groups.is_empty() {
        weight = 0;
    }
    let sign = if groups.is_empty() { POSITIVE } else { sign };
    let mut out = Vec::with_capacity(8 + 2 * groups.len());
    for word in [groups.len() as u16, weight as u16, sign, fraction.len() as u16].into_iter().chain(groups) {
        out.extend(word.to_be_bytes());
    }
    out
}

/// Decodes the binary form to decimal text; none if it is malformed.
pub fn decode(bytes: &[u8]) -> Option<String> {
    let words: Vec<u16> = bytes.chunks_exact(2).map(|c| u16::from_be_bytes([c[0], c[1]])).collect();
    let (&[count, weight, sign, scale], groups) = words.split_first_chunk::<4>()?;
    match sign {
        NAN => return Some("NaN".to_owned()),
        INFINITY => return Some("Infinity".to_owned()),
        NEGATIVE_INFINITY => return Some("-Infinity".to_owned()),
        POSITIVE | NEGATIVE => {}
        _ => return None,
    }
    let well_formed =
        bytes.len().is_multiple_of(2) && groups.len() == usize::from(count) && groups.iter().all(|g| *g < 10_000);
    // PostgreSQL's own bounds: 131072 digits before the point, 16383 after it.
    if !well_formed || scale > 16_383 || (weight as i16).unsigned_abs() > 32_768 / 4 * 4 {
        return None;
    }
    let weight = i32::from(weight as i16);
    let group = |at: i32| usize::try_from(weight - at).ok().and_then(|i| groups.get(i)).copied().unwrap_or(0);
    let mut text = String::new();
    for at in (0..=weight.max(0)).rev() {
        text.push_str(&format!("{:04}", group(at)));
    }
    let whole = text.trim_start_matches('0');
    let mut text = if whole.is_empty() { "0".to_owned() } else { whole.to_owned() };
    if scale > 0 {
        let mut fraction = String::new();
        let mut at = -1;
        while fraction.len() < usize::from(scale) {
            fraction.push_str(&format!("{:04}", group(at)));
            at -= 1;
        }
        text.push('.');
        text.push_str(&fraction[..usize::from(scale)]);
    }
    Some(if sign == NEGATIVE { format!("-{text}") } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_encode_as_postgresql_does() {
        // select numeric_send(12345.678), (-0.05), (10000), (0.00)
        assert_eq!(encode("12345.678"), [0, 3, 0, 1, 0, 0, 0, 3, 0, 1, 0x09, 0x29, 0x1a, 0x7c]);
        assert_eq!(encode("-0.05"), [0, 1, 0xff, 0xff, 0x40, 0, 0, 2, 1, 0xf4]);
        assert_eq!(encode("10000"), [0, 1, 0, 1, 0, 0, 0, 0, 0, 1]);
        assert_eq!(encode("0.00"), [0, 0, 0, 0, 0, 0, 0, 2]);
    }

    #[test]
    fn every_decimal_survives_the_round_trip() {
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..20_000 {
            let digits: String = (0..rng.usize(1..60)).map(|_| rng.digit(10)).collect();
            let point = rng.usize(0..=digits.len());
            let whole = digits[..point].trim_start_matches('0');
            let whole = if whole.is_empty() { "0" } else { whole };
            let mut text =
                if point < digits.len() { format!("{whole}.{}", &digits[point..]) } else { whole.to_owned() };
            if rng.bool() && text.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
                text.insert(0, '-');
            }
            assert_eq!(decode(&encode(&text)).as_deref(), Some(text.as_str()));
        }
    }

    #[test]
    fn random_bytes_are_decoded_or_refused() {
        let mut rng = fastrand::Rng::with_seed(5);
        for _ in 0..50_000 {
            let bytes: Vec<u8> = (0..rng.usize(0..24)).map(|_| rng.u8(..) >> rng.u8(0..8)).collect();
            let _ = decode(&bytes);
        }
    }
}
