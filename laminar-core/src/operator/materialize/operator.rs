//! Materialize as an operator: applies changes, passes them on consolidated.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;

use super::store::{Content, Store};
use super::undo::Undo;
use crate::data::{Batch, ChangeMode, EventTime, StreamSchema};
use crate::ids::OperatorId;
use crate::operator::port::{Barrier, Context, Counter, Operator, OperatorError, Readable};
use laminar_storage::arena::ArenaError;

/// Keeps a view's rows. An append-only stream is passed on at once, a changing one at each barrier with
/// the net change of each key (or row). While such changes wait, so does the watermark: a window over
/// this view must not close before the rows that it is made of have left.
pub(in crate::operator) struct Materialize {
    id: OperatorId,
    pub(super) store: Store,
    pub(super) undo: Undo,
    pub(super) key: Option<Vec<usize>>,
    mode: ChangeMode,
    output: SchemaRef,
    /// The watermark passed on.
    passed: EventTime,
    /// The watermark that waits for the barrier.
    held: Option<EventTime>,
}

impl Materialize {
    pub(in crate::operator) fn new(
        id: OperatorId,
        output: &StreamSchema,
        retention: Option<i64>,
    ) -> Result<Self, OperatorError> {
        Ok(Self {
            id,
            store: Store::new(id, output, retention)?,
            undo: Undo::default(),
            key: output.key.clone(),
            mode: output.mode,
            output: Arc::clone(&output.columns),
            passed: EventTime::MIN,
            held: None,
        })
    }

    fn apply(&mut self, batch: &Batch, ctx: &mut dyn Context) -> Result<(), OperatorError> {
        let writer = self.store.writer();
        let mut tables = std::mem::take(self.store.tables_mut());
        let mut refused = 0;
        let placed = self.store.place(&batch.rows)?;
        let mut result = Ok(());
        for row in 0..batch.len() {
            let (place, weight) = (placed.place(row), batch.weight(row));
            let held = writer.get(&tables, place, ctx.arena());
            let next = match (&self.key, &held) {
                (None, held) => {
                    let count = if let Some(Content::Count(count)) = held { *count } else { 0 };
                    Some(Content::Count(count + weight)).filter(|next| *next != Content::Count(0))
                }
                (Some(_), _) if weight > 0 => Some(Content::Row(placed.rows.get(row).to_vec())),
                // A row is only taken back while it stands: a newer one of its key may have come first.
                (Some(_), Some(Content::Row(row_held))) if row_held == placed.rows.get(row) => None,
                (Some(_), _) => continue,
            };
            if next == held {
                continue;
            }
            match writer.put(&mut tables, place, next.as_ref(), ctx.arena()) {
                Ok(()) => self.undo.note(place, || held),
                Err(ArenaError::ValueTooLarge { .. }) => refused += 1,
                Err(error) => {
                    result = Err(error.into());
                    break;
                }
            }
        }
        *self.store.tables_mut() = tables;
        if refused > 0 {
            ctx.count(Counter::OutOfRange, refused);
        }
        result
    }

    /// The net changes of the open epoch, those taken back first.
    fn changes(&self, ctx: &mut dyn Context) -> Result<Option<Batch>, OperatorError> {
        let (mut rows, mut weights) = (Vec::new(), Vec::new());
        let arena = ctx.arena();
        let now: Vec<Option<Content>> =
            self.undo.open().iter().map(|entry| self.store.get(entry.place(), arena)).collect();
        let entries = || self.undo.open().iter().zip(&now).filter(|(entry, now)| entry.content != **now);
        for (entry, now) in entries() {
            match (&entry.content, now) {
                (Some(Content::Row(row)), _) => {
                    rows.push(row.as_slice());
                    weights.push(-1);
                }
                (before, now) => {
                    let change = count(now) - count(before);
                    if change < 0 {
                        rows.push(&entry.key);
                        weights.push(change);
                    }
                }
            }
        }
        for (entry, now) in entries() {
            match now {
                Some(Content::Row(row)) => {
                    rows.push(row);
                    weights.push(1);
                }
                now => {
                    let change = count(now) - count(&entry.content);
                    if change > 0 {
                        rows.push(&entry.key);
                        weights.push(change);
                    }
                }
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        Ok(Some(Batch::with_weights(self.store.codec.decode(&rows)?, weights.into())))
    }
}

/// How many of a row a multiset holds.
fn count(content: &Option<Content>) -> i64 {
    if let Some(Content::Count(count)) = content { *count } else { 0 }
}

impl Operator for Materialize {
    fn id(&self) -> OperatorId {
        self.id
    }

    fn on_batch(&mut self, _input: usize, mut batch: Batch, ctx: &mut dyn Context) -> Result<(), OperatorError> {
        if batch.schema() != self.output {
            let options = RecordBatchOptions::new().with_row_count(Some(batch.len()));
            let columns = batch.rows.columns().to_vec();
            batch.rows = RecordBatch::try_new_with_options(Arc::clone(&self.output), columns, &options)?;
        }
        self.apply(&batch, ctx)?;
        if self.mode == ChangeMode::Append {
            ctx.emit(batch);
        }
        Ok(())
    }

    fn on_watermark(&mut self, watermark: EventTime, ctx: &mut dyn Context) -> Result<EventTime, OperatorError> {
        // The end of a stream is no moment: it expires nothing.
        if watermark != EventTime::MAX {
            self.store.expire(watermark.0, ctx.arena())?;
        }
        if self.mode == ChangeMode::Changelog && !self.undo.open().is_empty() {
            self.held = Some(watermark);
        } else {
            self.passed = watermark;
        }
        Ok(self.passed)
    }

    fn released(&mut self) -> Option<EventTime> {
        let held = self.held.take()?;
        self.passed = held;
        Some(held)
    }

    fn on_barrier(&mut self, barrier: Barrier, ctx: &mut dyn Context) -> Result<(), OperatorError> {
        if self.mode == ChangeMode::Changelog
            && let Some(changes) = self.changes(ctx)?
        {
            ctx.emit(changes);
        }
        self.undo.seal(barrier.epoch);
        Ok(())
    }

    fn restore(&mut self, ctx: &mut dyn Context) -> Result<(), OperatorError> {
        self.store.restore(ctx.arena())
    }

    fn heap_bytes(&self) -> u64 {
        self.undo.bytes()
    }

    fn as_readable(&mut self) -> Option<&mut dyn Readable> {
        Some(self)
    }
}
