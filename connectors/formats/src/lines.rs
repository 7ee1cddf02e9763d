//! Where records end in a stream of text.

use crate::value::word::load;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// How records of a text are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// One record a line.
    Plain,
    /// One record a line, but a line end between two of these quotes belongs to the record (CSV).
    Quoted(u8),
}

impl Lines {
    /// Index of the line end that closes the record which begins at `from`; none = it is not closed yet.
    pub fn end(self, bytes: &[u8], from: usize) -> Option<usize> {
        match self {
            Self::Plain => find(bytes, from, b'\n'),
            Self::Quoted(quote) => {
                let mut inside = false;
                let rest = bytes.get(from..)?.iter().enumerate();
                for (index, byte) in rest {
                    // A doubled quote leaves and enters at once.
                    if *byte == quote {
                        inside = !inside;
                    } else if *byte == b'\n' && !inside {
                        return Some(from + index);
                    }
                }
                None
            }
        }
    }
}

/// Index of the first `wanted` from `at` on, eight bytes at a time.
fn find(bytes: &[u8], mut at: usize, wanted: u8) -> Option<usize> {
    while at < bytes.len() {
        let word = load(bytes, at) ^ (ONES * u64::from(wanted));
        // Zeros stand for what lies behind the end, so a match there is impossible for a line end.
        let found = word.wrapping_sub(ONES) & !word & HIGHS;
        if found != 0 {
            return Some(at + (found.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_found_at_every_place() {
        for length in 0..30 {
            let mut text = vec![b'a'; length];
            assert_eq!(Lines::Plain.end(&text, 0), None);
            text.extend_from_slice(b"\nbbbbbbbbb\n");
            assert_eq!(Lines::Plain.end(&text, 0), Some(length));
            assert_eq!(Lines::Plain.end(&text, length + 1), Some(length + 10));
        }
    }

    #[test]
    fn quoted_line_ends_belong_to_the_record() {
        let text = b"a,\"x\ny\"\"\n\",b\nnext";
        assert_eq!(Lines::Quoted(b'"').end(text, 0), Some(12));
        assert_eq!(Lines::Quoted(b'"').end(b"\"open\n", 0), None);
    }
}
