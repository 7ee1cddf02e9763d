//! The grid of tumbling and hopping windows: which windows a moment lies in.
//!
//! Invariant: windows are half-open and aligned to 1970-01-01 UTC plus the offset, before 1970 too
//! (floor division); at the ends of the range of time, bounds are clamped.

use crate::data::EventTime;
use crate::graph::WindowKind;

/// Tumbling and hopping windows as one: starts `slide` apart, each `size` long. Microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) size: i64,
    pub(crate) slide: i64,
    pub(crate) offset: i64,
}

impl Grid {
    /// The grid of a window; none when a length is not positive.
    pub(crate) fn of(kind: WindowKind) -> Option<Self> {
        let grid = match kind {
            WindowKind::Tumble { size, offset } => Self { size, slide: size, offset },
            WindowKind::Hop { slide, size, offset } => Self { size, slide, offset },
        };
        (grid.size > 0 && grid.slide > 0).then_some(grid)
    }

    /// Cells that windows are made of: as long as the greatest common divisor of size and slide.
    pub(crate) fn cell(&self) -> Self {
        let length = gcd(self.size, self.slide);
        Self { size: length, slide: length, offset: self.offset.rem_euclid(length) }
    }

    /// Start of the last window that begins at or before a moment.
    pub(crate) fn last_start(&self, time: EventTime) -> i64 {
        // Far from the ends of time the short way is exact.
        if time.0.unsigned_abs() < 1 << 62 && self.slide < 1 << 60 {
            return time.0 - (time.0 - self.offset).rem_euclid(self.slide);
        }
        let since = i128::from(time.0) - i128::from(self.offset);
        let start = since.div_euclid(i128::from(self.slide)) * i128::from(self.slide) + i128::from(self.offset);
        start.max(i128::from(i64::MIN + 1)) as i64
    }

    /// Starts of the windows that a moment lies in, latest first.
    pub(crate) fn starts(&self, time: EventTime) -> impl Iterator<Item = i64> + use<> {
        let grid = *self;
        let mut next = Some(self.last_start(time));
        std::iter::from_fn(move || {
            let start = next.filter(|start| i128::from(*start) + i128::from(grid.size) > i128::from(time.0))?;
            next = start.checked_sub(grid.slide).filter(|start| *start > i64::MIN);
            Some(start)
        })
    }

    /// The end (exclusive) of a window.
    pub(crate) fn end(&self, start: i64) -> i64 {
        start.saturating_add(self.size)
    }

    /// When a window's results are final: its end plus the allowed lateness. Never [`EventTime::MAX`]
    /// before the end of the stream, so a clamped window still closes with it.
    pub(crate) fn closes_at(&self, start: i64, lateness: i64) -> EventTime {
        EventTime(self.end(start).saturating_add(lateness))
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn windows_before_1970_and_with_offset_are_floored() {
        let grid = Grid { size: 10, slide: 10, offset: 3 };
        assert_eq!(grid.last_start(EventTime(-1)), -7);
        assert_eq!(grid.last_start(EventTime(-7)), -7);
        assert_eq!(grid.last_start(EventTime(-8)), -17);
        assert_eq!(grid.last_start(EventTime(3)), 3);
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let grid = Grid { size: 10, slide: 5, offset: 0 };
        for time in [i64::MIN + 1, i64::MAX - 1] {
            assert!(grid.starts(EventTime(time)).count() >= 1);
        }
    }

    proptest! {
        #[test]
        fn a_moment_lies_in_exactly_its_windows(time in -500i64..500, size in 1i64..60, slide in 1i64..60, offset in 0i64..60) {
            let grid = Grid { size, slide, offset: offset % slide };
            let starts: Vec<i64> = grid.starts(EventTime(time)).collect();
            let expected: Vec<i64> = (-700..700)
                .rev()
                .filter(|start| (start - grid.offset).rem_euclid(slide) == 0 && *start <= time && time < start + size)
                .collect();
            prop_assert_eq!(starts, expected);
            let cell = grid.cell();
            prop_assert_eq!(size % cell.size, 0);
            prop_assert_eq!(slide % cell.size, 0);
            for start in grid.starts(EventTime(time)) {
                prop_assert_eq!((start - cell.last_start(EventTime(time))).rem_euclid(cell.size), 0);
            }
        }
    }
}
