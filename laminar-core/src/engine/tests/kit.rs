//! A small world for engine tests: a gated source of numbers, a compiler of simple expressions, a
//! subscriber that collects.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray, new_null_array};
use arrow::compute::kernels::cmp;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::connector::options::Options;
use crate::connector::{
    Applier, Budget, ConnectorError, EncodedRecord, Encoder, EncoderFactory, Frame, Ingest, Polled, Position,
    Readiness, Registry, SinkFactory, SinkIdentity, Source, SourceFactory, SplitKey, SplitReader, StartFrom, Wake,
};
use crate::data::{Batch, ChangeMode, StreamSchema};
use crate::engine::{EpochChanges, NewObject, Offer, Subscriber};
use crate::expr::{BinaryOp, CompileError, EvalError, Evaluate, ExprCompiler, Literal, ScalarExpr};
use crate::graph::{
    ColumnSource, Delivery, Envelope, MemorySpec, NodeSpec, ObjectSpec, OperatorSpec, PipelineKind, PipelineSpec,
    SinkSpec, SourceColumn, SourceSpec, TableSpec, WatermarkSpec,
};
use crate::ids::{CheckpointNumber, Epoch, ObjectId, OperatorId, ShardId};

/// key, value, ts
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Int64, false),
        Field::new("value", DataType::Int64, false),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), false),
    ]))
}

pub fn batch(rows: &[(i64, i64, i64)]) -> RecordBatch {
    let column = |f: fn(&(i64, i64, i64)) -> i64| -> Vec<i64> { rows.iter().map(f).collect() };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(column(|r| r.0))),
        Arc::new(Int64Array::from(column(|r| r.1))),
        Arc::new(TimestampMicrosecondArray::from(column(|r| r.2))),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

pub fn stream(mode: ChangeMode, key: Option<Vec<usize>>, time: Vec<usize>) -> StreamSchema {
    StreamSchema { columns: schema(), mode, key, time }
}

/// Microseconds.
pub const SECOND: i64 = 1_000_000;

pub fn source(id: u64, connector: Option<&str>, delay: i64) -> NewObject {
    let columns = ["key", "value", "ts"]
        .iter()
        .map(|name| SourceColumn { from: ColumnSource::Field((*name).into()), max_chars: None })
        .collect();
    object(ObjectSpec::Source(SourceSpec {
        id: ObjectId(id),
        name: format!("s{id}"),
        connector: connector.map(Into::into),
        format: None,
        options: Default::default(),
        schema: stream(ChangeMode::Append, None, vec![2]),
        columns,
        watermark: Some(WatermarkSpec { column: 2, delay, idle_after: 10 * SECOND, max_future: None }),
    }))
}

pub fn table(id: u64) -> NewObject {
    object(ObjectSpec::Table(TableSpec {
        id: ObjectId(id),
        name: format!("t{id}"),
        schema: stream(ChangeMode::Changelog, Some(vec![0]), vec![]),
        max_chars: vec![None; 3],
    }))
}

pub fn object(spec: ObjectSpec) -> NewObject {
    NewObject { spec, record: Vec::new() }
}

pub fn node(id: u64, operator: OperatorSpec, inputs: &[usize], output: StreamSchema) -> NodeSpec {
    NodeSpec { id: OperatorId(id), operator, inputs: inputs.to_vec(), output }
}

pub fn pipeline(id: u64, kind: PipelineKind, nodes: Vec<NodeSpec>) -> NewObject {
    object(ObjectSpec::Pipeline(PipelineSpec {
        id: ObjectId(id),
        name: format!("p{id}"),
        kind,
        nodes,
        memory: MemorySpec::default(),
    }))
}

pub fn read_source(id: u64) -> OperatorSpec {
    OperatorSpec::Source { object: ObjectId(id), columns: vec![0, 1, 2] }
}

/// value >= least
pub fn at_least(least: i64) -> OperatorSpec {
    OperatorSpec::Filter {
        predicate: ScalarExpr::Binary {
            op: BinaryOp::GtEq,
            left: Box::new(ScalarExpr::column(1, "value", DataType::Int64)),
            right: Box::new(ScalarExpr::int64(least)),
        },
    }
}

/// Columns, BIGINT constants and >=.
pub struct TinyCompiler;

struct Tiny(ScalarExpr);

impl ExprCompiler for TinyCompiler {
    fn compile(&self, expr: &ScalarExpr, _input: &SchemaRef) -> Result<Box<dyn Evaluate>, CompileError> {
        Ok(Box::new(Tiny(expr.clone())))
    }
}

impl Evaluate for Tiny {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, EvalError> {
        value(&self.0, rows)
    }
}

fn value(expr: &ScalarExpr, rows: &RecordBatch) -> Result<ArrayRef, EvalError> {
    match expr {
        ScalarExpr::Column { index, .. } => Ok(rows.column(*index).clone()),
        ScalarExpr::Literal { value: Literal::Int(v), .. } => {
            Ok(Arc::new(Int64Array::from(vec![*v as i64; rows.num_rows()])))
        }
        ScalarExpr::Binary { op: BinaryOp::GtEq, left, right } => {
            let (left, right) = (value(left, rows)?, value(right, rows)?);
            let result: BooleanArray = cmp::gt_eq(&left, &right)
                .map_err(|error| EvalError { sqlstate: "22000", message: error.to_string() })?;
            Ok(Arc::new(result))
        }
        other => Ok(new_null_array(&DataType::Null, rows.num_rows() + usize::from(other.to_string().is_empty()))),
    }
}

/// Rows of one split of the test source, and where the gate is.
#[derive(Default)]
pub struct Feeds {
    splits: Mutex<Vec<TestSplit>>,
    /// Splits cannot be opened.
    pub away: AtomicBool,
    /// Looking for splits breaks down.
    pub broken: AtomicBool,
}

#[derive(Default)]
struct TestSplit {
    rows: Vec<(i64, i64, i64)>,
    ended: bool,
    wakes: Vec<Arc<dyn Wake>>,
    checkpointed: Vec<u64>,
}

impl Feeds {
    pub fn new(splits: usize) -> Arc<Self> {
        let splits = Mutex::new((0..splits).map(|_| TestSplit::default()).collect());
        Arc::new(Self { splits, ..Self::default() })
    }

    pub fn splits(&self) -> usize {
        self.splits.lock().unwrap().len()
    }

    pub fn push(&self, split: usize, rows: &[(i64, i64, i64)]) {
        let mut splits = self.splits.lock().unwrap();
        splits[split].rows.extend_from_slice(rows);
        splits[split].wakes.iter().for_each(|wake| wake.wake());
    }

    pub fn end(&self) {
        for split in self.splits.lock().unwrap().iter_mut() {
            split.ended = true;
            split.wakes.iter().for_each(|wake| wake.wake());
        }
    }
}

/// Counts per key and second, as the windowed views of these tests have them.
#[derive(Default)]
pub struct Counts(BTreeMap<(i64, i64), i64>);

impl Counts {
    /// Pushes a few rows into every split, of times in `width` microseconds from `from`, and counts them.
    pub fn push(&mut self, feeds: &Feeds, random: &mut fastrand::Rng, from: i64, width: i64) {
        for split in 0..feeds.splits() {
            let rows: Vec<(i64, i64, i64)> =
                (0..random.usize(0..20)).map(|i| (random.i64(0..50), i as i64, from + random.i64(0..width))).collect();
            self.add(&rows);
            feeds.push(split, &rows);
        }
    }

    /// Counts rows.
    pub fn add(&mut self, rows: &[(i64, i64, i64)]) {
        for row in rows {
            *self.0.entry((row.0, row.2.div_euclid(SECOND) * SECOND)).or_default() += 1;
        }
    }

    /// The rows that a view of them has: key, start, end, count.
    pub fn rows(self) -> Vec<Vec<i64>> {
        self.0.into_iter().map(|((key, start), n)| vec![key, start, start + SECOND, n]).collect()
    }
}

pub struct TestFactory(pub Arc<Feeds>);
struct TestSource(Arc<Feeds>);
struct TestReader {
    feeds: Arc<Feeds>,
    split: usize,
    at: usize,
}

impl SourceFactory for TestFactory {
    fn name(&self) -> &'static str {
        "test"
    }
    fn typed(&self) -> bool {
        true
    }
    fn bounded(&self, _options: &Options) -> Result<bool, ConnectorError> {
        Ok(true)
    }
    fn create(&self, _spec: &SourceSpec) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(TestSource(self.0.clone())))
    }
}

impl Source for TestSource {
    fn splits(&mut self) -> Result<Vec<SplitKey>, ConnectorError> {
        assert!(!self.0.broken.load(Ordering::SeqCst), "the source is out of order");
        if self.0.away.load(Ordering::SeqCst) {
            return Err(ConnectorError::external("LDB-0000", "the source is away"));
        }
        Ok((0..self.0.splits.lock().unwrap().len()).map(|split| SplitKey(format!("test/{split}"))).collect())
    }

    fn open(
        &mut self,
        split: &SplitKey,
        from: StartFrom,
        wake: Arc<dyn Wake>,
    ) -> Result<Box<dyn SplitReader>, ConnectorError> {
        let split: usize = split.0.rsplit('/').next().unwrap().parse().unwrap();
        let at = match from {
            StartFrom::Option | StartFrom::Beginning => 0,
            StartFrom::Position(position) => position.offset().unwrap() as usize,
        };
        self.0.splits.lock().unwrap()[split].wakes.push(wake);
        Ok(Box::new(TestReader { feeds: self.0.clone(), split, at }))
    }
}

impl SplitReader for TestReader {
    fn poll(&mut self, budget: Budget, into: &mut dyn Ingest) -> Result<Polled, ConnectorError> {
        let splits = self.feeds.splits.lock().unwrap();
        let split = &splits[self.split];
        let end = split.rows.len().min(self.at + budget.records);
        if self.at < end {
            into.rows(batch(&split.rows[self.at..end]), self.at as u64);
            self.at = end;
            return Ok(Polled::Ready);
        }
        Ok(if split.ended { Polled::End } else { Polled::Pending { caught_up: true } })
    }

    fn position(&self) -> Position {
        Position::from_offset(self.at as u64)
    }

    fn checkpointed(&mut self, position: &Position) {
        self.feeds.splits.lock().unwrap()[self.split].checkpointed.push(position.offset().unwrap());
    }
}

pub fn registry(feeds: &Arc<Feeds>) -> Registry {
    Registry::default().source(TestFactory(feeds.clone()))
}

/// What a target has taken, and how it answers.
#[derive(Clone, Default)]
pub struct Target {
    pub taken: Arc<Mutex<Vec<Vec<i64>>>>,
    /// It is away.
    pub silent: Arc<AtomicBool>,
    /// How many frames it still breaks down at.
    pub broken: Arc<AtomicU64>,
    /// It belongs to somebody else now.
    pub fenced: Arc<AtomicBool>,
    /// Its appliers break down when they end.
    pub fragile: Arc<AtomicBool>,
    /// How often it must be asked before it acknowledges what it has.
    pub patience: Arc<AtomicUsize>,
}

pub struct TargetFactory(pub Target);

struct TargetApplier {
    target: Target,
    sent: Vec<(ShardId, u64)>,
    asked: usize,
}

impl SinkFactory for TargetFactory {
    fn name(&self) -> &'static str {
        "test"
    }
    fn create(&self, _: &SinkSpec, _: SinkIdentity) -> Result<Box<dyn Applier>, ConnectorError> {
        Ok(Box::new(TargetApplier { target: self.0.clone(), sent: Vec::new(), asked: 0 }))
    }
}

impl Applier for TargetApplier {
    fn start(&mut self, _: CheckpointNumber) -> Result<Option<CheckpointNumber>, ConnectorError> {
        Ok(None)
    }

    fn send(&mut self, frame: &Arc<Frame>) -> Result<Readiness, ConnectorError> {
        if self.target.fenced.load(Ordering::SeqCst) {
            return Err(ConnectorError::fenced("LDB-0000", "the target is another's"));
        }
        if self.target.silent.load(Ordering::SeqCst) {
            return Err(ConnectorError::external("LDB-0000", "the target is silent"));
        }
        let still = self.target.broken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        assert!(still.is_err(), "the connector is out of order");
        let mut taken = self.target.taken.lock().unwrap();
        for record in &frame.records {
            let text = std::str::from_utf8(record.value.as_ref().unwrap()).unwrap();
            taken.push(text.split(',').map(|n| n.parse().unwrap()).collect());
        }
        self.sent.push((frame.shard, frame.sequence));
        Ok(Readiness::Accepted)
    }

    fn acknowledged(&mut self, _wait: Duration, into: &mut Vec<(ShardId, u64)>) -> Result<(), ConnectorError> {
        self.asked += 1;
        if self.asked > self.target.patience.load(Ordering::SeqCst) {
            self.asked = 0;
            into.append(&mut self.sent);
        }
        Ok(())
    }

    fn commit(&mut self, _: CheckpointNumber, _: &[Arc<Frame>]) -> Result<(), ConnectorError> {
        unreachable!("this target has no transactions")
    }
}

impl Drop for TargetApplier {
    fn drop(&mut self) {
        assert!(!self.target.fragile.load(Ordering::SeqCst), "the connector cannot end");
    }
}

/// Rows as numbers; with the upsert envelope their weight stands behind them.
pub struct NumbersFormat;

struct NumbersEncoder {
    weights: bool,
}

impl EncoderFactory for NumbersFormat {
    fn name(&self) -> &'static str {
        "numbers"
    }
    fn create(
        &self,
        _schema: SchemaRef,
        envelope: Envelope,
        _key: Option<&[usize]>,
        _options: &Options,
    ) -> Result<Box<dyn Encoder>, ConnectorError> {
        Ok(Box::new(NumbersEncoder { weights: envelope == Envelope::Upsert }))
    }
}

impl Encoder for NumbersEncoder {
    fn encode(
        &mut self,
        batch: &Batch,
        _epoch: Epoch,
        into: &mut dyn FnMut(EncodedRecord<'_>),
    ) -> Result<(), ConnectorError> {
        for row in 0..batch.len() {
            let weight = self.weights.then(|| batch.weight(row));
            let text: Vec<String> = integers(&batch.rows, row).iter().chain(&weight).map(i64::to_string).collect();
            into(EncodedRecord { key: None, value: Some(text.join(",").as_bytes()), row });
        }
        Ok(())
    }
}

pub fn sink(id: u64, from: u64, schema: StreamSchema) -> NewObject {
    object(ObjectSpec::Sink(SinkSpec {
        id: ObjectId(id),
        name: format!("k{id}"),
        from: ObjectId(from),
        connector: "test".into(),
        format: Some("numbers".into()),
        options: Default::default(),
        delivery: Delivery::AtLeastOnce,
        envelope: Envelope::Plain,
        key: None,
        schema,
    }))
}

/// A sink of changes.
pub fn upsert(id: u64, from: u64, schema: StreamSchema) -> NewObject {
    let ObjectSpec::Sink(spec) = sink(id, from, schema).spec else { unreachable!("a sink") };
    object(ObjectSpec::Sink(SinkSpec { envelope: Envelope::Upsert, key: Some(vec![0]), ..spec }))
}

/// Collects changes.
#[derive(Clone, Default)]
pub struct Collector(pub Arc<Mutex<Vec<EpochChanges>>>);

impl Subscriber for Collector {
    fn offer(&mut self, changes: EpochChanges) -> Offer {
        self.0.lock().unwrap().push(changes);
        Offer::Taken
    }

    fn end(&mut self, _reason: String) {}
}

impl Collector {
    /// All rows so far as integers with their weight, sorted; columns that are no integer are left out.
    pub fn rows(&self) -> Vec<(Vec<i64>, i64)> {
        let mut all = Vec::new();
        for changes in self.0.lock().unwrap().iter() {
            for batch in &changes.batches {
                for row in 0..batch.len() {
                    all.push((integers(&batch.rows, row), batch.weight(row)));
                }
            }
        }
        all.sort();
        all
    }
}

/// The integer columns of a row.
pub fn integers(rows: &RecordBatch, row: usize) -> Vec<i64> {
    rows.columns()
        .iter()
        .filter_map(|column| {
            let any = column.as_any();
            if let Some(ints) = any.downcast_ref::<Int64Array>() {
                return Some(ints.value(row));
            }
            any.downcast_ref::<TimestampMicrosecondArray>().map(|times| times.value(row))
        })
        .collect()
}

/// All rows of batches, as integers, sorted.
pub fn all_rows(batches: &[RecordBatch]) -> Vec<Vec<i64>> {
    let mut rows: Vec<Vec<i64>> =
        batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| integers(batch, row))).collect();
    rows.sort();
    rows
}

/// How an object is.
pub fn state_of(driver: &mut crate::engine::Driver, id: u64) -> crate::engine::status::ObjectState {
    let status = driver.wait(|handle, reply| handle.status(reply)).unwrap();
    status.objects.iter().find(|object| object.id.0 == id).unwrap().state.clone()
}
