//! Reads of materialized outputs, a chunk a turn.
//!
//! Invariants: a read sees one complete epoch, pinned until it is done, however many turns it takes;
//! rows leave as copies.

use arrow::array::RecordBatch;

use super::EngineError;
use super::core::Engine;
use super::fragment::FragmentId;
use super::message::Event;
use crate::ids::Epoch;
use crate::operator::{OperatorError, ReadCursor};

/// Rows copied in one turn.
const CHUNK_ROWS: usize = 16_384;

/// A read under way.
pub struct ReadJob {
    read: u64,
    objects: Vec<(FragmentId, Option<Vec<usize>>)>,
    /// Per object, per local shard: the pinned epoch.
    pins: Vec<Vec<Option<Epoch>>>,
    done: Vec<Vec<RecordBatch>>,
    slot: usize,
    cursor: ReadCursor,
}

impl Engine {
    /// Pins the newest complete epoch of every object and queues the read.
    pub(super) fn begin_read(&mut self, read: u64, objects: Vec<(FragmentId, Option<Vec<usize>>)>) {
        let mut pins = Vec::with_capacity(objects.len());
        for (id, _) in &objects {
            let mut of_object = Vec::new();
            if let Some(fragment) = self.fragment(*id)
                && let Some(vertex) = fragment.shape.output
            {
                for chain in &mut fragment.chains {
                    of_object.push(chain.readable(vertex).and_then(|readable| readable.pin()));
                }
            }
            pins.push(of_object);
        }
        let job = ReadJob { read, objects, pins, done: Vec::new(), slot: 0, cursor: ReadCursor::default() };
        self.reads.push_back(job);
    }

    /// Copies one chunk of the first read.
    pub(super) fn run_reads(&mut self) -> bool {
        let Some(mut job) = self.reads.pop_front() else { return false };
        match self.read_chunk(&mut job) {
            Ok(false) => self.reads.push_back(job),
            Ok(true) => self.end_read(job, None),
            Err(error) => self.end_read(job, Some(error)),
        }
        true
    }

    /// Copies the next rows; true when the read is done.
    fn read_chunk(&mut self, job: &mut ReadJob) -> Result<bool, EngineError> {
        let object = job.done.len().saturating_sub(1);
        if job.done.is_empty() {
            job.done.push(Vec::new());
        }
        let Some((id, columns)) = job.objects.get(object) else { return Ok(true) };
        let Some(Some(fragment)) = self.fragments.get_mut(id.index()) else {
            return Err(EngineError::Internal(format!("fragment {} is not here", id.0)));
        };
        let Some(vertex) = fragment.shape.output else {
            return Err(EngineError::Internal(format!("fragment {} has no output", id.0)));
        };
        let mut more = None;
        if let Some(chain) = fragment.chains.get_mut(job.slot) {
            let readable = chain.readable(vertex).ok_or_else(|| EngineError::Unsupported {
                name: fragment.name.to_string(),
                reason: "keeps no rows; use SUBSCRIBE, or CREATE MATERIALIZED VIEW".into(),
            })?;
            let pin = job.pins[object][job.slot];
            let (rows, next) = readable.scan(pin, job.cursor, CHUNK_ROWS, &fragment.arenas[job.slot])?;
            let rows = match columns {
                Some(columns) => rows.project(columns).map_err(OperatorError::from)?,
                None => rows,
            };
            if rows.num_rows() > 0 {
                job.done[object].push(rows);
            }
            more = next;
        }
        match more {
            Some(cursor) => job.cursor = cursor,
            None => {
                job.cursor = ReadCursor::default();
                job.slot += 1;
                if job.slot >= self.slots.len() {
                    job.slot = 0;
                    if job.done.len() == job.objects.len() {
                        return Ok(true);
                    }
                    job.done.push(Vec::new());
                }
            }
        }
        Ok(false)
    }

    fn end_read(&mut self, job: ReadJob, error: Option<EngineError>) {
        for ((id, _), pins) in job.objects.iter().zip(&job.pins) {
            if let Some(fragment) = self.fragment(*id)
                && let Some(vertex) = fragment.shape.output
            {
                for (chain, pin) in fragment.chains.iter_mut().zip(pins) {
                    if let Some(readable) = chain.readable(vertex) {
                        readable.unpin(*pin);
                    }
                }
            }
        }
        let result = match error {
            Some(error) => Err(error),
            None => Ok(job.done),
        };
        self.tell(Event::ReadPart { read: job.read, result });
    }

    /// Ends reads of fragments that are being removed.
    pub(super) fn fail_reads(&mut self, fragments: &[FragmentId]) {
        let (gone, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.reads)
            .into_iter()
            .partition(|job| job.objects.iter().any(|(id, _)| fragments.contains(id)));
        self.reads = kept.into();
        for job in gone {
            let error = EngineError::Internal("the object was dropped while it was read".into());
            self.end_read(job, Some(error));
        }
    }
}
