//! Reading of declared options into a struct.
//!
//! Invariant: a reader passes over keys that it does not declare (they belong to the format or the
//! connector beside it; `laminar_core::connector::options::resolve` has refused unknown ones before).

use std::time::Duration;

use crate::{ConnectorError, OptionKind, OptionSpec, Options, check_value, parse_bool, parse_duration};

/// A struct whose fields are options; made by `#[derive(ConnectorOptions)]`.
pub trait ConnectorOptions: Sized {
    /// The declarations, in the order of the fields.
    const OPTIONS: &'static [OptionSpec];

    /// Reads the struct; keys may be canonical or aliases, others are passed over.
    ///
    /// # Errors
    /// `LDB-6003` a wrong value, `LDB-6004` a missing one.
    fn from_options(given: &Options) -> Result<Self, ConnectorError>;
}

/// A type that an option's text reads as.
pub trait OptionValue: Sized {
    /// The kind that the manual shows and the check applies.
    const KIND: OptionKind;
    /// Whether it is never shown.
    const SECRET: bool = false;

    /// Reads the text; none = not a value of this type (out of range, for example).
    fn read(text: &str) -> Option<Self>;
}

macro_rules! integers {
    ($($ty:ty),*) => {$(
        impl OptionValue for $ty {
            const KIND: OptionKind = OptionKind::Integer;
            fn read(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )*};
}
integers!(u8, u16, u32, u64, usize, i32, i64);

impl OptionValue for String {
    const KIND: OptionKind = OptionKind::Text;
    fn read(text: &str) -> Option<Self> {
        Some(text.to_string())
    }
}

impl OptionValue for f64 {
    const KIND: OptionKind = OptionKind::Number;
    fn read(text: &str) -> Option<Self> {
        text.parse().ok().filter(|number: &f64| number.is_finite())
    }
}

impl OptionValue for bool {
    const KIND: OptionKind = OptionKind::Bool;
    fn read(text: &str) -> Option<Self> {
        parse_bool(text)
    }
}

impl OptionValue for Duration {
    const KIND: OptionKind = OptionKind::Duration;
    fn read(text: &str) -> Option<Self> {
        parse_duration(text)
    }
}

/// Reads an option that has a default or must be there.
///
/// # Errors
/// `LDB-6003` a wrong value, `LDB-6004` it is missing.
pub fn read_required<T: OptionValue>(spec: &OptionSpec, given: &Options) -> Result<T, ConnectorError> {
    match text(spec, given).or(spec.default) {
        Some(text) => read(spec, text),
        None => Err(ConnectorError::user("LDB-6004", format!("option '{}' is missing: {}", spec.name, spec.doc))),
    }
}

/// Reads an option that may be left out.
///
/// # Errors
/// `LDB-6003` a wrong value.
pub fn read_optional<T: OptionValue>(spec: &OptionSpec, given: &Options) -> Result<Option<T>, ConnectorError> {
    text(spec, given).map(|text| read(spec, text)).transpose()
}

fn text<'a>(spec: &OptionSpec, given: &'a Options) -> Option<&'a str> {
    let mut names = std::iter::once(spec.name).chain(spec.aliases.iter().copied());
    names.find_map(|name| given.get(name)).map(String::as_str)
}

fn read<T: OptionValue>(spec: &OptionSpec, text: &str) -> Result<T, ConnectorError> {
    check_value(spec, text)?;
    // A word of a choice is handed on as declared, whatever its case; plain text keeps its blanks.
    let text = match spec.kind {
        OptionKind::Choice(words) => {
            words.iter().copied().find(|word| word.eq_ignore_ascii_case(text.trim())).unwrap_or(text)
        }
        OptionKind::Text => text,
        OptionKind::Integer | OptionKind::Number | OptionKind::Bool | OptionKind::Duration | OptionKind::Bytes => {
            text.trim()
        }
    };
    T::read(text).ok_or_else(|| {
        let shown = if spec.secret { "the value" } else { &format!("'{text}'") };
        ConnectorError::user("LDB-6003", format!("option '{}': {shown} is out of range", spec.name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ByteSize, ConnectorOptions, Secret};

    #[derive(ConnectorOptions, Debug)]
    struct Sample {
        /// Where the broker is.
        #[option(name = "broker.address", alias = "properties.broker.address")]
        address: String,
        /// How long to wait.
        #[option(default = "500 ms")]
        linger: Duration,
        /// How much to keep.
        #[option(default = "64 KiB")]
        buffer: ByteSize,
        /// What to prove.
        #[option(alias = "sasl.password")]
        password: Option<Secret>,
        /// How it is packed.
        #[option(choice = "none|lz4", default = "none")]
        codec: String,
        /// How many.
        #[option(default = "3")]
        retries: u8,
    }

    fn options(pairs: &[(&str, &str)]) -> Options {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn fields_read_by_name_alias_and_default() {
        let sample = Sample::from_options(&options(&[
            ("properties.broker.address", "a:1"),
            ("codec", "LZ4"),
            ("json.timestamp", "millis"),
        ]))
        .unwrap();
        assert_eq!((sample.address.as_str(), sample.codec.as_str(), sample.retries), ("a:1", "lz4", 3));
        assert_eq!((sample.linger, sample.buffer.0), (Duration::from_millis(500), 65_536));
        assert!(sample.password.is_none());
    }

    #[test]
    fn secret_is_never_printed() {
        let given = options(&[("broker.address", "a"), ("sasl.password", "hunter2")]);
        let sample = Sample::from_options(&given).unwrap();
        assert!(!format!("{sample:?}").contains("hunter2"));
        assert_eq!(sample.password.unwrap().expose(), "hunter2");
        assert!(Sample::OPTIONS[3].secret);
    }

    #[test]
    fn missing_and_out_of_range_are_errors_that_name_the_option() {
        assert_eq!(Sample::from_options(&options(&[])).unwrap_err().code, "LDB-6004");
        let error = Sample::from_options(&options(&[("broker.address", "a"), ("retries", "300")])).unwrap_err();
        assert_eq!(error.code, "LDB-6003");
        assert!(error.message.contains("retries"), "{error}");
    }

    #[test]
    fn declarations_say_what_is_required() {
        let required: Vec<&str> = Sample::OPTIONS.iter().filter(|spec| spec.required).map(|spec| spec.name).collect();
        assert_eq!(required, ["broker.address"]);
        assert_eq!(Sample::OPTIONS[1].doc, "How long to wait.");
    }
}
