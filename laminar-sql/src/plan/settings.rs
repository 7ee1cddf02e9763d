//! Session settings: which there are, their values, and SET and RESET.

use std::collections::BTreeMap;

use super::{Context, Planned};
use crate::catalog::nearest;
use crate::error::{Kind, SqlError};

struct Known {
    name: &'static str,
    default: &'static str,
    /// Allowed values; empty = any.
    values: &'static [&'static str],
    doc: &'static str,
}

const fn any(name: &'static str, default: &'static str, doc: &'static str) -> Known {
    Known { name, default, values: &[], doc }
}

const fn one_of(
    name: &'static str,
    default: &'static str,
    values: &'static [&'static str],
    doc: &'static str,
) -> Known {
    Known { name, default, values, doc }
}

const ON_OFF: &[&str] = &["on", "off"];

const KNOWN: &[Known] = &[
    any("application_name", "", "Name of the client's program."),
    one_of("bytea_output", "hex", &["hex"], "How BYTEA is written."),
    one_of("client_encoding", "UTF8", &["UTF8", "utf8", "utf-8", "UNICODE", "unicode"], "Text is always UTF-8."),
    one_of("client_min_messages", "notice", &["debug", "log", "notice", "warning", "error"], "Accepted for clients."),
    one_of("DateStyle", "ISO, MDY", &["ISO", "iso", "ISO, MDY", "ISO,MDY"], "Dates are always ISO."),
    any("extra_float_digits", "1", "Floats are always written so that they read back the same."),
    one_of("IntervalStyle", "postgres", &["postgres"], "Intervals are written as PostgreSQL does."),
    one_of(
        "read",
        "consistent",
        &["consistent", "latest", "durable"],
        "What SELECT sees: the newest complete epoch, whatever is there, or the newest checkpoint.",
    ),
    one_of("read_after_write", "on", ON_OFF, "Whether a SELECT waits for the session's own last write."),
    one_of("search_path", "public", &["public", "\"$user\", public", "\"$user\",public"], "There is one schema."),
    one_of("server_version", "15.0 (LaminarDB 0.1.0)", &["15.0 (LaminarDB 0.1.0)"], "Cannot be changed."),
    one_of("server_encoding", "UTF8", &["UTF8"], "Cannot be changed."),
    one_of("standard_conforming_strings", "on", &["on"], "A backslash in a string is a backslash."),
    any("statement_timeout", "0", "Accepted for clients; the server's own limit is [server] statement_timeout."),
    any("TimeZone", "UTC", "Time zone of timestamps with time zone."),
    one_of(
        "transaction_isolation",
        "read committed",
        &["read committed", "read uncommitted"],
        "Each SELECT sees one complete epoch.",
    ),
];

/// The settings of one session. Cheap to clone while few were changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionSettings {
    changed: BTreeMap<&'static str, String>,
}

impl SessionSettings {
    /// The value of a setting; none = there is no such setting.
    pub fn get(&self, name: &str) -> Option<String> {
        let known = find(name)?;
        Some(self.changed.get(known.name).cloned().unwrap_or_else(|| known.default.to_owned()))
    }

    /// Changes a setting; no value = its default.
    ///
    /// # Errors
    /// [`Kind::InvalidOption`]: there is no such setting, or it cannot have the value.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), SqlError> {
        let known = require(name)?;
        match value {
            None => {
                self.changed.remove(known.name);
            }
            Some(value) => {
                check(known, value)?;
                self.changed.insert(known.name, value.to_owned());
            }
        }
        Ok(())
    }

    /// All settings: name, value, description.
    pub fn all(&self) -> Vec<(String, String, String)> {
        let row = |k: &Known| {
            let value = self.changed.get(k.name).map_or(k.default, String::as_str);
            (k.name.to_owned(), value.to_owned(), k.doc.to_owned())
        };
        KNOWN.iter().map(row).collect()
    }

    /// The time zone of views created by the session, as an offset or name.
    pub fn time_zone(&self) -> &str {
        match self.changed.get("TimeZone").map(String::as_str) {
            None => super::types::UTC,
            Some(zone) if zone.eq_ignore_ascii_case("utc") || zone.eq_ignore_ascii_case("gmt") => super::types::UTC,
            Some(zone) => zone,
        }
    }
}

fn find(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|k| k.name.eq_ignore_ascii_case(name))
}

fn require(name: &str) -> Result<&'static Known, SqlError> {
    find(name).ok_or_else(|| {
        let error = SqlError::new(Kind::InvalidOption, format!("unrecognized configuration parameter \"{name}\""));
        match nearest(name, KNOWN.iter().map(|k| k.name)) {
            Some(near) => error.hint(format!("did you mean \"{near}\"?")),
            None => error.hint("SHOW ALL lists the settings"),
        }
    })
}

fn check(known: &Known, value: &str) -> Result<(), SqlError> {
    let wrong = |hint: String| {
        let message = format!("invalid value for parameter \"{}\": \"{value}\"", known.name);
        Err(SqlError::new(Kind::InvalidOption, message).hint(hint))
    };
    if known.name == "TimeZone" {
        let utc = ["utc", "gmt", "etc/utc", "+00:00", "+00", "0"].iter().any(|z| value.eq_ignore_ascii_case(z));
        return if utc { Ok(()) } else { wrong("timestamps are shown in UTC; convert with AT TIME ZONE".to_owned()) };
    }
    if known.values.is_empty() || known.values.iter().any(|v| v.eq_ignore_ascii_case(value)) {
        return Ok(());
    }
    wrong(format!("it can be {}", known.values.join(", ")))
}

impl Context<'_> {
    pub(super) fn set(&self, name: &str, value: Option<&str>) -> Result<Planned, SqlError> {
        let mut checked = self.settings.clone();
        checked.set(name, value)?;
        let known = require(name)?;
        Ok(Planned::Set { name: known.name.to_owned(), value: value.map(str::to_owned) })
    }

    pub(super) fn reset(&self, name: Option<&str>) -> Result<Planned, SqlError> {
        match name {
            None => Ok(Planned::ResetAll),
            Some(name) => Ok(Planned::Set { name: require(name)?.name.to_owned(), value: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_found_whatever_its_case_and_a_typing_error_is_named() {
        let mut settings = SessionSettings::default();
        settings.set("READ", Some("durable")).unwrap();
        assert_eq!(settings.get("read").as_deref(), Some("durable"));
        settings.set("read", None).unwrap();
        assert_eq!(settings.get("read").as_deref(), Some("consistent"));
        let error = settings.set("read_after_wrte", Some("on")).unwrap_err();
        assert!(error.hint.is_some_and(|h| h.contains("read_after_write")));
    }

    #[test]
    fn a_value_that_nothing_would_execute_is_refused() {
        let mut settings = SessionSettings::default();
        assert!(settings.set("read", Some("dirty")).is_err());
        assert!(settings.set("TimeZone", Some("Europe/Berlin")).is_err());
        assert!(settings.set("standard_conforming_strings", Some("off")).is_err());
    }
}
