//! The settings a client is told about without asking.

use std::collections::BTreeMap;

use bytes::BytesMut;
use laminar_db::Session;
use pgwire::messages::startup::ParameterStatus;

use super::fault::put;

/// What clients parse to decide which features there are.
pub const SERVER_VERSION: &str = concat!("15.0 (LaminarDB ", env!("CARGO_PKG_VERSION"), ")");

/// Settings that never change, and the values clients expect.
const FIXED: [(&str, &str); 6] = [
    ("server_version", SERVER_VERSION),
    ("server_encoding", "UTF8"),
    ("integer_datetimes", "on"),
    ("is_superuser", "on"),
    ("in_hot_standby", "off"),
    ("default_transaction_read_only", "off"),
];

/// Settings that `SET` may change, with the value before that.
const CHANGING: [(&str, &str); 6] = [
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("standard_conforming_strings", "on"),
    ("application_name", ""),
];

/// What a client was told last.
#[derive(Default)]
pub struct Reported {
    values: BTreeMap<&'static str, String>,
}

impl Reported {
    /// Tells a new client everything.
    pub fn all(&mut self, out: &mut BytesMut, session: &Session, user: &str) {
        for (name, value) in FIXED {
            put(out, &ParameterStatus::new(name.to_owned(), value.to_owned()));
        }
        put(out, &ParameterStatus::new("session_authorization".to_owned(), user.to_owned()));
        self.changes(out, session);
    }

    /// Tells what is different from last time.
    pub fn changes(&mut self, out: &mut BytesMut, session: &Session) {
        for (name, default) in CHANGING {
            let value = session.setting(name).unwrap_or_else(|| default.to_owned());
            if self.values.get(name) != Some(&value) {
                put(out, &ParameterStatus::new(name.to_owned(), value.clone()));
                self.values.insert(name, value);
            }
        }
    }
}
