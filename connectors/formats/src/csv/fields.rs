//! Cuts a record into its fields.

/// One field of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its text, quotes removed.
    pub text: &'a [u8],
    /// Whether it stood in quotes, so that its text is never NULL.
    pub quoted: bool,
}

/// Why a record cannot be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Torn {
    /// A quote is not closed.
    Open,
    /// Text stands behind a closing quote.
    Behind,
}

/// Iterates over the fields of one record without its line end.
pub struct Fields<'a> {
    rest: Option<&'a [u8]>,
    delimiter: u8,
    quote: u8,
}

impl<'a> Fields<'a> {
    /// The fields of `record`.
    pub fn new(record: &'a [u8], (delimiter, quote): (u8, u8)) -> Self {
        Self { rest: Some(record), delimiter, quote }
    }

    /// The next field; `scratch` takes the text of one that holds doubled quotes.
    ///
    /// # Errors
    /// The record is torn.
    pub fn next<'b>(&mut self, scratch: &'b mut Vec<u8>) -> Result<Option<Field<'b>>, Torn>
    where
        'a: 'b,
    {
        let Some(rest) = self.rest else { return Ok(None) };
        if rest.first() == Some(&self.quote) {
            return self.quoted(&rest[1..], scratch).map(Some);
        }
        let end = rest.iter().position(|byte| *byte == self.delimiter);
        let text = end.map_or(rest, |end| &rest[..end]);
        self.rest = end.map(|end| &rest[end + 1..]);
        Ok(Some(Field { text, quoted: false }))
    }

    fn quoted<'b>(&mut self, rest: &'a [u8], scratch: &'b mut Vec<u8>) -> Result<Field<'b>, Torn>
    where
        'a: 'b,
    {
        scratch.clear();
        let (mut from, mut doubled) = (0, false);
        loop {
            let found = rest[from..].iter().position(|byte| *byte == self.quote).ok_or(Torn::Open)?;
            let end = from + found;
            match rest.get(end + 1) {
                Some(next) if *next == self.quote => {
                    scratch.extend_from_slice(&rest[from..=end]);
                    from = end + 2;
                    doubled = true;
                }
                Some(next) if *next != self.delimiter => return Err(Torn::Behind),
                next => {
                    self.rest = next.map(|_| &rest[end + 2..]);
                    if !doubled {
                        return Ok(Field { text: &rest[..end], quoted: true });
                    }
                    scratch.extend_from_slice(&rest[from..end]);
                    return Ok(Field { text: scratch, quoted: true });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(record: &str) -> Result<Vec<(String, bool)>, Torn> {
        let mut fields = Fields::new(record.as_bytes(), (b',', b'"'));
        let (mut found, mut scratch) = (Vec::new(), Vec::new());
        while let Some(field) = fields.next(&mut scratch)? {
            found.push((String::from_utf8(field.text.to_vec()).unwrap(), field.quoted));
        }
        Ok(found)
    }

    #[test]
    fn fields_are_cut_by_rfc_4180() {
        let plain = |text: &str| (text.to_string(), false);
        let quoted = |text: &str| (text.to_string(), true);
        assert_eq!(cut("a,b,").unwrap(), [plain("a"), plain("b"), plain("")]);
        assert_eq!(cut("").unwrap(), [plain("")]);
        assert_eq!(cut(r#""a,b","c""d","",x"#).unwrap(), [quoted("a,b"), quoted("c\"d"), quoted(""), plain("x")]);
        assert_eq!(cut("\"line\nend\"").unwrap(), [quoted("line\nend")]);
        assert_eq!(cut(r#"a"b,c"#).unwrap(), [plain("a\"b"), plain("c")]);
        assert_eq!(cut(r#""open"#), Err(Torn::Open));
        assert_eq!(cut(r#""a"b"#), Err(Torn::Behind));
    }
}
