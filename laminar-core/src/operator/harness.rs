//! Drives one operator in tests: messages in, emitted batches out, restarts at barriers.

use std::collections::{BTreeMap, HashMap};

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::{Barrier, Checked, Context, Counter, Operator, OperatorError, Place, build};
use crate::data::{Batch, EventTime, StreamSchema};
use crate::expr::{CompileError, Evaluate, ExprCompiler, ScalarExpr};
use crate::graph::NodeSpec;
use crate::ids::{Epoch, Incarnation, ObjectId, ShardId};
use crate::shard::ShardMap;
use laminar_storage::arena::{Arena, ArenaOptions};

/// A context that keeps what was emitted.
pub(crate) struct TestContext {
    pub(crate) arena: Arena,
    pub(crate) watermark: EventTime,
    pub(crate) emitted: Vec<Batch>,
    pub(crate) counts: HashMap<Counter, u64>,
}

impl Default for TestContext {
    fn default() -> Self {
        let arena = Arena::new(ArenaOptions::new(ObjectId(1))).unwrap();
        Self { arena, watermark: EventTime::MIN, emitted: Vec::new(), counts: HashMap::new() }
    }
}

impl Context for TestContext {
    fn emit(&mut self, batch: Batch) {
        self.emitted.push(batch);
    }

    fn watermark(&self) -> EventTime {
        self.watermark
    }

    fn count(&mut self, counter: Counter, rows: u64) {
        *self.counts.entry(counter).or_default() += rows;
    }

    fn arena(&mut self) -> &mut Arena {
        &mut self.arena
    }
}

/// Refuses every expression; operators that need none are built with it.
pub(crate) struct NoExpressions;

impl ExprCompiler for NoExpressions {
    fn compile(&self, expr: &ScalarExpr, _: &arrow::datatypes::SchemaRef) -> Result<Box<dyn Evaluate>, CompileError> {
        Err(CompileError { message: format!("no expression here: {expr}") })
    }
}

/// One operator on one shard.
pub(crate) struct Driver {
    node: NodeSpec,
    input: StreamSchema,
    pub(crate) operator: Box<dyn Operator>,
    pub(crate) ctx: TestContext,
    epoch: u32,
}

impl Driver {
    pub(crate) fn new(node: NodeSpec, input: StreamSchema) -> Self {
        let operator = Self::build(&node, &input).unwrap();
        let mut driver = Self { node, input, operator, ctx: TestContext::default(), epoch: 0 };
        driver.operator.restore(&mut driver.ctx).unwrap();
        driver
    }

    pub(crate) fn build(node: &NodeSpec, input: &StreamSchema) -> Result<Box<dyn Operator>, OperatorError> {
        let place = Place { shards: ShardMap::new(1, 1), shard: ShardId(0) };
        let operator = build(node, &[input], &NoExpressions, place)?;
        Ok(Box::new(Checked::new(operator, &node.output)))
    }

    pub(crate) fn batch(&mut self, batch: Batch) {
        if !batch.is_empty() {
            self.operator.on_batch(0, batch, &mut self.ctx).unwrap();
        }
    }

    pub(crate) fn watermark(&mut self, watermark: EventTime) {
        if watermark > self.ctx.watermark {
            self.ctx.watermark = watermark;
            self.operator.on_watermark(watermark, &mut self.ctx).unwrap();
        }
    }

    pub(crate) fn barrier(&mut self) -> Epoch {
        self.epoch += 1;
        let epoch = Epoch { incarnation: Incarnation(1), number: self.epoch };
        self.operator.on_barrier(Barrier { epoch, checkpoint: None }, &mut self.ctx).unwrap();
        epoch
    }

    /// A new operator over the same state, as after a restart from the barrier that just passed.
    pub(crate) fn restart(&mut self) {
        self.operator = Self::build(&self.node, &self.input).unwrap();
        self.operator.restore(&mut self.ctx).unwrap();
    }

    pub(crate) fn counted(&self, counter: Counter) -> u64 {
        self.ctx.counts.get(&counter).copied().unwrap_or(0)
    }

    /// The emitted rows as text.
    pub(crate) fn take_rows(&mut self) -> Vec<String> {
        let batches = std::mem::take(&mut self.ctx.emitted);
        batches.iter().flat_map(|batch| texts(&batch.rows)).collect()
    }

    /// Adds the emitted changes to a multiset of rows.
    pub(crate) fn apply_to(&mut self, view: &mut BTreeMap<String, i64>) {
        for batch in std::mem::take(&mut self.ctx.emitted) {
            for (row, text) in texts(&batch.rows).into_iter().enumerate() {
                let count = view.entry(text.clone()).or_default();
                *count += batch.weight(row);
                if *count == 0 {
                    view.remove(&text);
                }
            }
        }
    }
}

/// Each row as text, columns divided by a bar.
pub(crate) fn texts(rows: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<ArrayFormatter<'_>> =
        rows.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap()).collect();
    (0..rows.num_rows())
        .map(|row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|"))
        .collect()
}
