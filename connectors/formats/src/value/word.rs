//! Eight bytes at a time (SWAR): loads, digit runs, string scans.
//!
//! Bytes are little endian in a word: the first byte of the text is the lowest. Tests of the form
//! `(x - ones) & !x & highs` may flag wrong bytes only above a right one, so only the lowest flag is used.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Powers of ten that a `u64` holds.
pub const POWERS: [u64; 20] = {
    let mut powers = [1u64; 20];
    let mut i = 1;
    while i < 20 {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// The eight bytes at `at`; zeros stand for what lies behind the end.
#[inline(always)]
pub fn load(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => load_end(bytes, at),
    }
}

#[inline]
fn load_end(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.len().saturating_sub(at).min(7);
    match bytes.last_chunk::<8>() {
        Some(_) if rest == 0 => 0,
        Some(chunk) => u64::from_le_bytes(*chunk) >> (8 * (8 - rest)),
        None => bytes.iter().skip(at).rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// Reads digits from `at` on: their value (wrapping above 19 digits) and where they end.
#[inline(always)]
pub fn digits(bytes: &[u8], at: usize) -> (u64, usize) {
    digits_onto(0, bytes, at)
}

/// Appends digits to a value.
#[inline(always)]
pub fn digits_onto(mut value: u64, bytes: &[u8], mut at: usize) -> (u64, usize) {
    loop {
        let word = load(bytes, at) ^ 0x3030_3030_3030_3030;
        let other = (word.wrapping_add(0x7676_7676_7676_7676) | word) & HIGHS;
        let count = (other.trailing_zeros() / 8) as usize;
        if count == 8 {
            value = value.wrapping_mul(100_000_000).wrapping_add(eight(word));
            at += 8;
            continue;
        }
        if count > 0 {
            let moved = word << (64 - 8 * count);
            value = value.wrapping_mul(POWERS[count]).wrapping_add(eight(moved));
        }
        return (value, at + count);
    }
}

/// The number of eight digits 0–9, one a byte, the first in the lowest byte.
#[inline(always)]
fn eight(word: u64) -> u64 {
    const MASK: u64 = 0x0000_00FF_0000_00FF;
    let pairs = word.wrapping_mul(10).wrapping_add(word >> 8);
    let high = (pairs & MASK).wrapping_mul(0x000F_4240_0000_0064);
    let low = ((pairs >> 16) & MASK).wrapping_mul(0x0000_2710_0000_0001);
    high.wrapping_add(low) >> 32
}

/// Index of the first `"`, `\` or control character from `at` on; the text's end where there is none.
#[inline(always)]
pub fn string_stop(bytes: &[u8], mut at: usize) -> usize {
    loop {
        let word = load(bytes, at);
        let quote = word ^ (ONES * b'"' as u64);
        let slash = word ^ (ONES * b'\\' as u64);
        let found = (quote.wrapping_sub(ONES) & !quote)
            | (slash.wrapping_sub(ONES) & !slash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        let found = found & HIGHS;
        if found != 0 {
            return (at + (found.trailing_zeros() / 8) as usize).min(bytes.len());
        }
        at += 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_stand_behind_the_end() {
        let text = b"0123456789ab";
        for length in 0..=text.len() {
            for at in 0..16 {
                let mut padded = [0u8; 32];
                padded[..length].copy_from_slice(&text[..length]);
                let expected = u64::from_le_bytes(padded[at..at + 8].try_into().unwrap());
                assert_eq!(load(&text[..length], at), expected, "length {length}, at {at}");
            }
        }
    }

    #[test]
    fn digit_runs_of_every_length_read_right() {
        let text = b"1234567890123456789,";
        for length in 0..19 {
            let start = 19 - length;
            let expected: u64 = std::str::from_utf8(&text[start..19]).unwrap().parse().unwrap_or(0);
            assert_eq!(digits(text, start), (expected, 19), "length {length}");
        }
        for byte in (0..=255u8).filter(|byte| !byte.is_ascii_digit()) {
            let text = [b'4', b'2', byte, b'9', b'9', b'9', b'9', b'9', b'9'];
            assert_eq!(digits(&text, 0), (42, 2), "byte {byte} ends a run");
        }
    }

    #[test]
    fn string_scan_stops_at_the_first_special_byte() {
        for byte in 0..=255u8 {
            for place in 0..20 {
                let mut text = [b'a'; 24];
                text[place] = byte;
                let special = byte < 0x20 || byte == b'"' || byte == b'\\';
                let expected = if special { place } else { 24 };
                assert_eq!(string_stop(&text, 0), expected, "byte {byte} at {place}");
            }
        }
    }
}
