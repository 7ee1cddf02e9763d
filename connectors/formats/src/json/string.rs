//! JSON strings.

use crate::value::Fault;
use crate::value::word::string_stop;

/// A string's place: its closing quote, and whether it holds escapes.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Index of the closing quote.
    pub end: usize,
    /// Whether a backslash occurs in it.
    pub escaped: bool,
}

/// Finds the end of a string whose first character is at `at`; escapes are checked.
///
/// # Errors
/// [`Fault::String`] a raw control character or a wrong escape, [`Fault::Truncated`] no end.
#[inline(always)]
pub fn span(bytes: &[u8], at: usize) -> Result<Span, Fault> {
    let end = string_stop(bytes, at);
    match bytes.get(end) {
        Some(b'"') => Ok(Span { end, escaped: false }),
        _ => span_slow(bytes, end),
    }
}

#[cold]
#[inline(never)]
fn span_slow(bytes: &[u8], mut at: usize) -> Result<Span, Fault> {
    loop {
        match bytes.get(at) {
            Some(b'"') => return Ok(Span { end: at, escaped: true }),
            Some(b'\\') => at = escape(bytes, at)?.1,
            Some(_) => return Err(Fault::String),
            None => return Err(Fault::Truncated),
        }
        at = string_stop(bytes, at);
    }
}

/// Appends a string's text with its escapes resolved. `text` lies between the quotes and has passed [`span`].
///
/// # Errors
/// Those of [`span`].
#[cold]
pub fn unescape(text: &[u8], into: &mut Vec<u8>) -> Result<(), Fault> {
    let mut at = 0;
    loop {
        let stop = string_stop(text, at);
        into.extend_from_slice(&text[at..stop]);
        if stop == text.len() {
            return Ok(());
        }
        let (character, next) = escape(text, stop)?;
        into.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        at = next;
    }
}

/// The character of the escape that begins at `at`, and where the text goes on.
fn escape(bytes: &[u8], at: usize) -> Result<(char, usize), Fault> {
    let character = match bytes.get(at + 1).ok_or(Fault::Truncated)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(bytes, at + 2),
        _ => return Err(Fault::String),
    };
    Ok((character, at + 2))
}

fn unicode(bytes: &[u8], at: usize) -> Result<(char, usize), Fault> {
    let first = hex(bytes, at)?;
    if let Some(character) = char::from_u32(first) {
        return Ok((character, at + 4));
    }
    // Half a pair: the low half must follow the high one.
    if first >= 0xDC00 || bytes.get(at + 4..at + 6) != Some(b"\\u") {
        return Err(Fault::String);
    }
    let second = hex(bytes, at + 6)?;
    if !(0xDC00..0xE000).contains(&second) {
        return Err(Fault::String);
    }
    let joined = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
    char::from_u32(joined).map(|character| (character, at + 10)).ok_or(Fault::String)
}

fn hex(bytes: &[u8], at: usize) -> Result<u32, Fault> {
    let digits = bytes.get(at..at + 4).ok_or(Fault::Truncated)?;
    let mut value = 0;
    for digit in digits {
        value = value << 4 | char::from(*digit).to_digit(16).ok_or(Fault::String)?;
    }
    Ok(value)
}
