//! What a client may say, decoded with every length checked.

use bytes::{Buf, Bytes};

/// A message after start-up.
#[derive(Debug, PartialEq, Eq)]
pub enum Frontend {
    /// Run a script.
    Query(String),
    /// Make a prepared statement.
    Parse { name: String, sql: String, types: Vec<u32> },
    /// Make a portal from a prepared statement and values.
    Bind(Bind),
    /// What does this take and give?
    Describe(Target),
    /// Run a portal; 0 = all rows.
    Execute { portal: String, max_rows: usize },
    /// Drop a statement or a portal.
    Close(Target),
    /// End of a group of messages.
    Sync,
    /// Send what there is.
    Flush,
    /// A piece of COPY input.
    CopyData(Bytes),
    /// The end of COPY input.
    CopyDone,
    /// The client gives up its COPY.
    CopyFail(String),
    /// Goodbye.
    Terminate,
}

/// The values of one execution.
#[derive(Debug, PartialEq, Eq)]
pub struct Bind {
    /// Name of the new portal; empty = the unnamed one.
    pub portal: String,
    /// Name of the statement.
    pub statement: String,
    /// Format codes of the values: none, one for all, or one each.
    pub formats: Vec<i16>,
    /// The values; none = NULL.
    pub values: Vec<Option<Bytes>>,
    /// Format codes of the result columns: none, one for all, or one each.
    pub result_formats: Vec<i16>,
}

/// A statement or a portal, by name.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// A prepared statement.
    Statement(String),
    /// A portal.
    Portal(String),
}

/// A message that is not what its type byte promised.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

/// Decodes a message from its type byte and its body.
///
/// # Errors
/// An unknown type, a body that is too short or too long, text that is not UTF-8.
pub fn decode(tag: u8, body: Bytes) -> Result<Frontend, Malformed> {
    let mut body = Body { rest: body, tag };
    let message = match tag {
        b'Q' => Frontend::Query(body.text()?),
        b'P' => Frontend::Parse { name: body.text()?, sql: body.text()?, types: body.list(4, |b| b.get_u32())? },
        b'B' => Frontend::Bind(body.bind()?),
        b'D' => Frontend::Describe(body.target()?),
        b'C' => Frontend::Close(body.target()?),
        b'E' => {
            let portal = body.text()?;
            let max_rows = usize::try_from(body.fixed(4)?.get_i32()).unwrap_or(0);
            Frontend::Execute { portal, max_rows }
        }
        b'S' => Frontend::Sync,
        b'H' => Frontend::Flush,
        b'd' => Frontend::CopyData(std::mem::take(&mut body.rest)),
        b'c' => Frontend::CopyDone,
        b'f' => Frontend::CopyFail(body.text()?),
        b'X' => Frontend::Terminate,
        _ => return Err(Malformed(format!("unknown message type {}", char::from(tag).escape_default()))),
    };
    if body.rest.is_empty() { Ok(message) } else { Err(body.malformed("bytes after its end")) }
}

struct Body {
    rest: Bytes,
    tag: u8,
}

impl Body {
    fn malformed(&self, what: &str) -> Malformed {
        Malformed(format!("message {} has {what}", char::from(self.tag)))
    }

    fn fixed(&mut self, count: usize) -> Result<Bytes, Malformed> {
        if self.rest.len() < count {
            return Err(self.malformed("fewer bytes than it says"));
        }
        Ok(self.rest.split_to(count))
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let Some(end) = self.rest.iter().position(|b| *b == 0) else {
            return Err(self.malformed("text without its end"));
        };
        let text = self.rest.split_to(end);
        self.rest.advance(1);
        String::from_utf8(text.to_vec()).map_err(|_| self.malformed("text that is not UTF-8"))
    }

    /// A counted list of items of `width` bytes.
    fn list<T>(&mut self, width: usize, read: fn(&mut Bytes) -> T) -> Result<Vec<T>, Malformed> {
        let count = usize::from(self.fixed(2)?.get_u16());
        let mut items = self.fixed(count * width)?;
        Ok((0..count).map(|_| read(&mut items)).collect())
    }

    fn bind(&mut self) -> Result<Bind, Malformed> {
        let portal = self.text()?;
        let statement = self.text()?;
        let formats = self.list(2, |b| b.get_i16())?;
        let count = usize::from(self.fixed(2)?.get_u16());
        let mut values = Vec::new();
        for _ in 0..count {
            let length = self.fixed(4)?.get_i32();
            values.push(match usize::try_from(length) {
                Ok(length) => Some(self.fixed(length)?),
                Err(_) if length == -1 => None,
                Err(_) => return Err(self.malformed("a value of negative length")),
            });
        }
        let result_formats = self.list(2, |b| b.get_i16())?;
        Ok(Bind { portal, statement, formats, values, result_formats })
    }

    fn target(&mut self) -> Result<Target, Malformed> {
        let kind = self.fixed(1)?[0];
        let name = self.text()?;
        match kind {
            b'S' => Ok(Target::Statement(name)),
            b'P' => Ok(Target::Portal(name)),
            _ => Err(self.malformed("a target that is neither statement nor portal")),
        }
    }
}

/// The format of item `index` under PostgreSQL's rule: none = text, one = all, else one each.
///
/// # Errors
/// A code other than 0 and 1, or a list that does not fit.
pub fn binary_at(formats: &[i16], index: usize) -> Result<bool, Malformed> {
    let code = match formats {
        [] => 0,
        [all] => *all,
        each => *each.get(index).ok_or_else(|| Malformed("fewer format codes than values".to_owned()))?,
    };
    match code {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Malformed(format!("format code {other} is neither 0 (text) nor 1 (binary)"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bind_with_null_text_and_binary_values_is_decoded() {
        let body = b"p\0s\0\0\x02\0\0\0\x01\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\0\0\x01\0\x01";
        let Ok(Frontend::Bind(bind)) = decode(b'B', Bytes::from_static(body)) else { panic!("a bind") };
        assert_eq!((bind.portal.as_str(), bind.statement.as_str()), ("p", "s"));
        assert_eq!(bind.values, [Some(Bytes::from_static(b"ab")), None, Some(Bytes::new())]);
        assert_eq!((bind.formats.as_slice(), bind.result_formats.as_slice()), (&[0, 1][..], &[1][..]));
    }

    #[test]
    fn random_bodies_are_decoded_or_refused_but_never_panic() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..200_000 {
            let length = rng.usize(0..40);
            let body: Vec<u8> = (0..length).map(|_| if rng.bool() { rng.u8(0..3) } else { rng.u8(..) }).collect();
            let tag = *rng.choice(b"QPBDCESHdcfXz").unwrap_or(&b'Q');
            let _ = decode(tag, Bytes::from(body));
        }
    }

    #[test]
    fn count_beyond_the_body_is_refused_before_memory_is_taken() {
        assert!(decode(b'P', Bytes::from_static(b"\0\0\xff\xff")).is_err());
        assert!(decode(b'B', Bytes::from_static(b"\0\0\0\0\xff\xff\x7f\xff\xff\xff")).is_err());
    }

    #[test]
    fn one_format_code_stands_for_all() {
        assert_eq!(binary_at(&[], 3), Ok(false));
        assert_eq!(binary_at(&[1], 3), Ok(true));
        assert!(binary_at(&[0, 1], 2).is_err());
        assert!(binary_at(&[7], 0).is_err());
    }
}
