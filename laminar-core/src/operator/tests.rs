//! Operators without state, and the decorator that watches all.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::harness::{NoExpressions, TestContext, texts};
use super::*;
use crate::data::{Batch, ChangeMode, EventTime, StreamSchema};
use crate::expr::{CompileError, EvalError, Evaluate, ExprCompiler, ScalarExpr};
use crate::graph::{NodeSpec, OperatorSpec, WindowKind, WindowSpec};
use crate::ids::{Epoch, Incarnation, OperatorId, ShardId};
use crate::shard::ShardMap;

/// Compiles `Negate(column)` to 100 / column, failing at zero, and `Not(column)` to column > 10.
struct TestCompiler;

struct Hundredth(usize);

impl Evaluate for Hundredth {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, EvalError> {
        let values = rows.column(self.0).as_primitive::<arrow::datatypes::Int64Type>();
        let divide = |value: Option<i64>| match value {
            Some(0) => Err(EvalError { sqlstate: "22012", message: "division by zero".into() }),
            value => Ok(value.map(|value| 100 / value)),
        };
        Ok(Arc::new(values.iter().map(divide).collect::<Result<Int64Array, _>>()?))
    }
}

struct Above(usize);

impl Evaluate for Above {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, EvalError> {
        let above = Hundredth(self.0).evaluate(rows)?;
        let above = above.as_primitive::<arrow::datatypes::Int64Type>();
        Ok(Arc::new(above.iter().map(|value| value.map(|value| value < 10)).collect::<BooleanArray>()))
    }
}

impl ExprCompiler for TestCompiler {
    fn compile(&self, expr: &ScalarExpr, _: &SchemaRef) -> Result<Box<dyn Evaluate>, CompileError> {
        match expr {
            ScalarExpr::Negate(operand) if let ScalarExpr::Column { index, .. } = operand.as_ref() => {
                Ok(Box::new(Hundredth(*index)))
            }
            ScalarExpr::Not(operand) if let ScalarExpr::Column { index, .. } = operand.as_ref() => {
                Ok(Box::new(Above(*index)))
            }
            other => Err(CompileError { message: other.to_string() }),
        }
    }
}

fn column(index: usize) -> ScalarExpr {
    ScalarExpr::column(index, "c", DataType::Int64)
}

fn schema(fields: Vec<Field>, mode: ChangeMode, time: Vec<usize>) -> StreamSchema {
    StreamSchema { columns: Arc::new(Schema::new(fields)), mode, key: None, time }
}

fn ints(mode: ChangeMode) -> StreamSchema {
    schema(vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Int64, true)], mode, vec![])
}

fn make(operator: OperatorSpec, output: &StreamSchema, input: &StreamSchema) -> Box<dyn Operator> {
    let node = NodeSpec { id: OperatorId(1), operator, inputs: vec![0], output: output.clone() };
    let place = Place { shards: ShardMap::new(4, 1), shard: ShardId(0) };
    Box::new(Checked::new(build(&node, &[input], &TestCompiler, place).unwrap(), output))
}

/// a = 0.., b = 1000 + a; weights and hidden column name their rows.
fn rows(values: std::ops::Range<i64>) -> Batch {
    let (a, b) =
        (Int64Array::from_iter_values(values.clone()), Int64Array::from_iter_values(values.clone().map(|v| v + 1000)));
    let rows = RecordBatch::try_new(ints(ChangeMode::Append).columns, vec![Arc::new(a), Arc::new(b)]).unwrap();
    let mut batch = Batch::with_weights(rows, values.clone().map(|value| value + 100).collect());
    batch.row_watermarks = Some(values.map(EventTime).collect());
    batch
}

fn assert_aligned(batch: &Batch, column: usize, offset: i64) {
    let values = batch.rows.column(column).as_primitive::<arrow::datatypes::Int64Type>();
    for (row, value) in values.values().iter().enumerate() {
        assert_eq!(batch.weight(row), value - offset + 100);
        assert_eq!(batch.row_watermarks.as_ref().unwrap()[row], EventTime(value - offset));
    }
}

#[test]
fn a_row_that_fails_is_skipped_and_counted_and_the_others_keep_their_weights() {
    let stream = ints(ChangeMode::Changelog);
    let output = schema(
        vec![Field::new("q", DataType::Int64, true), Field::new("b", DataType::Int64, true)],
        ChangeMode::Changelog,
        vec![],
    );
    let exprs = vec![ScalarExpr::Negate(Box::new(column(0))), column(1)];
    let mut project = make(OperatorSpec::Project { exprs }, &output, &stream);
    let mut ctx = TestContext::default();
    project.on_batch(0, rows(-7..9), &mut ctx).unwrap();
    assert_eq!(ctx.counts[&Counter::EvaluationFailed], 1);
    assert_eq!(ctx.emitted[0].len(), 15);
    assert_aligned(&ctx.emitted[0], 1, 1000);

    let predicate = ScalarExpr::Not(Box::new(column(0)));
    let mut filter = make(OperatorSpec::Filter { predicate }, &stream, &stream);
    let mut ctx = TestContext::default();
    filter.on_batch(0, rows(0..30), &mut ctx).unwrap();
    assert_eq!(ctx.counts[&Counter::EvaluationFailed], 1);
    assert_eq!(ctx.counts[&Counter::Filtered], 10);
    assert_eq!(ctx.emitted[0].len(), 19);
    assert_aligned(&ctx.emitted[0], 0, 0);
}

#[test]
fn a_batch_in_which_every_row_fails_emits_nothing() {
    let stream = ints(ChangeMode::Append);
    let exprs = vec![ScalarExpr::Negate(Box::new(column(0)))];
    let output = schema(vec![Field::new("q", DataType::Int64, true)], ChangeMode::Append, vec![]);
    let mut project = make(OperatorSpec::Project { exprs }, &output, &stream);
    let zeros = Int64Array::from(vec![0; 100]);
    let batch = RecordBatch::try_new(stream.columns.clone(), vec![Arc::new(zeros.clone()), Arc::new(zeros)]).unwrap();
    let mut ctx = TestContext::default();
    project.on_batch(0, Batch::new(batch), &mut ctx).unwrap();
    assert_eq!(ctx.counts[&Counter::EvaluationFailed], 100);
    assert!(ctx.emitted.is_empty());
}

#[test]
fn renaming_and_dropping_columns_copies_nothing() {
    let stream = ints(ChangeMode::Append);
    let output = schema(vec![Field::new("renamed", DataType::Int64, true)], ChangeMode::Append, vec![]);
    let mut project = make(OperatorSpec::Project { exprs: vec![column(1)] }, &output, &stream);
    let mut input = rows(1..100);
    (input.weights, input.row_watermarks) = (None, None);
    let address = input.rows.column(1).to_data().buffers()[0].as_ptr();
    let mut ctx = TestContext::default();
    project.on_batch(0, input, &mut ctx).unwrap();
    assert_eq!(ctx.emitted[0].rows.column(0).to_data().buffers()[0].as_ptr(), address);
    assert_eq!(ctx.emitted[0].schema(), output.columns);
}

#[test]
fn hopping_windows_give_one_row_per_window_and_drop_only_the_late_ones() {
    let ts = DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()));
    let input = schema(vec![Field::new("ts", ts.clone(), true)], ChangeMode::Append, vec![0]);
    let names = ["ts", "window_start", "window_end", "window_time"];
    let fields = names.iter().map(|name| Field::new(*name, ts.clone(), *name == "ts")).collect();
    let output = schema(fields, ChangeMode::Append, vec![1, 2, 3]);
    let kind = WindowKind::Hop { slide: 5_000, size: 10_000, offset: 0 };
    let spec = OperatorSpec::WindowAssign { window: WindowSpec { kind, time: 0 }, lateness: 1_000 };
    let mut assign = make(spec, &output, &input);
    let mut ctx = TestContext::default();
    let times = TimestampMillisecondArray::from(vec![Some(12), None, Some(-1)]).with_timezone("+00:00");
    let batch = Batch::new(RecordBatch::try_new(input.columns.clone(), vec![Arc::new(times)]).unwrap());
    assign.on_batch(0, batch, &mut ctx).unwrap();
    assert_eq!(ctx.counts[&Counter::NullTime], 1);
    let at = |ms: i64| texts(&stamp(ms, &ts)).remove(0);
    let row = |ms, start, end| format!("{}|{}|{}|{}", at(ms), at(start), at(end), at(end - 1));
    let emitted = texts(&ctx.emitted[0].rows);
    assert_eq!(emitted, [row(12, 5, 15), row(12, 10, 20), row(-1, -10, 0), row(-1, -5, 5)]);

    ctx.watermark = EventTime(16_000);
    assert_eq!(assign.on_watermark(EventTime(16_000), &mut ctx).unwrap(), EventTime(15_000));
    let times = TimestampMillisecondArray::from(vec![12]).with_timezone("+00:00");
    let batch = Batch::new(RecordBatch::try_new(input.columns, vec![Arc::new(times)]).unwrap());
    assign.on_batch(0, batch, &mut ctx).unwrap();
    assert_eq!(texts(&ctx.emitted[1].rows), [row(12, 10, 20)]);
    assert_eq!(ctx.counts[&Counter::LateDropped], 1);
}

fn stamp(ms: i64, ts: &DataType) -> RecordBatch {
    let column = crate::data::timestamp_column(vec![ms * 1_000], ts).unwrap();
    RecordBatch::try_new(Arc::new(Schema::new(vec![Field::new("t", ts.clone(), false)])), vec![column]).unwrap()
}

#[test]
fn what_the_engine_builds_itself_is_refused() {
    let output = ints(ChangeMode::Append);
    let node = NodeSpec {
        id: OperatorId(1),
        operator: OperatorSpec::Exchange { keys: vec![0] },
        inputs: vec![0],
        output: output.clone(),
    };
    let place = Place { shards: ShardMap::new(4, 1), shard: ShardId(0) };
    let error = build(&node, &[&output], &NoExpressions, place).err().unwrap();
    assert!(error.message.contains("built by the engine"), "{error}");
}

/// Breaks one promise a call.
struct Liar(Batch, EventTime);

impl Operator for Liar {
    fn id(&self) -> OperatorId {
        OperatorId(9)
    }

    fn on_batch(&mut self, _: usize, _: Batch, _: &mut dyn Context) -> Result<(), OperatorError> {
        Ok(())
    }

    fn on_barrier(&mut self, _: Barrier, ctx: &mut dyn Context) -> Result<(), OperatorError> {
        ctx.emit(self.0.clone());
        Ok(())
    }

    fn on_watermark(&mut self, _: EventTime, _: &mut dyn Context) -> Result<EventTime, OperatorError> {
        Ok(self.1)
    }
}

#[test]
fn a_broken_promise_is_caught() {
    let ts = DataType::Timestamp(TimeUnit::Microsecond, None);
    let stream = schema(vec![Field::new("t", ts, false)], ChangeMode::Append, vec![0]);
    let good = |time: i64| {
        let column = TimestampMicrosecondArray::from(vec![time]);
        Batch::new(RecordBatch::try_new(stream.columns.clone(), vec![Arc::new(column)]).unwrap())
    };
    let caught = |batch: Batch, before: EventTime| {
        let mut ctx = TestContext::default();
        let mut checked = Checked::new(Box::new(Liar(batch, before)), &stream);
        checked.on_watermark(EventTime(10), &mut ctx).unwrap();
        let epoch = Epoch { incarnation: Incarnation(1), number: 1 };
        checked.on_barrier(Barrier { epoch, checkpoint: None }, &mut ctx).is_err()
    };
    assert!(!caught(good(10), EventTime(10)));
    assert!(caught(good(9), EventTime(10)), "a row behind the watermark");
    assert!(caught(rows(0..2), EventTime(10)), "another schema");
    for weight in [0, -1] {
        let batch = Batch::with_weights(good(10).rows, [weight].into());
        assert!(caught(batch, EventTime(10)), "weight {weight}");
    }
    let mut ctx = TestContext::default();
    let mut checked = Checked::new(Box::new(Liar(good(0), EventTime(11))), &stream);
    assert!(checked.on_watermark(EventTime(10), &mut ctx).is_err(), "an output watermark ahead of the input's");
}
