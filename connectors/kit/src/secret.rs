//! A text that is never shown.

use std::fmt;

use crate::{OptionKind, OptionValue};

/// A password, token or key. `Debug` and `Display` print asterisks.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for handing to the client library only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl OptionValue for Secret {
    const KIND: OptionKind = OptionKind::Text;
    const SECRET: bool = true;

    fn read(text: &str) -> Option<Self> {
        Some(Self::new(text))
    }
}
