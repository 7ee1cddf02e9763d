use std::sync::Arc;

use arrow::array::{RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use proptest::prelude::*;

use super::*;

fn rows(times: &[Option<i64>]) -> Batch {
    let field = Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true);
    let column = TimestampMicrosecondArray::from(times.to_vec());
    Batch::new(RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::new(column)]).unwrap())
}

fn split(delay: i64, max_future: Option<i64>) -> SplitWatermark {
    let spec = WatermarkSpec { column: 0, delay, idle_after: 10, max_future };
    SplitWatermark::new(&spec, 0, EventTime(0))
}

const NOW: EventTime = EventTime(1_000_000);

#[test]
fn ordered_rows_carry_no_hidden_column() {
    let mut split = split(5, None);
    let observed = split.observe(rows(&[Some(10), Some(11), Some(20)]), EventTime::MAX, NOW).unwrap();
    assert!(observed.batch.row_watermarks.is_none());
    assert_eq!(split.current(), EventTime(15));
}

#[test]
fn a_row_within_the_delay_is_not_behind() {
    let mut split = split(5, None);
    let observed = split.observe(rows(&[Some(20), Some(15)]), EventTime::MAX, NOW).unwrap();
    assert!(observed.batch.row_watermarks.is_none());
    let observed = split.observe(rows(&[Some(20), Some(14)]), EventTime::MAX, NOW).unwrap();
    assert_eq!(observed.batch.row_watermarks.as_deref(), Some(&[EventTime(15), EventTime(15)][..]));
}

#[test]
fn the_own_maximum_of_a_batch_does_not_make_its_first_rows_late() {
    let mut split = split(0, None);
    let observed = split.observe(rows(&[Some(10), Some(1000), Some(10)]), EventTime::MAX, NOW).unwrap();
    assert_eq!(observed.batch.row_watermarks.as_deref(), Some(&[EventTime::MIN, EventTime(10), EventTime(1000)][..]));
}

#[test]
fn the_other_splits_bound_the_judgement() {
    let mut split = split(0, None);
    let observed = split.observe(rows(&[Some(1000), Some(10)]), EventTime(10), NOW).unwrap();
    assert!(observed.batch.row_watermarks.is_none(), "the others still stand at 10");
    let observed = split.observe(rows(&[Some(9)]), EventTime(10), NOW).unwrap();
    assert_eq!(observed.batch.row_watermarks.as_deref(), Some(&[EventTime(10)][..]));
}

#[test]
fn rows_without_time_or_from_the_far_future_are_taken_out_and_counted() {
    let mut split = split(0, Some(100));
    let far = NOW.0 + 101;
    let observed =
        split.observe(rows(&[Some(1), None, Some(far), Some(NOW.0 + 100), None]), EventTime::MAX, NOW).unwrap();
    assert_eq!((observed.null_time, observed.far_future), (2, 1));
    assert_eq!(observed.batch.len(), 2);
    assert_eq!(split.current(), EventTime(NOW.0 + 100), "the far row does not poison the watermark");
}

#[test]
fn only_a_split_that_has_caught_up_becomes_idle() {
    let mut split = split(0, None);
    assert!(!split.is_idle(EventTime(1_000)));
    split.polled(true, EventTime(1_000));
    assert!(!split.is_idle(EventTime(1_009)));
    assert!(split.is_idle(EventTime(1_010)));
    split.observe(rows(&[Some(1)]), EventTime::MAX, EventTime(1_020)).unwrap();
    assert!(!split.is_idle(EventTime(1_029)));
    split.end();
    assert!(!split.is_idle(EventTime::MAX));
    assert_eq!(split.current(), EventTime::MAX);
}

#[test]
fn a_split_that_returns_from_idleness_is_judged_by_the_others() {
    let mut split = split(5, None);
    split.observe(rows(&[Some(100)]), EventTime(90), EventTime(0)).unwrap();
    split.polled(true, EventTime(1));
    let observed = split.observe(rows(&[Some(150)]), EventTime(500), EventTime(100)).unwrap();
    assert_eq!(observed.batch.row_watermarks.as_deref(), Some(&[EventTime(500)][..]));
    assert_eq!(split.current(), EventTime(500));
}

proptest! {
    /// However a stream is cut into batches, each row is judged alike.
    #[test]
    fn cuts_never_change_the_judgement(
        times in prop::collection::vec(-50i64..200, 1..120),
        cuts in prop::collection::vec(1usize..20, 1..40),
        delay in 0i64..20,
        others in prop::option::of(-50i64..200),
    ) {
        let others = others.map_or(EventTime::MAX, EventTime);
        let mut expected = Vec::new();
        let mut greatest: Option<i64> = None;
        for &time in &times {
            let own = greatest.map_or(EventTime::MIN, |g| EventTime(g - delay));
            expected.push(EventTime(time) < own.min(others));
            greatest = Some(greatest.map_or(time, |g| g.max(time)));
        }
        let mut split = split(delay, None);
        let mut judged = Vec::new();
        let mut rest = &times[..];
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let (head, tail) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            rest = tail;
            let batch: Vec<Option<i64>> = head.iter().copied().map(Some).collect();
            let observed = split.observe(rows(&batch), others, NOW).unwrap();
            for (row, time) in head.iter().enumerate() {
                let behind = observed.batch.row_watermarks.as_ref().is_some_and(|w| EventTime(*time) < w[row]);
                judged.push(behind);
            }
        }
        prop_assert_eq!(judged, expected);
    }
}
