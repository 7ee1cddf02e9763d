//! Event time: microseconds since 1970-01-01 UTC.
//!
//! Invariant: every watermark, window bound and timer is in this unit, whatever the precision of
//! the column it came from; a nanosecond column is rounded down.

use serde::{Deserialize, Serialize};

/// A moment of event time in microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventTime(pub i64);

impl EventTime {
    /// Before every event: the watermark of a stream that has seen nothing.
    pub const MIN: Self = Self(i64::MIN);
    /// After every event: the final watermark of a stream that has ended.
    pub const MAX: Self = Self(i64::MAX);

    /// This moment moved by `micros`, clamped to the range; `MIN` and `MAX` stay what they are.
    pub fn shifted(self, micros: i64) -> Self {
        if self == Self::MIN || self == Self::MAX { self } else { Self(self.0.saturating_add(micros)) }
    }
}
