//! Splits COPY data into records of optional fields.
//!
//! Invariant: bytes may be cut anywhere between two pushes; a record is taken only when its line
//! has ended.

use super::{CopyFormat, CopySyntax, Header};
use crate::error::DbError;

/// One record: where it begins, and its fields (none = NULL).
pub struct Record {
    /// Number of its first line, from 1.
    pub line: usize,
    /// Fields.
    pub fields: Vec<Option<String>>,
}

/// Collects records from bytes.
pub struct LineReader {
    format: CopyFormat,
    pending: Vec<u8>,
    scanned: usize,
    quoted: bool,
    line: usize,
    ended: bool,
    records: Vec<Record>,
}

impl LineReader {
    /// A reader of one COPY.
    pub fn new(format: CopyFormat) -> Self {
        Self { format, pending: Vec::new(), scanned: 0, quoted: false, line: 0, ended: false, records: Vec::new() }
    }

    /// Takes bytes and splits off the lines that are complete.
    ///
    /// # Errors
    /// Text that is not UTF-8.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), DbError> {
        self.pending.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(end) = self.next_line_end() {
            let line = self.pending[start..end].to_vec();
            start = end + 1;
            self.take(&line)?;
        }
        self.pending.drain(..start);
        self.scanned -= start;
        Ok(())
    }

    /// Takes what is left as the last line and returns all records.
    ///
    /// # Errors
    /// An open quote, or text that is not UTF-8.
    pub fn finish(&mut self) -> Result<Vec<Record>, DbError> {
        if self.quoted {
            return Err(malformed(self.line + 1, "a quoted field is not closed"));
        }
        let rest = std::mem::take(&mut self.pending);
        if !rest.is_empty() {
            self.take(&rest)?;
        }
        Ok(std::mem::take(&mut self.records))
    }

    /// Records that are complete.
    pub fn rows(&self) -> usize {
        self.records.len()
    }

    fn next_line_end(&mut self) -> Option<usize> {
        while self.scanned < self.pending.len() {
            let at = self.scanned;
            self.scanned += 1;
            match self.pending[at] {
                b'"' if self.format.syntax == CopySyntax::Csv => self.quoted = !self.quoted,
                b'\n' if !self.quoted => return Some(at),
                _ => {}
            }
        }
        None
    }

    fn take(&mut self, line: &[u8]) -> Result<(), DbError> {
        let first = self.line + 1;
        self.line += 1 + line.iter().filter(|byte| **byte == b'\n').count();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.ended || (first == 1 && self.format.header == Header::Present) {
            return Ok(());
        }
        if line == b"\\." {
            self.ended = true;
            return Ok(());
        }
        let text = std::str::from_utf8(line).map_err(|_| malformed(first, "it is not valid UTF-8"))?;
        let fields = match self.format.syntax {
            CopySyntax::Text => text_fields(text, &self.format),
            CopySyntax::Csv => csv_fields(text, &self.format),
        };
        self.records.push(Record { line: first, fields });
        Ok(())
    }
}

/// The error of a malformed line.
pub fn malformed(line: usize, reason: &str) -> DbError {
    DbError::new("LDB-4011", "22P04", format!("line {line}: {reason}"))
}

fn text_fields(line: &str, format: &CopyFormat) -> Vec<Option<String>> {
    line.split(format.delimiter as char)
        .map(|raw| if raw == format.null { None } else { Some(unescape(raw)) })
        .collect()
}

fn unescape(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('t') => text.push('\t'),
            Some('b') => text.push('\u{8}'),
            Some('f') => text.push('\u{c}'),
            Some('v') => text.push('\u{b}'),
            Some(other) => text.push(other),
            None => text.push('\\'),
        }
    }
    text
}

fn csv_fields(line: &str, format: &CopyFormat) -> Vec<Option<String>> {
    let delimiter = format.delimiter as char;
    let mut fields = Vec::new();
    let (mut field, mut quoted, mut was_quoted) = (String::new(), false, false);
    let mut chars = line.chars().peekable();
    let close = |field: &mut String, was_quoted: &mut bool, fields: &mut Vec<Option<String>>| {
        let value = std::mem::take(field);
        fields.push(if !*was_quoted && value == format.null { None } else { Some(value) });
        *was_quoted = false;
    };
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => {
                quoted = !quoted;
                was_quoted = true;
            }
            c if c == delimiter && !quoted => close(&mut field, &mut was_quoted, &mut fields),
            c => field.push(c),
        }
    }
    close(&mut field, &mut was_quoted, &mut fields);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(format: CopyFormat, chunks: &[&str]) -> Vec<Vec<Option<String>>> {
        let mut reader = LineReader::new(format);
        for chunk in chunks {
            reader.push(chunk.as_bytes()).unwrap();
        }
        reader.finish().unwrap().into_iter().map(|r| r.fields).collect()
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn text_lines_cut_anywhere_give_the_same_fields() {
        let data = "1\ta\\tb\t\\N\n2\t\\\\N\tx\n\\.\n";
        let expected = vec![vec![some("1"), some("a\tb"), None], vec![some("2"), some("\\N"), some("x")]];
        for cut in 0..data.len() {
            assert_eq!(fields(CopyFormat::text(), &[&data[..cut], &data[cut..]]), expected, "cut at {cut}");
        }
    }

    #[test]
    fn csv_quotes_hold_delimiters_quotes_and_line_ends() {
        let data = "1,\"a,\"\"b\"\"\nc\",\n2,\"\",x";
        let expected = vec![vec![some("1"), some("a,\"b\"\nc"), None], vec![some("2"), some(""), some("x")]];
        let mut reader = LineReader::new(CopyFormat::csv());
        reader.push(data.as_bytes()).unwrap();
        let lines: Vec<usize> = reader.finish().unwrap().iter().map(|record| record.line).collect();
        assert_eq!(lines, [1, 3], "a record is where its first line is");
        for cut in 0..data.len() {
            assert_eq!(fields(CopyFormat::csv(), &[&data[..cut], &data[cut..]]), expected, "cut at {cut}");
        }
    }

    #[test]
    fn an_open_quote_is_refused() {
        let mut reader = LineReader::new(CopyFormat::csv());
        reader.push(b"1,\"a\n").unwrap();
        assert!(reader.finish().err().is_some_and(|e| e.message.contains("not closed")));
    }
}
