//! One fragment's operators in one shard: rows, watermarks and barriers walk through them.
//!
//! Invariants: rows of an operator reach its users in the order of emission; what a watermark or a
//! barrier makes an operator emit has passed all users before they see that watermark or barrier;
//! an outlet's rows are collected, never sent from inside an operator.

use std::collections::VecDeque;

use super::shape::{ChainShape, OutletId};
use crate::data::{Batch, EventTime};
use crate::lane::Mark;
use crate::operator::{Barrier, Context, Counter, Operator, OperatorError, OperatorMetrics, Readable};
use laminar_storage::arena::Arena;

/// A chain in one shard.
pub struct Chain {
    operators: Vec<Option<Box<dyn Operator>>>,
    /// Per vertex, per input: event time as received.
    inputs: Vec<Vec<Mark>>,
    /// Per vertex: what it has passed on.
    marks: Vec<Mark>,
    /// Per vertex: the greatest watermark it was told, and the greatest it answered.
    told: Vec<(EventTime, EventTime)>,
    counts: Vec<OperatorMetrics>,
    work: VecDeque<Step>,
    emitted: Vec<Batch>,
}

/// Rows on their way to one input of a vertex.
struct Step {
    vertex: usize,
    input: usize,
    batch: Batch,
}

/// Rows that leave a chain.
#[derive(Debug)]
pub struct Outgoing {
    /// Where to.
    pub outlet: OutletId,
    /// The rows.
    pub batch: Batch,
}

/// What a chain needs from outside for one message.
pub struct ChainEnv<'a> {
    /// The fragment's shape.
    pub shape: &'a ChainShape,
    /// The pipeline's state in the shard.
    pub arena: &'a mut Arena,
    /// Where outgoing rows go.
    pub out: &'a mut Vec<Outgoing>,
}

impl Chain {
    /// A chain of the operators of a shape; leaves have none.
    pub fn new(shape: &ChainShape, operators: Vec<Option<Box<dyn Operator>>>) -> Self {
        let inputs = shape.vertices.iter().map(|v| vec![Mark::UNKNOWN; v.inputs]).collect();
        Self {
            operators,
            inputs,
            marks: vec![Mark::UNKNOWN; shape.vertices.len()],
            told: vec![(EventTime::MIN, EventTime::MIN); shape.vertices.len()],
            counts: vec![OperatorMetrics::default(); shape.vertices.len()],
            work: VecDeque::new(),
            emitted: Vec::new(),
        }
    }

    /// Pushes rows in at a leaf.
    ///
    /// # Errors
    /// The operator's.
    pub fn rows(&mut self, leaf: usize, batch: Batch, env: &mut ChainEnv<'_>) -> Result<(), OperatorError> {
        self.counts[leaf].rows_out += batch.len() as u64;
        self.spread(leaf, batch, env);
        self.run(env)
    }

    /// Moves a leaf's event time and lets everything behind it follow.
    ///
    /// # Errors
    /// The operator's.
    pub fn watermark(&mut self, leaf: usize, mark: Mark, env: &mut ChainEnv<'_>) -> Result<(), OperatorError> {
        if self.marks[leaf] == mark {
            return Ok(());
        }
        self.pass_mark(leaf, mark, env.shape);
        for vertex in leaf + 1..env.shape.vertices.len() {
            if self.operators[vertex].is_none() {
                continue;
            }
            let before = self.marks[vertex];
            let mark = self.advance(vertex, Mark::over(self.inputs[vertex].iter().copied()), env)?;
            if mark != before {
                self.pass_mark(vertex, mark, env.shape);
            }
        }
        Ok(())
    }

    fn pass_mark(&mut self, vertex: usize, mark: Mark, shape: &ChainShape) {
        self.marks[vertex] = mark;
        for &(user, input) in &shape.vertices[vertex].users {
            self.inputs[user][input] = mark;
        }
    }

    /// Tells one operator its input mark; returns its output mark. Time never goes back, also when
    /// an input that was idle returns with an older mark.
    fn advance(&mut self, vertex: usize, input: Mark, env: &mut ChainEnv<'_>) -> Result<Mark, OperatorError> {
        let Mark::At(watermark) = input else { return Ok(Mark::Idle) };
        let (told, answered) = self.told[vertex];
        if watermark <= told {
            return Ok(Mark::At(answered));
        }
        let answer = self.call(vertex, watermark, env.arena, |operator, ctx| operator.on_watermark(watermark, ctx))?;
        self.told[vertex].0 = watermark;
        self.spread_emitted(vertex, env);
        self.run(env)?;
        self.told[vertex].1 = answer.max(answered);
        Ok(Mark::At(answer.max(answered)))
    }

    /// Ends an epoch in every operator, inputs before users; a watermark that waited for it follows.
    ///
    /// # Errors
    /// The operator's.
    pub fn barrier(&mut self, barrier: Barrier, env: &mut ChainEnv<'_>) -> Result<(), OperatorError> {
        for vertex in 0..env.shape.vertices.len() {
            if self.operators[vertex].is_none() {
                continue;
            }
            let before = self.marks[vertex];
            let input = self.input_mark(vertex);
            let mut mark = if self.inputs[vertex].is_empty() { before } else { self.advance(vertex, input, env)? };
            let watermark = self.told[vertex].0;
            self.call(vertex, watermark, env.arena, |operator, ctx| operator.on_barrier(barrier, ctx))?;
            self.spread_emitted(vertex, env);
            self.run(env)?;
            if let Some(released) = self.operators[vertex].as_mut().and_then(|operator| operator.released()) {
                let answer = self.told[vertex].1.max(released);
                self.told[vertex].1 = answer;
                if let Mark::At(_) = mark {
                    mark = Mark::At(answer);
                }
            }
            if mark != before {
                self.pass_mark(vertex, mark, env.shape);
            }
        }
        Ok(())
    }

    /// Rebuilds what operators do not store. Called once, before anything else.
    ///
    /// # Errors
    /// The operator's.
    pub fn restore(&mut self, arena: &mut Arena) -> Result<(), OperatorError> {
        for vertex in 0..self.operators.len() {
            if self.operators[vertex].is_some() {
                self.call(vertex, EventTime::MIN, arena, |operator, ctx| operator.restore(ctx))?;
                self.emitted.clear();
            }
        }
        Ok(())
    }

    /// What the vertex offers to readers.
    pub fn readable(&mut self, vertex: usize) -> Option<&mut dyn Readable> {
        self.operators[vertex].as_mut()?.as_readable()
    }

    /// Event time as a vertex has passed it on.
    pub fn mark(&self, vertex: usize) -> Mark {
        self.marks[vertex]
    }

    /// Event time as a vertex has received it.
    pub fn input_mark(&self, vertex: usize) -> Mark {
        if self.inputs[vertex].is_empty() {
            return self.marks[vertex];
        }
        Mark::over(self.inputs[vertex].iter().copied())
    }

    /// Bytes that its operators hold beside the arena.
    pub fn heap_bytes(&self) -> u64 {
        self.operators.iter().flatten().map(|operator| operator.heap_bytes()).sum()
    }

    /// What the operator of a vertex has counted.
    pub fn counts(&self, vertex: usize) -> OperatorMetrics {
        self.counts[vertex]
    }

    fn run(&mut self, env: &mut ChainEnv<'_>) -> Result<(), OperatorError> {
        while let Some(step) = self.work.pop_front() {
            let Step { vertex, input, batch } = step;
            let beside = self.inputs[vertex].iter().enumerate().filter(|(i, _)| *i != input).map(|(_, mark)| *mark);
            let batch = judged(batch, Mark::over(beside));
            let watermark = self.told[vertex].0;
            self.counts[vertex].batches_in += 1;
            self.counts[vertex].rows_in += batch.len() as u64;
            self.call(vertex, watermark, env.arena, |operator, ctx| operator.on_batch(input, batch, ctx))?;
            self.spread_emitted(vertex, env);
        }
        Ok(())
    }

    fn spread_emitted(&mut self, vertex: usize, env: &mut ChainEnv<'_>) {
        let mut emitted = std::mem::take(&mut self.emitted);
        for batch in emitted.drain(..) {
            self.counts[vertex].batches_out += 1;
            self.counts[vertex].rows_out += batch.len() as u64;
            self.spread(vertex, batch, env);
        }
        self.emitted = emitted;
    }

    fn spread(&mut self, vertex: usize, batch: Batch, env: &mut ChainEnv<'_>) {
        if batch.is_empty() {
            return;
        }
        let vertex = &env.shape.vertices[vertex];
        for &outlet in &vertex.outlets {
            env.out.push(Outgoing { outlet, batch: batch.clone() });
        }
        for &(user, input) in &vertex.users {
            self.work.push_back(Step { vertex: user, input, batch: batch.clone() });
        }
    }

    fn call<R>(
        &mut self,
        vertex: usize,
        watermark: EventTime,
        arena: &mut Arena,
        with: impl FnOnce(&mut dyn Operator, &mut dyn Context) -> Result<R, OperatorError>,
    ) -> Result<R, OperatorError> {
        let Some(operator) = self.operators[vertex].as_mut() else {
            return Err(OperatorError::defect(format!("vertex {vertex} has no operator")));
        };
        let mut ctx = ChainContext { emitted: &mut self.emitted, watermark, counts: &mut self.counts[vertex], arena };
        with(operator.as_mut(), &mut ctx)
    }
}

/// Lowers the hidden watermarks of a batch to what the other inputs had reached.
pub fn judged(batch: Batch, others: Mark) -> Batch {
    match others {
        Mark::At(watermark) => batch.judged_among(watermark),
        Mark::Idle => batch,
    }
}

struct ChainContext<'a> {
    emitted: &'a mut Vec<Batch>,
    watermark: EventTime,
    counts: &'a mut OperatorMetrics,
    arena: &'a mut Arena,
}

impl Context for ChainContext<'_> {
    fn emit(&mut self, batch: Batch) {
        self.emitted.push(batch);
    }

    fn watermark(&self) -> EventTime {
        self.watermark
    }

    fn count(&mut self, counter: Counter, rows: u64) {
        self.counts.add(counter, rows);
    }

    fn arena(&mut self) -> &mut Arena {
        self.arena
    }
}
