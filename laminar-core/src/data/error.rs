//! What can go wrong with columns; always a defect of ours, never of the data.

use super::NotATimestamp;

/// A batch that does not fit what is done with it.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A column that is not a timestamp was taken for event time.
    #[error(transparent)]
    Time(#[from] NotATimestamp),
    /// Arrow refused.
    #[error("LDB-3102: columns do not fit the operation: {0}; this is a defect of LaminarDB, please report it")]
    Arrow(#[from] arrow::error::ArrowError),
}

impl DataError {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Time(_) => "LDB-3103",
            Self::Arrow(_) => "LDB-3102",
        }
    }
}
