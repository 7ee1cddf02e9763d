//! What can go wrong in storage, with stable codes.
//!
//! Invariant: every variant has a code that never changes its meaning, says whether trying again
//! can help, and names the place (file and offset) where it has one.

use crate::disk::DiskError;

/// Result of a storage call.
pub type Result<T> = std::result::Result<T, StorageError>;

/// Whether doing the same again can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same call fails again; somebody must change something first.
    Never,
    /// Later, when space or the target's progress allows.
    Backoff,
    /// Only after the process has ended and recovered.
    AfterRestart,
}

/// A failed storage operation.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    /// A disk call failed; for writes and syncs this is final.
    #[error("LDB-1001: {what}: {source}")]
    Disk {
        /// What storage was doing.
        what: &'static str,
        /// What the disk said.
        source: DiskError,
    },
    /// A pre-allocation found no space; nothing was changed.
    #[error("LDB-1002: no space to {what}; free space on the volume of the data directory, the work goes on by itself")]
    NoSpace {
        /// What needed the space.
        what: &'static str,
    },
    /// Another process owns the data directory.
    #[error(
        "LDB-1003: data directory {directory} is in use by process {pid}; stop that process or start with another data_dir"
    )]
    DirectoryInUse {
        /// The directory as configured.
        directory: String,
        /// The owner's process id as it wrote it, or `unknown`.
        pid: String,
    },
    /// Bytes that were durable do not verify any more.
    #[error(
        "LDB-1004: {file} is damaged at offset {offset}: {detail}; durable data does not verify, so it is not used; restore the data directory from a copy"
    )]
    Rot {
        /// Path inside the data directory.
        file: String,
        /// Byte offset of the first bad frame.
        offset: u64,
        /// Why it is known to be damage and not an unfinished write.
        detail: String,
    },
    /// A record is larger than the log takes.
    #[error(
        "LDB-1005: a record of {bytes} bytes exceeds the limit of {limit} bytes; what one INSERT, COPY, transaction or request brings is one record: send the rows in several"
    )]
    RecordTooLarge {
        /// Size that was asked for.
        bytes: usize,
        /// Configured limit.
        limit: usize,
    },
    /// The log holds as much unwritten data as it may; wait for it to drain.
    #[error("LDB-1006: {pending} bytes wait to be written, the limit is {limit}; wait until the disk has caught up")]
    LogBusy {
        /// Bytes waiting.
        pending: usize,
        /// Configured limit.
        limit: usize,
    },
    /// A log refuses work because an earlier write or sync of it failed.
    #[error("LDB-1008: {file} stopped after a failed write or sync ({cause}); the process must end and recover")]
    LogFailed {
        /// Path of the segment in use.
        file: String,
        /// The first failure.
        cause: String,
    },
    /// A file is not ours, or belongs to another data directory.
    #[error("LDB-1009: {file} does not belong to this data directory: {detail}; do not mix files of two directories")]
    Foreign {
        /// Path inside the data directory.
        file: String,
        /// What does not match.
        detail: String,
    },
    /// Something the manifest names is not there.
    #[error("LDB-1010: {file}: {detail}; restore the data directory from a copy")]
    Missing {
        /// Path or description of what is missing.
        file: String,
        /// What was needed from it.
        detail: String,
    },
    /// The format is not this program's.
    #[error("LDB-1011: {file} has format version {found}, {}", wanted_release(*.found, *.supported))]
    Version {
        /// Path inside the data directory.
        file: String,
        /// Version found.
        found: u32,
        /// Version that this program reads.
        supported: u32,
    },
    /// No retained checkpoint can be used.
    #[error("LDB-1012: no usable checkpoint: {detail}")]
    NoUsableCheckpoint {
        /// Every candidate with the reason why not.
        detail: String,
    },
    /// Bytes verified but do not have the expected structure.
    #[error("LDB-1013: {file} at offset {offset} is malformed: {detail}")]
    Malformed {
        /// Path inside the data directory.
        file: String,
        /// Byte offset of the frame.
        offset: u64,
        /// What was expected.
        detail: String,
    },
    /// A state arena refused an operation.
    #[error(transparent)]
    Arena(#[from] crate::arena::ArenaError),
    /// A caller broke the order of an operation; a defect of this program.
    #[error("LDB-1014: internal: {detail}")]
    Order {
        /// Which rule.
        detail: String,
    },
}

impl StorageError {
    /// Wraps a disk error with what was being done.
    pub fn disk(what: &'static str) -> impl FnOnce(DiskError) -> Self {
        move |source| Self::Disk { what, source }
    }

    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Disk { .. } => "LDB-1001",
            Self::NoSpace { .. } => "LDB-1002",
            Self::DirectoryInUse { .. } => "LDB-1003",
            Self::Rot { .. } => "LDB-1004",
            Self::RecordTooLarge { .. } => "LDB-1005",
            Self::LogBusy { .. } => "LDB-1006",
            Self::LogFailed { .. } => "LDB-1008",
            Self::Foreign { .. } => "LDB-1009",
            Self::Missing { .. } => "LDB-1010",
            Self::Version { .. } => "LDB-1011",
            Self::NoUsableCheckpoint { .. } => "LDB-1012",
            Self::Malformed { .. } => "LDB-1013",
            Self::Order { .. } => "LDB-1014",
            Self::Arena(error) => error.code(),
        }
    }

    /// Whether trying again can help.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::NoSpace { .. } | Self::LogBusy { .. } => Retry::Backoff,
            Self::Disk { .. } | Self::LogFailed { .. } => Retry::AfterRestart,
            Self::DirectoryInUse { .. }
            | Self::Rot { .. }
            | Self::RecordTooLarge { .. }
            | Self::Foreign { .. }
            | Self::Missing { .. }
            | Self::Version { .. }
            | Self::NoUsableCheckpoint { .. }
            | Self::Malformed { .. }
            | Self::Arena(_)
            | Self::Order { .. } => Retry::Never,
        }
    }
}

/// Which release a file of another format version needs.
fn wanted_release(found: u32, supported: u32) -> String {
    if found > supported {
        return format!("this program reads up to {supported}; start a newer release");
    }
    format!(
        "which an older release wrote, and this program reads {supported}; go on with that release, or start this one \
         with an empty data_dir and read the sources anew"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_format_names_the_release_that_it_needs() {
        let said = |found| StorageError::Version { file: "f".to_owned(), found, supported: 2 }.to_string();
        assert!(said(3).starts_with("LDB-1011: f has format version 3, ") && said(3).contains("start a newer release"));
        assert!(said(1).contains("which an older release wrote") && !said(1).contains("newer"), "{}", said(1));
    }
}
