//! A decorator that proves an operator's promises on every message, in debug builds and tests.
//!
//! Proved: emitted batches have the spec's schema; columns, weights and hidden column agree in length;
//! weights are not zero, and an append-only stream has no negative one; the output watermark never goes back nor
//! passes the input's; no result that a watermark or barrier causes lies behind the output watermark (rows
//! that pass in a batch may: a split that was idle brings them, and whoever has closed their windows drops them).

use super::port::{Barrier, Context, Counter, Operator, OperatorError, Readable};
use crate::data::{Batch, ChangeMode, EventTime, EventTimes, StreamSchema};
use crate::ids::OperatorId;
use laminar_storage::arena::Arena;

/// An operator under watch; fails with LDB-3210 where it breaks a promise.
pub struct Checked {
    inner: Box<dyn Operator>,
    output: StreamSchema,
    watermark: EventTime,
}

impl Checked {
    /// Watches an operator that promises this output.
    pub fn new(inner: Box<dyn Operator>, output: &StreamSchema) -> Self {
        Self { inner, output: output.clone(), watermark: EventTime::MIN }
    }

    fn watched<T>(
        &mut self,
        caused_by: Cause,
        ctx: &mut dyn Context,
        call: impl FnOnce(&mut dyn Operator, &mut dyn Context) -> Result<T, OperatorError>,
    ) -> Result<T, OperatorError> {
        let (output, watermark, id) = (&self.output, self.watermark, self.inner.id());
        let mut watch = Watch { inner: ctx, output, watermark, caused_by, broken: None, id };
        let result = call(self.inner.as_mut(), &mut watch)?;
        match watch.broken {
            Some(broken) => Err(broken),
            None => Ok(result),
        }
    }

    fn broken(&self, what: impl std::fmt::Display) -> OperatorError {
        broken(self.inner.id(), what)
    }
}

fn broken(id: OperatorId, what: impl std::fmt::Display) -> OperatorError {
    OperatorError::new("LDB-3210", format!("operator {id} broke its promise: {what}"))
}

/// What an operator emits in answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Rows,
    Progress,
}

struct Watch<'a> {
    inner: &'a mut dyn Context,
    output: &'a StreamSchema,
    watermark: EventTime,
    caused_by: Cause,
    broken: Option<OperatorError>,
    id: OperatorId,
}

impl Watch<'_> {
    fn check(&self, batch: &Batch) -> Result<(), OperatorError> {
        if batch.schema() != self.output.columns {
            let (found, wanted) = (batch.schema(), &self.output.columns);
            return Err(broken(self.id, format!("emitted schema {found} where the spec says {wanted}")));
        }
        let lengths = [batch.weights.as_ref().map(|w| w.len()), batch.row_watermarks.as_ref().map(|w| w.len())];
        if lengths.iter().flatten().any(|length| *length != batch.len()) {
            return Err(broken(self.id, format!("{lengths:?} weights and watermarks for {} rows", batch.len())));
        }
        for weight in batch.weights.iter().flat_map(|w| w.iter()) {
            if *weight == 0 || (*weight < 0 && self.output.mode == ChangeMode::Append) {
                return Err(broken(self.id, format!("weight {weight} in a stream that is {:?}", self.output.mode)));
            }
        }
        if self.caused_by == Cause::Progress && self.output.mode == ChangeMode::Append {
            self.check_times(batch)?;
        }
        Ok(())
    }

    fn check_times(&self, batch: &Batch) -> Result<(), OperatorError> {
        let columns = self.output.time.iter().map(|at| EventTimes::read(batch.rows.column(*at).as_ref()));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.len() {
            // Of a window's start, end and time one at least is not behind, else the window had closed.
            let newest = columns.iter().filter_map(|times| times.get(row)).max();
            if newest.is_some_and(|time| time < self.watermark) {
                return Err(broken(self.id, format!("row at {newest:?} behind watermark {:?}", self.watermark)));
            }
        }
        Ok(())
    }
}

impl Context for Watch<'_> {
    fn emit(&mut self, batch: Batch) {
        if self.broken.is_none() {
            self.broken = self.check(&batch).err();
        }
        self.inner.emit(batch);
    }

    fn watermark(&self) -> EventTime {
        self.inner.watermark()
    }

    fn count(&mut self, counter: Counter, rows: u64) {
        self.inner.count(counter, rows);
    }

    fn arena(&mut self) -> &mut Arena {
        self.inner.arena()
    }
}

impl Operator for Checked {
    fn id(&self) -> OperatorId {
        self.inner.id()
    }

    fn on_batch(&mut self, input: usize, batch: Batch, ctx: &mut dyn Context) -> Result<(), OperatorError> {
        self.watched(Cause::Rows, ctx, |operator, ctx| operator.on_batch(input, batch, ctx))
    }

    fn on_watermark(&mut self, watermark: EventTime, ctx: &mut dyn Context) -> Result<EventTime, OperatorError> {
        let output = self.watched(Cause::Progress, ctx, |operator, ctx| operator.on_watermark(watermark, ctx))?;
        if output < self.watermark || output > watermark {
            let before = self.watermark;
            return Err(self.broken(format!("output watermark {output:?} after {before:?} for input {watermark:?}")));
        }
        self.watermark = output;
        Ok(output)
    }

    fn on_barrier(&mut self, barrier: Barrier, ctx: &mut dyn Context) -> Result<(), OperatorError> {
        self.watched(Cause::Progress, ctx, |operator, ctx| operator.on_barrier(barrier, ctx))
    }

    fn released(&mut self) -> Option<EventTime> {
        let released = self.inner.released()?;
        self.watermark = self.watermark.max(released);
        Some(released)
    }

    fn restore(&mut self, ctx: &mut dyn Context) -> Result<(), OperatorError> {
        self.watched(Cause::Progress, ctx, |operator, ctx| operator.restore(ctx))
    }

    fn heap_bytes(&self) -> u64 {
        self.inner.heap_bytes()
    }

    fn as_readable(&mut self) -> Option<&mut dyn Readable> {
        self.inner.as_readable()
    }
}
