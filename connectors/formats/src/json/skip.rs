//! Passing over values that no column wants, still by JSON's grammar.

use super::string;
use crate::value::{Fault, number};

/// Index of the first byte at or behind `at` that is not white space.
#[inline(always)]
pub fn space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\t' | b'\r') = bytes.get(at) {
        at += 1;
    }
    at
}

/// Passes over one value that begins at `at`; `depth` levels may still open.
///
/// # Errors
/// Not a value, or nested too deep.
#[inline]
pub fn value(bytes: &[u8], at: usize, depth: u8) -> Result<usize, Fault> {
    match bytes.get(at) {
        Some(b'"') => Ok(string::span(bytes, at + 1)?.end + 1),
        Some(b'-' | b'0'..=b'9') => number::scan(bytes, at).map(|number| number.end).map_err(|_| Fault::Syntax),
        Some(b't') => literal(bytes, at, b"true"),
        Some(b'f') => literal(bytes, at, b"false"),
        Some(b'n') => literal(bytes, at, b"null"),
        Some(b'{') => object(bytes, at + 1, depth.checked_sub(1).ok_or(Fault::Deep)?),
        Some(b'[') => array(bytes, at + 1, depth.checked_sub(1).ok_or(Fault::Deep)?),
        Some(_) => Err(Fault::Syntax),
        None => Err(Fault::Truncated),
    }
}

/// Passes over an exact word.
///
/// # Errors
/// [`Fault::Syntax`]: another word.
#[inline]
pub fn literal(bytes: &[u8], at: usize, word: &[u8]) -> Result<usize, Fault> {
    let end = at + word.len();
    if bytes.get(at..end) == Some(word) { Ok(end) } else { Err(Fault::Syntax) }
}

fn object(bytes: &[u8], at: usize, depth: u8) -> Result<usize, Fault> {
    let mut at = space(bytes, at);
    if bytes.get(at) == Some(&b'}') {
        return Ok(at + 1);
    }
    loop {
        if bytes.get(at) != Some(&b'"') {
            return Err(Fault::Syntax);
        }
        at = space(bytes, string::span(bytes, at + 1)?.end + 1);
        at = space(bytes, literal(bytes, at, b":")?);
        at = space(bytes, value(bytes, at, depth)?);
        match bytes.get(at) {
            Some(b',') => at = space(bytes, at + 1),
            Some(b'}') => return Ok(at + 1),
            Some(_) => return Err(Fault::Syntax),
            None => return Err(Fault::Truncated),
        }
    }
}

fn array(bytes: &[u8], at: usize, depth: u8) -> Result<usize, Fault> {
    let mut at = space(bytes, at);
    if bytes.get(at) == Some(&b']') {
        return Ok(at + 1);
    }
    loop {
        at = space(bytes, value(bytes, at, depth)?);
        match bytes.get(at) {
            Some(b',') => at = space(bytes, at + 1),
            Some(b']') => return Ok(at + 1),
            Some(_) => return Err(Fault::Syntax),
            None => return Err(Fault::Truncated),
        }
    }
}
