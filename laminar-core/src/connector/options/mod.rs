//! Options of connectors and formats: declared once, checked once.
//!
//! A connector declares a struct with `#[derive(ConnectorOptions)]` (crate `connectors/kit-derive`);
//! the derive makes the [`OptionSpec`]s and the reading. [`resolve`] runs once at CREATE over the
//! lists of connector and format together, so a connector itself passes over keys that are not its own. Invariant: an unknown key, a wrong type or
//! a missing value is an error that names the key and the nearest known one; secrets never print.

mod resolve;
mod value;

pub use resolve::{nearest, resolve};
pub use value::{check_value, parse_bool, parse_bytes, parse_duration};

use std::collections::BTreeMap;

/// The type of an option's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// Any text.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Bool,
    /// A length of time, e.g. `500 ms`, `2 s`, `1 h`.
    Duration,
    /// A size, e.g. `64 KiB`, `16 MiB`.
    Bytes,
    /// One of a list of words.
    Choice(&'static [&'static str]),
}

/// One declared option.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Canonical name; a trailing `*` declares a prefix whose keys pass through an allow-list of the connector.
    pub name: &'static str,
    /// Other spellings (peers').
    pub aliases: &'static [&'static str],
    /// Type of its value.
    pub kind: OptionKind,
    /// Default, as text; none = no default.
    pub default: Option<&'static str>,
    /// Whether it must be given.
    pub required: bool,
    /// Whether its value is never shown.
    pub secret: bool,
    /// One sentence for the manual.
    pub doc: &'static str,
}

/// Options as given, by canonical name.
pub type Options = BTreeMap<String, String>;
