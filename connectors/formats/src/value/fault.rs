//! Why a value was refused: one byte on the hot path, a sentence only when someone reads it.

/// What is wrong with a value or with the text around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not JSON at this place.
    Syntax,
    /// The text ends in the middle.
    Truncated,
    /// Something follows behind the record.
    Trailing,
    /// Not an object.
    NotObject,
    /// A value of another type.
    Type,
    /// A number that does not fit the type.
    Range,
    /// A number for a time column although no unit was declared.
    Epoch,
    /// Null in a NOT NULL column.
    Null,
    /// Absent in a NOT NULL column.
    Missing,
    /// Nested deeper than the limit.
    Deep,
    /// Not UTF-8.
    Utf8,
    /// A string with a raw control character, a wrong escape or half a surrogate pair.
    String,
    /// More text in one batch than a column can address.
    Full,
}

impl Fault {
    /// The sentence, without the place.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Syntax => "is not valid JSON",
            Self::Truncated => "ends in the middle",
            Self::Trailing => "is followed by something else",
            Self::NotObject => "is not a JSON object",
            Self::Type => "is not of the column's type",
            Self::Range => "is outside of the type's range",
            Self::Epoch => "is a number; say its unit by option 'json.timestamp'",
            Self::Null => "is null, the column is NOT NULL",
            Self::Missing => "is missing, the column is NOT NULL",
            Self::Deep => "is nested deeper than option 'json.max_depth' allows",
            Self::Utf8 => "is not UTF-8",
            Self::String => "holds a raw control character, a wrong escape or half a surrogate pair",
            Self::Full => "does not fit the batch any more (2 GiB of text)",
        }
    }
}
