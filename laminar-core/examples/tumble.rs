//! How many rows a second of CPU time does one core fold into windows (count and sum by key)?
//!
//! Batches of columns are made before the clock starts; each run is checked (sum of counts = rows). Prints
//! million rows per CPU-second for several key sets and windows. Run: `cargo run --release -p laminar-core --example tumble`.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use laminar_core::aggregate::{AggregateFunction, AggregateSpec};
use laminar_core::data::{Batch, ChangeMode, EventTime, StreamSchema};
use laminar_core::expr::{CompileError, Evaluate, ExprCompiler, ScalarExpr};
use laminar_core::graph::{EmitMode, NodeSpec, OperatorSpec, WindowKind, WindowSpec};
use laminar_core::ids::{Epoch, Incarnation, ObjectId, OperatorId, ShardId};
use laminar_core::operator::{Barrier, Context, Counter, Operator, OperatorError, Place, build};
use laminar_core::shard::ShardMap;
use laminar_storage::arena::{Arena, ArenaOptions};

const BATCH_ROWS: usize = 8_192;
const ROWS_PER_SECOND: usize = 50_000;

struct NoExpressions;

impl ExprCompiler for NoExpressions {
    fn compile(&self, expr: &ScalarExpr, _: &SchemaRef) -> Result<Box<dyn Evaluate>, CompileError> {
        Err(CompileError { message: format!("no expression here: {expr}") })
    }
}

struct Sink {
    arena: Arena,
    watermark: EventTime,
    counted: i64,
    count_column: usize,
}

impl Context for Sink {
    fn emit(&mut self, batch: Batch) {
        let counts = batch.rows.column(self.count_column).as_primitive::<Int64Type>();
        self.counted += counts.values().iter().enumerate().map(|(row, n)| n * batch.weight(row)).sum::<i64>();
    }

    fn watermark(&self) -> EventTime {
        self.watermark
    }

    fn count(&mut self, _: Counter, _: u64) {}

    fn arena(&mut self) -> &mut Arena {
        &mut self.arena
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Key {
    Int,
    NullableInt,
    Text,
}

struct Case {
    name: &'static str,
    key: Key,
    keys: u64,
    window: WindowKind,
    emit: EmitMode,
}

fn batches(case: &Case, rows: usize) -> Vec<RecordBatch> {
    let mut random = fastrand::Rng::with_seed(42);
    let key_type = if case.key == Key::Text { DataType::Utf8 } else { DataType::Int64 };
    let schema = Arc::new(Schema::new(vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), false),
        Field::new("k", key_type, case.key != Key::Int),
        Field::new("v", DataType::Int64, false),
    ]));
    (0..rows / BATCH_ROWS)
        .map(|batch| {
            let time = |row: usize| ((batch * BATCH_ROWS + row) * 1_000 / ROWS_PER_SECOND) as i64;
            let keys: Vec<u64> = (0..BATCH_ROWS).map(|_| random.u64(0..case.keys)).collect();
            let key: ArrayRef = match case.key {
                Key::Text => Arc::new(keys.iter().map(|k| Some(format!("symbol-{k}"))).collect::<StringArray>()),
                _ => Arc::new(Int64Array::from_iter_values(keys.iter().map(|k| *k as i64))),
            };
            let values = Int64Array::from_iter_values((0..BATCH_ROWS).map(|_| random.i64(0..1000)));
            let times = TimestampMillisecondArray::from_iter_values((0..BATCH_ROWS).map(time));
            RecordBatch::try_new(schema.clone(), vec![Arc::new(times), key, Arc::new(values)])
        })
        .collect::<Result<_, _>>()
        .unwrap_or_default()
}

fn node(case: &Case, input: &SchemaRef) -> NodeSpec {
    let decimal = DataType::Decimal128(38, 0);
    let time = input.field(0).data_type().clone();
    let spec = |function: AggregateFunction, argument, returns| AggregateSpec {
        function,
        argument,
        filter: None,
        order: None,
        name: function.name().into(),
        returns,
    };
    let aggregates = vec![
        spec(AggregateFunction::Count, None, DataType::Int64),
        spec(AggregateFunction::Sum, Some(2), decimal.clone()),
    ];
    let fields = vec![
        input.field(1).clone(),
        Field::new("window_start", time.clone(), false),
        Field::new("window_end", time, false),
        Field::new("count", DataType::Int64, true),
        Field::new("sum", decimal, true),
    ];
    let mode = if case.emit == EmitMode::Changes { ChangeMode::Changelog } else { ChangeMode::Append };
    NodeSpec {
        id: OperatorId(1),
        operator: OperatorSpec::Aggregate {
            keys: vec![1],
            window: Some(WindowSpec { kind: case.window, time: 0 }),
            aggregates,
            emit: case.emit,
            lateness: 0,
        },
        inputs: vec![0],
        output: StreamSchema { columns: Arc::new(Schema::new(fields)), mode, key: None, time: vec![1, 2] },
    }
}

fn run(case: &Case, batches: &[RecordBatch]) -> Result<(f64, i64), OperatorError> {
    let input = StreamSchema { columns: batches[0].schema(), mode: ChangeMode::Append, key: None, time: vec![0] };
    let place = Place { shards: ShardMap::new(1, 1), shard: ShardId(0) };
    let mut operator: Box<dyn Operator> = build(&node(case, &input.columns), &[&input], &NoExpressions, place)?;
    let arena = Arena::new(ArenaOptions::new(ObjectId(1)))?;
    let mut sink = Sink { arena, watermark: EventTime::MIN, counted: 0, count_column: 3 };
    operator.restore(&mut sink)?;
    let started = cpu_seconds();
    for (at, batch) in batches.iter().enumerate() {
        operator.on_batch(0, Batch::new(batch.clone()), &mut sink)?;
        sink.watermark = EventTime((at * BATCH_ROWS * 1_000_000 / ROWS_PER_SECOND) as i64);
        operator.on_watermark(sink.watermark, &mut sink)?;
        if at % 64 == 63 {
            let epoch = Epoch { incarnation: Incarnation(1), number: at as u32 };
            operator.on_barrier(Barrier { epoch, checkpoint: None }, &mut sink)?;
        }
    }
    sink.watermark = EventTime::MAX;
    operator.on_watermark(EventTime::MAX, &mut sink)?;
    Ok((cpu_seconds() - started, sink.counted))
}

/// Seconds that this thread has spent on a CPU.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

fn main() {
    let second = 1_000_000;
    let tumble = WindowKind::Tumble { size: 10 * second, offset: 0 };
    let hop = |slide, size| WindowKind::Hop { slide, size, offset: 0 };
    let closing = EmitMode::OnWindowClose;
    let cases = [
        Case { name: "tumble 10 s, 10 keys", key: Key::Int, keys: 10, window: tumble, emit: closing },
        Case { name: "tumble 10 s, 10 k keys", key: Key::Int, keys: 10_000, window: tumble, emit: closing },
        Case { name: "tumble 10 s, 10 k nullable", key: Key::NullableInt, keys: 10_000, window: tumble, emit: closing },
        Case { name: "tumble 10 s, 10 k text keys", key: Key::Text, keys: 10_000, window: tumble, emit: closing },
        Case { name: "tumble 10 s, 1 M keys", key: Key::Int, keys: 1_000_000, window: tumble, emit: closing },
        Case {
            name: "tumble changes, 10 k keys",
            key: Key::Int,
            keys: 10_000,
            window: tumble,
            emit: EmitMode::Changes,
        },
        Case {
            name: "hop 1 s / 10 s, 10 k keys",
            key: Key::Int,
            keys: 10_000,
            window: hop(second, 10 * second),
            emit: closing,
        },
        Case {
            name: "hop 100 ms / 10 s, 10 k",
            key: Key::Int,
            keys: 10_000,
            window: hop(second / 10, 10 * second),
            emit: closing,
        },
    ];
    for case in &cases {
        let rows = if case.name.contains("100 ms") { 1 << 20 } else { 1 << 23 };
        let batches = batches(case, rows);
        let mut rates = Vec::new();
        for _ in 0..4 {
            match run(case, &batches) {
                Ok((seconds, counted)) => {
                    let windows = if let WindowKind::Hop { slide, size, .. } = case.window { size / slide } else { 1 };
                    assert_eq!(counted, rows as i64 * windows, "{}: rows were lost", case.name);
                    rates.push(rows as f64 / seconds / 1e6);
                }
                Err(error) => println!("{}: {error}", case.name),
            }
        }
        rates.sort_by(f64::total_cmp);
        let range = (rates.first().unwrap_or(&0.0), rates.last().unwrap_or(&0.0));
        println!("{:<28} {:6.1} … {:6.1} M rows per CPU-second", case.name, range.0, range.1);
    }
}
