//! Sizes of a log, with their limits.
//!
//! Invariant: a record of the largest size fits into a group, and a group into a segment.

use super::RECORD_HEADER_BYTES;
use super::frame::frame_bytes;
use crate::error::{Result, StorageError};

/// Largest payload of one record of a log with the default sizes; on a small volume it is less.
pub const MAX_RECORD_BYTES: usize = 16 << 20;

/// Sizes of one log, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Size of a segment file; a multiple of 4096.
    pub segment_bytes: u64,
    /// Largest payload of one record.
    pub max_record_bytes: usize,
    /// Records are gathered into groups of at most this payload (a larger record goes alone).
    pub max_group_bytes: usize,
    /// Appends are refused while this much waits to be written.
    pub max_pending_bytes: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 32 << 20,
            max_record_bytes: MAX_RECORD_BYTES,
            max_group_bytes: 4 << 20,
            max_pending_bytes: 64 << 20,
        }
    }
}

impl LogOptions {
    /// The same on a volume of this size, in bytes: a segment takes a thirty-second of it at most, and 2 MiB at least.
    #[must_use]
    pub fn on_volume(self, bytes: u64) -> Self {
        let segment_bytes = (bytes / 32).next_power_of_two().clamp(2 << 20, self.segment_bytes);
        let record = segment_bytes as usize / 2;
        Self {
            segment_bytes,
            max_record_bytes: self.max_record_bytes.min(record),
            max_group_bytes: self.max_group_bytes.min(record / 2),
            ..self
        }
    }

    /// Checks the sizes against each other.
    ///
    /// # Errors
    /// [`StorageError::Order`] naming the size that does not fit.
    pub fn validate(&self) -> Result<()> {
        let largest = RECORD_HEADER_BYTES + self.max_record_bytes.max(self.max_group_bytes);
        let order = |detail: String| Err(StorageError::Order { detail });
        if self.segment_bytes == 0
            || !self.segment_bytes.is_multiple_of(4096)
            || self.segment_bytes > u64::from(u32::MAX)
        {
            return order(format!("segment_bytes {} is not a multiple of 4096 below 4 GiB", self.segment_bytes));
        }
        if frame_bytes(largest) as u64 > self.segment_bytes {
            return order(format!("a group of {largest} bytes does not fit a segment of {}", self.segment_bytes));
        }
        if self.max_pending_bytes < self.max_record_bytes {
            return order(format!(
                "max_pending_bytes {} is below max_record_bytes {}",
                self.max_pending_bytes, self.max_record_bytes
            ));
        }
        Ok(())
    }
}
