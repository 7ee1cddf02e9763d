//! A number of bytes as an option.

use crate::{OptionKind, OptionValue, parse_bytes};

/// A size in bytes; its text is a number with `B`, `KiB`, `MiB`, `kB`, `MB` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// The size where the platform can hold it, else the greatest.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl OptionValue for ByteSize {
    const KIND: OptionKind = OptionKind::Bytes;

    fn read(text: &str) -> Option<Self> {
        parse_bytes(text).map(Self)
    }
}
