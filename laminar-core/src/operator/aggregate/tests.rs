//! Aggregates against a naive oracle, however the stream is cut and restarted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use proptest::prelude::*;

use super::super::harness::{Driver, texts};
use crate::aggregate::{AggregateFunction, AggregateSpec};
use crate::data::{Batch, ChangeMode, EventTime, StreamSchema};
use crate::graph::{EmitMode, NodeSpec, OperatorSpec, WatermarkSpec, WindowKind, WindowSpec};
use crate::ids::OperatorId;
use crate::operator::Counter;
use crate::operator::window::Grid;
use crate::watermark::SplitWatermark;

const TS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

#[derive(Clone, Debug)]
struct Row {
    key: Option<i64>,
    time: i64,
    value: Option<i64>,
    text: Option<String>,
    price: i64,
    wanted: Option<bool>,
}

fn input(mode: ChangeMode) -> StreamSchema {
    let fields = vec![
        Field::new("k", DataType::Int64, true),
        Field::new("ts", TS, false),
        Field::new("v", DataType::Int64, true),
        Field::new("s", DataType::Utf8, true),
        Field::new("p", DataType::Decimal128(12, 2), false),
        Field::new("w", DataType::Boolean, true),
    ];
    StreamSchema { columns: Arc::new(Schema::new(fields)), mode, key: None, time: vec![1] }
}

fn batch(rows: &[Row]) -> RecordBatch {
    let prices = Decimal128Array::from_iter_values(rows.iter().map(|row| i128::from(row.price)));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.key).collect::<Int64Array>()),
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.time))),
        Arc::new(rows.iter().map(|row| row.value).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.text.clone()).collect::<StringArray>()),
        Arc::new(prices.with_precision_and_scale(12, 2).unwrap()),
        Arc::new(rows.iter().map(|row| row.wanted).collect::<BooleanArray>()),
    ];
    RecordBatch::try_new(input(ChangeMode::Append).columns, columns).unwrap()
}

fn aggregate(function: AggregateFunction, argument: Option<usize>, returns: DataType) -> AggregateSpec {
    AggregateSpec { function, argument, filter: None, order: None, name: function.name().into(), returns }
}

/// count, sum(v), sum(v) FILTER (w), avg(p): those that retract; with the others min(v), max(s), first(s), last(v).
fn aggregates(mode: ChangeMode) -> Vec<AggregateSpec> {
    use AggregateFunction::*;
    let mut all = vec![
        aggregate(Count, None, DataType::Int64),
        aggregate(Count, Some(2), DataType::Int64),
        aggregate(Sum, Some(2), DataType::Decimal128(38, 0)),
        AggregateSpec { filter: Some(5), ..aggregate(Sum, Some(2), DataType::Decimal128(38, 0)) },
        aggregate(Avg, Some(4), DataType::Decimal128(16, 6)),
        aggregate(Sum, Some(4), DataType::Decimal128(38, 2)),
    ];
    if mode == ChangeMode::Append {
        all.push(aggregate(Min, Some(2), DataType::Int64));
        all.push(aggregate(Max, Some(3), DataType::Utf8));
        all.push(aggregate(First, Some(3), DataType::Utf8));
        all.push(aggregate(Last, Some(2), DataType::Int64));
    }
    all
}

fn node(window: Option<WindowKind>, emit: EmitMode, lateness: i64, mode: ChangeMode, keys: Vec<usize>) -> NodeSpec {
    let aggregates = aggregates(mode);
    let mut fields: Vec<Field> = keys.iter().map(|key| input(mode).columns.field(*key).clone()).collect();
    if window.is_some() {
        fields.push(Field::new("window_start", TS, false));
        fields.push(Field::new("window_end", TS, false));
    }
    fields.extend(aggregates.iter().map(|a| Field::new(&a.name, a.returns.clone(), true)));
    let window = window.map(|kind| WindowSpec { kind, time: 1 });
    let time = if window.is_some() { vec![keys.len(), keys.len() + 1] } else { vec![] };
    let out = if emit == EmitMode::Changes { ChangeMode::Changelog } else { ChangeMode::Append };
    NodeSpec {
        id: OperatorId(7),
        operator: OperatorSpec::Aggregate { keys, window, aggregates, emit, lateness },
        inputs: vec![0],
        output: StreamSchema { columns: Arc::new(Schema::new(fields)), mode: out, key: None, time },
    }
}

/// The naive answer for one group, from its rows in arrival order.
fn result(rows: &[(Row, i64)], mode: ChangeMode) -> String {
    let weighted = |f: &dyn Fn(&Row) -> Option<i64>| -> Option<i64> {
        let values: Vec<i64> = rows.iter().filter_map(|(row, w)| f(row).map(|v| v * w)).collect();
        let count: i64 = rows.iter().filter(|(row, _)| f(row).is_some()).map(|(_, w)| w).sum();
        (count != 0).then(|| values.iter().sum())
    };
    let text = |value: Option<String>| value.unwrap_or_else(|| "NULL".into());
    let number = |value: Option<i64>| text(value.map(|v| v.to_string()));
    let count: i64 = rows.iter().map(|(_, w)| w).sum();
    let prices: i64 = rows.iter().map(|(row, w)| row.price * w).sum();
    let decimal = |unscaled: i128, digits: usize| {
        let unit = 10_i128.pow(digits as u32);
        let sign = if unscaled < 0 { "-" } else { "" };
        format!("{sign}{}.{:0digits$}", unscaled.abs() / unit, unscaled.abs() % unit)
    };
    let average = (count != 0).then(|| {
        let scaled = i128::from(prices) * 10_000;
        let (count, magnitude) = (i128::from(count), scaled.abs());
        let rounded = magnitude / count + i128::from(magnitude % count * 2 >= count);
        decimal(if scaled < 0 { -rounded } else { rounded }, 6)
    });
    let mut columns = vec![
        count.to_string(),
        rows.iter().filter(|(row, _)| row.value.is_some()).map(|(_, w)| w).sum::<i64>().to_string(),
        number(weighted(&|row| row.value)),
        number(weighted(&|row| row.value.filter(|_| row.wanted == Some(true)))),
        text(average),
        text((count != 0).then(|| decimal(i128::from(prices), 2))),
    ];
    if mode == ChangeMode::Append {
        columns.push(number(rows.iter().filter_map(|(row, _)| row.value).min()));
        columns.push(text(rows.iter().filter_map(|(row, _)| row.text.clone()).max()));
        let first = rows.iter().fold(None::<&Row>, |first, (row, _)| match first {
            Some(first) if first.time <= row.time => Some(first),
            _ => Some(row),
        });
        let last = rows.iter().fold(None::<&Row>, |last, (row, _)| match last {
            Some(last) if last.time > row.time => Some(last),
            _ => Some(row),
        });
        columns.push(text(first.and_then(|row| row.text.clone())));
        columns.push(number(last.and_then(|row| row.value)));
    }
    columns.join("|")
}

fn stamp(micros: i64) -> String {
    let array: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![micros]));
    let schema = Schema::new(vec![Field::new("t", TS, false)]);
    texts(&RecordBatch::try_new(Arc::new(schema), vec![array]).unwrap()).remove(0)
}

fn key_text(key: Option<i64>) -> String {
    key.map_or("NULL".into(), |key| key.to_string())
}

/// Rows of a window and key, each with its place among the rows.
type Windows = BTreeMap<(i64, Option<i64>), Vec<(Row, i64)>>;

/// All windows of all rows that are not late for them, and how many (row, window) were late.
fn windows(rows: &[Row], grid: Grid, delay: i64, lateness: i64) -> (Windows, u64) {
    let mut groups: BTreeMap<_, Vec<(Row, i64)>> = BTreeMap::new();
    let mut greatest = None::<i64>;
    let mut late = 0;
    for row in rows {
        let watermark = greatest.map(|greatest| greatest - delay);
        for start in (-400..400).filter(|s| (s - grid.offset).rem_euclid(grid.slide) == 0) {
            if start <= row.time && row.time < start + grid.size {
                if watermark.is_some_and(|w| start + grid.size + lateness <= w) {
                    late += 1;
                } else {
                    groups.entry((start, row.key)).or_default().push((row.clone(), 1));
                }
            }
        }
        greatest = Some(greatest.map_or(row.time, |g| g.max(row.time)));
    }
    (groups, late)
}

/// One step between two messages of a random run.
#[derive(Clone, Copy, Debug)]
struct Step {
    rows: usize,
    /// A watermark follows the rows at once (it may lag: only the rows' own matter).
    watermark: bool,
    barrier: bool,
    restart: bool,
}

fn any_row() -> impl Strategy<Value = Row> {
    (
        prop::option::weighted(0.9, 0i64..4),
        -60i64..60,
        prop::option::weighted(0.8, -50i64..50),
        prop::option::weighted(0.8, "[a-c]{0,2}|[x-z]{40}"),
        -500i64..500,
        prop::option::of(any::<bool>()),
    )
        .prop_map(|(key, time, value, text, price, wanted)| Row { key, time, value, text, price, wanted })
}

/// Rows whose times mostly grow.
fn any_rows() -> impl Strategy<Value = Vec<Row>> {
    prop::collection::vec((any_row(), -8i64..12), 1..80).prop_map(|rows| {
        let mut now = -60;
        let advance = |(mut row, step): (Row, i64)| {
            now += step.max(0) / 2;
            row.time = now + step.min(0) * 2;
            row
        };
        rows.into_iter().map(advance).collect()
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    (1usize..12, any::<bool>(), prop::bool::weighted(0.4), any::<bool>())
        .prop_map(|(rows, watermark, barrier, restart)| Step { rows, watermark, barrier, restart })
}

/// Runs rows through a split watermark and the operator; `after` looks at the driver after each step.
fn run(driver: &mut Driver, rows: &[Row], steps: &[Step], delay: i64, mut after: impl FnMut(&mut Driver)) {
    let spec = WatermarkSpec { column: 1, delay, idle_after: 1, max_future: None };
    let mut split = SplitWatermark::new(&spec, 1, EventTime(0));
    let mut rest = rows;
    for step in steps.iter().cycle() {
        let (head, tail) = rest.split_at(step.rows.min(rest.len()));
        rest = tail;
        let observed = split.observe(Batch::new(batch(head)), EventTime::MAX, EventTime(0)).unwrap();
        driver.batch(observed.batch);
        if step.watermark {
            driver.watermark(split.current());
        }
        if step.barrier {
            driver.barrier();
            if step.restart {
                driver.restart();
            }
        }
        after(driver);
        if rest.is_empty() {
            return;
        }
    }
}

fn any_window() -> impl Strategy<Value = WindowKind> {
    prop_oneof![
        (1i64..25, 0i64..25).prop_map(|(size, offset)| WindowKind::Tumble { size, offset: offset % size }),
        (1i64..12, 0i64..30, 0i64..12).prop_map(|(slide, more, offset)| WindowKind::Hop {
            slide,
            size: slide + more,
            offset: offset % slide
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Each window leaves once, in order, exactly with the rows that were not late, whatever cuts, stale watermarks and restarts.
    #[test]
    fn windows_that_close_equal_the_naive_answer(
        rows in any_rows(), steps in prop::collection::vec(any_step(), 1..20), kind in any_window(), delay in 0i64..10, lateness in 0i64..8,
        sums_only in any::<bool>(),
    ) {
        // Sums slide from window to window, the others are merged anew.
        let set = if sums_only { ChangeMode::Changelog } else { ChangeMode::Append };
        let grid = Grid::of(kind).unwrap();
        let mut driver = Driver::new(node(Some(kind), EmitMode::OnWindowClose, lateness, set, vec![0]), input(ChangeMode::Append));
        run(&mut driver, &rows, &steps, delay, |_| ());
        driver.watermark(EventTime::MAX);
        let (groups, late) = windows(&rows, grid, delay, lateness);
        let expected: Vec<String> = groups.iter().map(|((start, key), rows)| {
            format!("{}|{}|{}|{}", key_text(*key), stamp(*start), stamp(start + grid.size), result(rows, set))
        }).collect();
        let emitted = driver.take_rows();
        let starts: Vec<&str> = emitted.iter().map(|row| row.split('|').nth(1).unwrap()).collect();
        let order: HashMap<String, i64> = groups.keys().map(|(start, _)| (stamp(*start), *start)).collect();
        prop_assert!(starts.windows(2).all(|pair| order.get(pair[0]) <= order.get(pair[1])), "windows leave in order: {:?}", starts);
        let (mut emitted, mut expected) = (emitted, expected);
        emitted.sort();
        expected.sort();
        prop_assert_eq!(emitted, expected);
        prop_assert_eq!(driver.counted(Counter::LateDropped), late);
    }

    /// Changes of windows add up to the same.
    #[test]
    fn window_changes_add_up_to_the_naive_answer(
        rows in any_rows(), steps in prop::collection::vec(any_step(), 1..20), kind in any_window(), delay in 0i64..10, lateness in 0i64..8,
    ) {
        let grid = Grid::of(kind).unwrap();
        let mut driver = Driver::new(node(Some(kind), EmitMode::Changes, lateness, ChangeMode::Append, vec![0]), input(ChangeMode::Append));
        let mut view = BTreeMap::new();
        run(&mut driver, &rows, &steps, delay, |driver| {
            driver.apply_to(&mut view);
        });
        driver.barrier();
        driver.apply_to(&mut view);
        let (groups, late) = windows(&rows, grid, delay, lateness);
        let expected: BTreeMap<String, i64> = groups.iter().map(|((start, key), rows)| {
            (format!("{}|{}|{}|{}", key_text(*key), stamp(*start), stamp(start + grid.size), result(rows, ChangeMode::Append)), 1)
        }).collect();
        prop_assert_eq!(view, expected);
        prop_assert_eq!(driver.counted(Counter::LateDropped), late);
    }

    /// Without window: at every barrier the changes so far add up to the answer over the rows so far.
    #[test]
    fn totals_follow_insertions_and_retractions(
        steps in prop::collection::vec((prop::collection::vec((any_row(), prop::bool::weighted(0.35), any::<prop::sample::Index>()), 0..10), any::<bool>()), 1..25),
        is_global in any::<bool>(), append in any::<bool>(),
    ) {
        let mode = if append { ChangeMode::Append } else { ChangeMode::Changelog };
        let keys = if is_global { vec![] } else { vec![0] };
        let mut driver = Driver::new(node(None, EmitMode::Changes, 0, mode, keys), input(mode));
        let mut live: Vec<Row> = Vec::new();
        let mut view = BTreeMap::new();
        for (changes, restart) in steps {
            let (mut rows, mut weights) = (Vec::new(), Vec::new());
            for (row, retract, which) in changes {
                if retract && !append && !live.is_empty() {
                    rows.push(live.remove(which.index(live.len())));
                    weights.push(-1);
                } else {
                    live.push(row.clone());
                    rows.push(row);
                    weights.push(1);
                }
            }
            let rows = batch(&rows);
            driver.batch(if append { Batch::new(rows) } else { Batch::with_weights(rows, weights.into()) });
            driver.barrier();
            if restart {
                driver.restart();
            }
            driver.apply_to(&mut view);
            let mut groups: BTreeMap<Option<i64>, Vec<(Row, i64)>> = BTreeMap::new();
            if is_global {
                groups.insert(None, Vec::new());
            }
            for row in &live {
                groups.entry(if is_global { None } else { row.key }).or_default().push((row.clone(), 1));
            }
            let expected: BTreeMap<String, i64> = groups.iter().map(|(key, rows)| {
                let result = result(rows, mode);
                (if is_global { result } else { format!("{}|{result}", key_text(*key)) }, 1)
            }).collect();
            prop_assert_eq!(&view, &expected);
        }
    }
}

#[test]
fn a_global_aggregate_has_a_row_before_any_input_and_only_once() {
    let mut driver =
        Driver::new(node(None, EmitMode::Changes, 0, ChangeMode::Changelog, vec![]), input(ChangeMode::Changelog));
    driver.barrier();
    assert_eq!(driver.take_rows(), ["0|0|NULL|NULL|NULL|NULL"]);
    driver.barrier();
    driver.restart();
    driver.barrier();
    assert!(driver.take_rows().is_empty());
}

#[test]
fn a_late_row_after_close_is_dropped_and_counted() {
    let kind = WindowKind::Tumble { size: 10, offset: 0 };
    let mut driver = Driver::new(
        node(Some(kind), EmitMode::OnWindowClose, 5, ChangeMode::Append, vec![0]),
        input(ChangeMode::Append),
    );
    let row = |time| Row { key: Some(1), time, value: Some(1), text: None, price: 0, wanted: None };
    driver.batch(Batch::new(batch(&[row(1)])));
    driver.watermark(EventTime(14));
    assert!(driver.take_rows().is_empty(), "the allowed lateness holds the window open");
    driver.batch(Batch::new(batch(&[row(2)])));
    driver.watermark(EventTime(15));
    assert_eq!(driver.take_rows().len(), 1);
    driver.batch(Batch::new(batch(&[row(3), row(15)])));
    assert_eq!(driver.counted(Counter::LateDropped), 1);
    driver.barrier();
    driver.restart();
    driver.ctx.watermark = EventTime::MIN;
    driver.batch(Batch::new(batch(&[row(4)])));
    assert_eq!(driver.counted(Counter::LateDropped), 2, "a restart does not open a closed window again");
}

#[test]
fn a_closed_window_leaves_nothing_behind() {
    let kind = WindowKind::Hop { slide: 5, size: 15, offset: 0 };
    let mut driver = Driver::new(
        node(Some(kind), EmitMode::OnWindowClose, 0, ChangeMode::Append, vec![0]),
        input(ChangeMode::Append),
    );
    let row = |time| Row { key: Some(1), time, value: Some(1), text: Some("long ".repeat(20)), price: 0, wanted: None };
    let before = driver.ctx.arena.bytes_used();
    for time in 0..200 {
        driver.batch(Batch::new(batch(&[row(time * 5)])));
        driver.watermark(EventTime(time * 5));
    }
    driver.watermark(EventTime::MAX);
    assert_eq!(driver.ctx.arena.bytes_used(), before);
    assert_eq!(driver.take_rows().len(), 202);
}

#[test]
fn a_sum_beyond_decimal_38_skips_the_row_in_all_aggregates() {
    let mut spec = node(None, EmitMode::Changes, 0, ChangeMode::Append, vec![0]);
    let big = DataType::Decimal128(38, 0);
    let schema =
        Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, true), Field::new("d", big.clone(), true)]));
    let aggregates = vec![
        aggregate(AggregateFunction::Count, None, DataType::Int64),
        aggregate(AggregateFunction::Sum, Some(1), big.clone()),
    ];
    let fields = vec![
        Field::new("k", DataType::Int64, true),
        Field::new("n", DataType::Int64, true),
        Field::new("s", big.clone(), true),
    ];
    spec.output.columns = Arc::new(Schema::new(fields));
    spec.operator =
        OperatorSpec::Aggregate { keys: vec![0], window: None, aggregates, emit: EmitMode::Changes, lateness: 0 };
    let input = StreamSchema { columns: schema.clone(), mode: ChangeMode::Append, key: None, time: vec![] };
    let mut driver = Driver::new(spec, input);
    let nines = 10_i128.pow(38) - 1;
    let column = Decimal128Array::from(vec![nines - 1, 1, 1, -5]).with_precision_and_scale(38, 0).unwrap();
    let keys = Int64Array::from(vec![1, 1, 1, 1]);
    driver.batch(Batch::new(RecordBatch::try_new(schema, vec![Arc::new(keys), Arc::new(column)]).unwrap()));
    driver.barrier();
    assert_eq!(driver.take_rows(), [format!("1|3|{}", nines - 5)]);
    assert_eq!(driver.counted(Counter::OutOfRange), 1);
}
