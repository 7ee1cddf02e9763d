//! The watermark of one split: the greatest event time seen, minus the declared delay.

use std::sync::Arc;

use arrow::array::BooleanArray;

use crate::data::{Batch, DataError, EventTime, EventTimes};
use crate::graph::WatermarkSpec;

/// Makes the watermark of one split of a source. Not stored: a restart begins anew from the rows after
/// the checkpoint, and operators keep the watermark they had.
#[derive(Clone, Debug)]
pub struct SplitWatermark {
    column: usize,
    delay: i64,
    idle_after: i64,
    max_future: Option<i64>,
    /// Greatest time seen; `MIN` before the first row.
    greatest: EventTime,
    ended: bool,
    caught_up: bool,
    /// Processing time of the last sign of life.
    active_at: EventTime,
}

/// A batch after it passed the watermark.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The rows that have a time, with `row_watermarks` where some row lies behind.
    pub batch: Batch,
    /// Rows taken out because their time is NULL.
    pub null_time: u64,
    /// Rows taken out because their time lies too far ahead of their arrival.
    pub far_future: u64,
}

impl SplitWatermark {
    /// A split that has seen nothing. `column` is the time column's index in the batches that will come;
    /// `now` is the processing time.
    pub fn new(spec: &WatermarkSpec, column: usize, now: EventTime) -> Self {
        Self {
            column,
            delay: spec.delay,
            idle_after: spec.idle_after,
            max_future: spec.max_future,
            greatest: EventTime::MIN,
            ended: false,
            caught_up: false,
            active_at: now,
        }
    }

    /// The watermark in force behind the last batch.
    pub fn current(&self) -> EventTime {
        if self.ended { EventTime::MAX } else { self.greatest.shifted(-self.delay) }
    }

    /// Takes note of a batch and judges its rows. `others` is the minimum over the other splits of the same
    /// reactor as known now, `arrival` the processing time at which the rows arrived.
    ///
    /// # Errors
    /// The time column is not a timestamp, or Arrow refuses to filter (a defect).
    pub fn observe(&mut self, batch: Batch, others: EventTime, arrival: EventTime) -> Result<Observed, DataError> {
        if self.is_idle(arrival) && others != EventTime::MAX {
            // Time went on without this split: it returns into the present, not into its own past.
            self.greatest = self.greatest.max(others.shifted(self.delay));
        }
        self.active_at = arrival;
        let mut observed = self.take_out(batch, arrival)?;
        let watermarks = {
            let column = observed.batch.rows.column(self.column);
            let times = EventTimes::read(column.as_ref())?;
            let Some((least, greatest)) = times.bounds() else { return Ok(observed) };
            let before = self.greatest;
            self.greatest = before.max(greatest);
            // No watermark in this batch is above this one, so rows at or above it are behind none.
            if least >= others.min(self.current()) { None } else { judge(&times, before, self.delay, others) }
        };
        observed.batch.row_watermarks = watermarks;
        Ok(observed)
    }

    /// Takes out rows without a time or with one too far in the future.
    fn take_out(&self, batch: Batch, arrival: EventTime) -> Result<Observed, DataError> {
        let column = Arc::clone(batch.rows.column(self.column));
        let times = EventTimes::read(column.as_ref())?;
        let limit = self.max_future.map_or(EventTime::MAX, |ahead| arrival.shifted(ahead));
        let too_far = limit != EventTime::MAX && times.bounds().is_some_and(|(_, greatest)| greatest > limit);
        let null_time = times.nulls.map_or(0, |nulls| nulls.null_count()) as u64;
        if null_time == 0 && !too_far {
            return Ok(Observed { batch, null_time: 0, far_future: 0 });
        }
        let keep: BooleanArray =
            (0..batch.len()).map(|row| Some(times.get(row).is_some_and(|time| time <= limit))).collect();
        let far_future = batch.len() as u64 - null_time - keep.true_count() as u64;
        Ok(Observed { batch: batch.filter(&keep)?, null_time, far_future })
    }

    /// Takes note of a poll: whether the split's present end was reached, and the processing time.
    pub fn polled(&mut self, caught_up: bool, now: EventTime) {
        if self.caught_up != caught_up {
            self.caught_up = caught_up;
            self.active_at = now;
        }
    }

    /// Whether the split no longer holds time back: it has delivered all there is and has been silent for
    /// the declared time. A split that lags is never idle.
    pub fn is_idle(&self, now: EventTime) -> bool {
        self.idle_from().is_some_and(|from| now >= from)
    }

    /// The processing time at which the split becomes idle if nothing comes; none while it lags or when it has ended.
    pub fn idle_from(&self) -> Option<EventTime> {
        (self.caught_up && !self.ended).then(|| self.active_at.shifted(self.idle_after))
    }

    /// Moves time by hand (`ADVANCE WATERMARK`): the watermark becomes at least `to`, and the split counts again.
    pub fn advance(&mut self, to: EventTime, now: EventTime) {
        self.active_at = now;
        self.greatest = self.greatest.max(to.shifted(self.delay));
    }

    /// The split is over: its watermark becomes [`EventTime::MAX`].
    pub fn end(&mut self) {
        self.ended = true;
    }
}

/// The watermark in force just before each row; none when no row lies behind its own.
fn judge(times: &EventTimes<'_>, before: EventTime, delay: i64, others: EventTime) -> Option<Arc<[EventTime]>> {
    let mut greatest = before;
    let mut behind = false;
    let watermarks: Arc<[EventTime]> = (0..times.micros.len())
        .map(|row| {
            let time = times.get(row).unwrap_or(EventTime::MIN);
            let watermark = others.min(greatest.shifted(-delay));
            behind |= time < watermark;
            greatest = greatest.max(time);
            watermark
        })
        .collect();
    behind.then_some(watermarks)
}

#[cfg(test)]
mod tests;
