//! Views against a naive oracle: at each epoch, under open changes, pins and restarts.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use proptest::prelude::*;

use super::super::harness::{Driver, texts};
use super::super::port::ReadCursor;
use crate::data::{Batch, ChangeMode, EventTime, StreamSchema};
use crate::graph::{NodeSpec, OperatorSpec};
use crate::ids::{Epoch, OperatorId};

fn schema(mode: ChangeMode, key: Option<Vec<usize>>) -> StreamSchema {
    let fields = vec![
        Field::new("k", DataType::Utf8, true),
        Field::new("v", DataType::Int64, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), true),
    ];
    StreamSchema { columns: Arc::new(Schema::new(fields)), mode, key, time: vec![2] }
}

type Row = (Option<String>, Option<i64>, i64);

fn rows(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0.clone()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
        Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.2))),
    ];
    RecordBatch::try_new(schema(ChangeMode::Append, None).columns, columns).unwrap()
}

fn driver(mode: ChangeMode, key: Option<Vec<usize>>, retention: Option<i64>) -> Driver {
    let node = NodeSpec {
        id: OperatorId(3),
        operator: OperatorSpec::Materialize { retention },
        inputs: vec![0],
        output: schema(mode, key.clone()),
    };
    Driver::new(node, schema(mode, key))
}

fn read(driver: &mut Driver, at: Option<Epoch>, max_rows: usize) -> BTreeMap<String, i64> {
    let mut view = BTreeMap::new();
    let mut cursor = Some(ReadCursor::default());
    while let Some(from) = cursor {
        let readable = driver.operator.as_readable().unwrap();
        let (rows, next) = readable.scan(at, from, max_rows, &driver.ctx.arena).unwrap();
        for text in texts(&rows) {
            *view.entry(text).or_default() += 1;
        }
        cursor = next;
    }
    view
}

fn as_view(rows_of: &BTreeMap<Option<String>, Vec<Row>>) -> BTreeMap<String, i64> {
    let mut view = BTreeMap::new();
    for row in rows_of.values().flatten() {
        *view.entry(texts(&rows(std::slice::from_ref(row))).remove(0)).or_default() += 1;
    }
    view
}

#[derive(Clone, Debug)]
enum Step {
    /// Sets a key to a row (upsert), or removes it.
    Change(Option<String>, Option<(Option<i64>, i64)>),
    Barrier,
    Complete,
    Pin,
    Unpin,
    Restart,
}

fn any_step() -> impl Strategy<Value = Step> {
    let key = prop::option::of("[a-e]|[x-y]{30}");
    prop_oneof![
        10 => (key, prop::option::weighted(0.7, (prop::option::of(0i64..5), 0i64..1000))).prop_map(|(key, to)| Step::Change(key, to)),
        3 => Just(Step::Barrier),
        2 => Just(Step::Complete),
        1 => Just(Step::Pin),
        1 => Just(Step::Unpin),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// A read at an epoch sees exactly that epoch; changes passed on add up to the view at each barrier.
    #[test]
    fn a_read_sees_its_epoch_and_nothing_later(
        steps in prop::collection::vec(any_step(), 1..80), keyed in any::<bool>(), retained in any::<bool>(),
    ) {
        let key = keyed.then(|| vec![0]);
        let mut driver = driver(ChangeMode::Changelog, key, retained.then_some(1 << 40));
        let mut now: BTreeMap<Option<String>, Vec<Row>> = BTreeMap::new();
        let mut at_epoch = vec![(None, BTreeMap::new())];
        let mut passed_on = BTreeMap::new();
        let mut pins: Vec<(Option<Epoch>, BTreeMap<String, i64>)> = Vec::new();
        let mut complete = 0;
        for step in steps {
            match step {
                Step::Change(key, to) => {
                    let mut change = Vec::new();
                    if let Some(old) = now.get_mut(&key) && (keyed || to.is_none()) && let Some(old) = old.pop() {
                        change.push((old, -1));
                    }
                    if let Some((value, time)) = to {
                        let row = (key.clone(), value, time);
                        now.entry(key).or_default().push(row.clone());
                        change.push((row, 1));
                    }
                    let (changed, weights): (Vec<Row>, Vec<i64>) = change.into_iter().unzip();
                    driver.batch(Batch::with_weights(rows(&changed), weights.into()));
                }
                Step::Barrier => {
                    let epoch = driver.barrier();
                    driver.apply_to(&mut passed_on);
                    prop_assert_eq!(&passed_on, &as_view(&now));
                    at_epoch.push((Some(epoch), as_view(&now)));
                }
                Step::Complete => {
                    complete = at_epoch.len() - 1;
                    if let Some(epoch) = at_epoch[complete].0 {
                        driver.operator.as_readable().unwrap().epoch_complete(epoch);
                    }
                }
                Step::Pin => {
                    let epoch = driver.operator.as_readable().unwrap().pin();
                    prop_assert_eq!(epoch, at_epoch[complete].0);
                    pins.push(at_epoch[complete].clone());
                }
                Step::Unpin => {
                    if let Some((epoch, _)) = pins.pop() {
                        driver.operator.as_readable().unwrap().unpin(epoch);
                    }
                }
                Step::Restart => {
                    let epoch = driver.barrier();
                    driver.apply_to(&mut passed_on);
                    driver.restart();
                    at_epoch.push((Some(epoch), as_view(&now)));
                    complete = at_epoch.len() - 1;
                    driver.operator.as_readable().unwrap().epoch_complete(epoch);
                    pins.clear();
                }
            }
            let (epoch, expected) = &at_epoch[complete];
            prop_assert_eq!(&read(&mut driver, *epoch, 3), expected);
            for (epoch, expected) in &pins {
                prop_assert_eq!(&read(&mut driver, *epoch, 1000), expected);
            }
        }
    }
}

#[test]
fn a_point_read_finds_the_row_of_its_key_at_its_epoch() {
    let mut driver = driver(ChangeMode::Changelog, Some(vec![0]), None);
    let row = |value| (Some("a".to_string()), Some(value), 5);
    driver.batch(Batch::new(rows(&[row(1)])));
    let first = driver.barrier();
    driver.operator.as_readable().unwrap().epoch_complete(first);
    driver.batch(Batch::with_weights(rows(&[row(1), row(2)]), [-1, 1].into()));
    let key = Schema::new(vec![Field::new("k", DataType::Utf8, true)]);
    let keys = StringArray::from(vec![Some("b"), Some("a"), None]);
    let keys = RecordBatch::try_new(Arc::new(key), vec![Arc::new(keys)]).unwrap();
    let readable = driver.operator.as_readable().unwrap();
    let found = readable.get(Some(first), &keys, &driver.ctx.arena).unwrap();
    assert_eq!(texts(&found), ["a|1|1970-01-01T00:00:00.005"]);
    let second = driver.barrier();
    let readable = driver.operator.as_readable().unwrap();
    readable.epoch_complete(second);
    let found = readable.get(Some(second), &keys, &driver.ctx.arena).unwrap();
    assert_eq!(texts(&found), ["a|2|1970-01-01T00:00:00.005"]);
}

#[test]
fn changes_of_one_epoch_that_cancel_are_not_passed_on() {
    let mut driver = driver(ChangeMode::Changelog, Some(vec![0]), None);
    let row = (Some("a".to_string()), Some(1), 5);
    driver.batch(Batch::with_weights(rows(&[row.clone(), row.clone(), row]), [1, -1, 1].into()));
    driver.barrier();
    assert_eq!(driver.take_rows().len(), 1);
    driver.batch(Batch::with_weights(
        rows(&[(Some("a".into()), Some(1), 5), (Some("a".into()), Some(1), 5)]),
        [-1, 1].into(),
    ));
    driver.barrier();
    assert!(driver.take_rows().is_empty());
}

#[test]
fn an_append_only_stream_passes_at_once() {
    let mut driver = driver(ChangeMode::Append, None, None);
    driver.batch(Batch::new(rows(&[(None, None, 1), (None, None, 1)])));
    assert_eq!(driver.take_rows().len(), 2);
    let epoch = driver.barrier();
    assert!(driver.take_rows().is_empty());
    driver.operator.as_readable().unwrap().epoch_complete(epoch);
    assert_eq!(read(&mut driver, Some(epoch), 10).into_values().sum::<i64>(), 2);
}

#[test]
fn retention_forgets_by_watermark_and_frees_the_state() {
    let mut driver = driver(ChangeMode::Append, Some(vec![0]), Some(16_000_000));
    driver.batch(Batch::new(rows(&[(Some("old".into()), None, 1_500), (Some("new".into()), None, 20_000)])));
    let epoch = driver.barrier();
    driver.operator.as_readable().unwrap().epoch_complete(epoch);
    driver.watermark(EventTime(17_900_000));
    assert_eq!(read(&mut driver, Some(epoch), 10).len(), 2, "kept for at least the retention");
    driver.watermark(EventTime(18_000_000));
    assert_eq!(read(&mut driver, Some(epoch), 10).len(), 1);
    driver.watermark(EventTime::MAX);
    assert_eq!(read(&mut driver, Some(epoch), 10).len(), 1, "the end of the stream forgets nothing");
}
