//! The machine's clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::{Clock, Now};
use crate::data::EventTime;

/// Monotonic time since its creation, and the system's wall time.
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_micros() as i64,
            Err(before) => -(before.duration().as_micros() as i64),
        };
        Now { micros: self.0.elapsed().as_micros() as u64, wall: EventTime(wall) }
    }
}
