//! Why a message or a whole connection ends, and how the client is told.

use bytes::BytesMut;
use laminar_db::{DbError, Notice, Severity};
use pgwire::error::PgWireError;
use pgwire::messages::Message;
use pgwire::messages::response::{ErrorResponse, NoticeResponse};

use super::frontend::Malformed;

/// What went wrong while a client was served.
#[derive(Debug)]
pub enum Fault {
    /// A statement failed; the connection goes on.
    Sql(Box<DbError>),
    /// The connection ends after this message.
    Fatal(Box<DbError>),
    /// The peer is gone: nobody to tell.
    Gone,
}

impl Fault {
    /// A failed statement with our own words.
    pub fn sql(sqlstate: &str, message: impl Into<String>) -> Self {
        Self::Sql(Box::new(error(sqlstate, message)))
    }

    /// The end of the connection.
    pub fn fatal(sqlstate: &str, message: impl Into<String>) -> Self {
        Self::Fatal(Box::new(error(sqlstate, message)))
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: &str) -> Self {
        match &mut self {
            Self::Sql(error) | Self::Fatal(error) => error.hint = Some(hint.to_owned()),
            Self::Gone => {}
        }
        self
    }
}

fn error(sqlstate: &str, message: impl Into<String>) -> DbError {
    DbError::new("LDB-8001", sqlstate, message)
}

impl From<DbError> for Fault {
    fn from(error: DbError) -> Self {
        Self::Sql(Box::new(error))
    }
}

impl From<std::io::Error> for Fault {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

impl From<Malformed> for Fault {
    fn from(Malformed(what): Malformed) -> Self {
        Self::fatal("08P01", what)
    }
}

impl From<PgWireError> for Fault {
    fn from(error: PgWireError) -> Self {
        match error {
            PgWireError::UserError(info) => Self::sql(&info.code, info.message),
            other => Self::sql("XX000", other.to_string()),
        }
    }
}

/// Appends an error as the client reads it.
pub fn put_error(out: &mut BytesMut, severity: &str, error: &DbError) {
    let mut fields = vec![
        (b'S', severity.to_owned()),
        (b'V', severity.to_owned()),
        (b'C', error.sqlstate.clone()),
        (b'M', error.message.clone()),
    ];
    fields.extend(error.detail.clone().map(|d| (b'D', d)));
    fields.extend(error.hint.clone().map(|h| (b'H', h)));
    fields.extend(error.position.map(|p| (b'P', p.to_string())));
    fields.push((b'R', error.code.to_owned()));
    put(out, &ErrorResponse::new(clean(fields)));
}

/// Appends a notice.
pub fn put_notice(out: &mut BytesMut, notice: &Notice) {
    let severity = match notice.severity {
        Severity::Notice => "NOTICE",
        Severity::Warning => "WARNING",
    };
    let mut fields = vec![
        (b'S', severity.to_owned()),
        (b'V', severity.to_owned()),
        (b'C', notice.sqlstate.clone()),
        (b'M', notice.message.clone()),
    ];
    fields.extend(notice.hint.clone().map(|h| (b'H', h)));
    put(out, &NoticeResponse::new(clean(fields)));
}

/// Appends one of our messages.
pub fn put(out: &mut BytesMut, message: &impl Message) {
    let start = out.len();
    if let Err(error) = message.encode(out) {
        // Only a message beyond 2 GiB fails to encode; half of it must not reach the client.
        out.truncate(start);
        tracing::error!("a message to a PostgreSQL client was left out: {error}");
    }
}

/// A zero byte inside a text would end it early and shift all that follows.
fn clean(mut fields: Vec<(u8, String)>) -> Vec<(u8, String)> {
    for (_, text) in &mut fields {
        if text.contains('\0') {
            *text = text.replace('\0', " ");
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_byte_in_a_message_does_not_shift_the_fields() {
        let mut out = BytesMut::new();
        put_error(&mut out, "ERROR", &error("42601", "a\0b"));
        let text = String::from_utf8_lossy(&out).into_owned();
        assert!(text.contains("Ma b\0"), "{text:?}");
    }
}
