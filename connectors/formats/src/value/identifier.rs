//! UUIDs and BYTEA as text.

use super::Fault;

/// The 16 bytes of a UUID: 32 hexadecimal digits, hyphens anywhere between pairs.
///
/// # Errors
/// [`Fault::Type`]: not a UUID.
pub fn uuid(text: &[u8]) -> Result<[u8; 16], Fault> {
    let mut bytes = [0; 16];
    let mut digits = text.iter().filter(|byte| **byte != b'-');
    for byte in &mut bytes {
        let (high, low) = (digits.next().ok_or(Fault::Type)?, digits.next().ok_or(Fault::Type)?);
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    if digits.next().is_none() { Ok(bytes) } else { Err(Fault::Type) }
}

/// Appends the bytes of `\x` and hexadecimal digits.
///
/// # Errors
/// [`Fault::Type`]: another form; what was appended must be cut by the caller.
pub fn bytes(text: &[u8], into: &mut Vec<u8>) -> Result<(), Fault> {
    let digits = text.strip_prefix(b"\\x").ok_or(Fault::Type)?;
    if digits.len() % 2 != 0 {
        return Err(Fault::Type);
    }
    for pair in digits.chunks_exact(2) {
        into.push(nibble(pair[0])? << 4 | nibble(pair[1])?);
    }
    Ok(())
}

fn nibble(digit: u8) -> Result<u8, Fault> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(Fault::Type),
    }
}

/// Writes a UUID in its usual form.
pub fn write_uuid(bytes: &[u8], into: &mut Vec<u8>) {
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            into.push(b'-');
        }
        write_hex(*byte, into);
    }
}

/// Writes two hexadecimal digits.
pub fn write_hex(byte: u8, into: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    into.push(DIGITS[usize::from(byte >> 4)]);
    into.push(DIGITS[usize::from(byte & 15)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_come_back_as_written() {
        let text = b"0f8fad5b-d9cb-469f-a165-70867728950e";
        let mut written = Vec::new();
        write_uuid(&uuid(text).unwrap(), &mut written);
        assert_eq!(written, text);
        assert_eq!(uuid(b"0f8fad5b"), Err(Fault::Type));
        let mut raw = Vec::new();
        bytes(b"\\x00ff", &mut raw).unwrap();
        assert_eq!(raw, [0, 255]);
        assert_eq!(bytes(b"00ff", &mut raw), Err(Fault::Type));
    }
}
