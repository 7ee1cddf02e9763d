//! The way from one split into the chains: event time and users.
//!
//! Invariants: every user of a feed gets the same rows in the same order; event time follows the
//! rows that made it and never precedes them.

use arrow::array::RecordBatch;

use super::fragment::FragmentId;
use super::{EngineError, Item};
use crate::data::{Batch, EventTime};
use crate::graph::SourceSpec;
use crate::graph::fragment::SourceSide;
use crate::ids::ObjectId;
use crate::lane::Mark;
use crate::operator::OperatorError;
use crate::reactor::Now;
use crate::watermark::SplitWatermark;

/// Splits of one source that are read together: one cursor each, shared by the group's users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupId(pub u32);

/// A leaf that reads a feed.
#[derive(Clone, Debug)]
pub struct User {
    /// The fragment.
    pub fragment: FragmentId,
    /// The leaf in it.
    pub leaf: usize,
    /// Columns of the source that it needs.
    pub columns: Vec<usize>,
    /// Which rows.
    pub rows: SourceSide,
}

/// What a feed has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedCounts {
    /// Rows handed to the users.
    pub rows: u64,
    /// Rows without a time.
    pub null_time: u64,
    /// Rows whose time lies too far ahead.
    pub far_future: u64,
    /// Rows that were behind the watermark.
    pub behind: u64,
}

/// The engine's side of one split.
pub struct Feed {
    /// The source or table.
    pub object: ObjectId,
    /// The group.
    pub group: GroupId,
    /// Index of the local shard that the split lives in.
    pub slot: usize,
    /// Event time, if the source declares it.
    pub watermark: Option<SplitWatermark>,
    /// What was last told to the users.
    pub mark: Mark,
    /// Counters.
    pub counts: FeedCounts,
    /// The wall time of the newest rows.
    pub last_rows: Option<EventTime>,
}

impl Feed {
    /// A feed that has brought nothing.
    pub fn new(spec: &SourceSpec, group: GroupId, slot: usize, now: Now) -> Self {
        let watermark = spec.watermark.as_ref().map(|w| SplitWatermark::new(w, w.column, now.wall));
        Self {
            object: spec.id,
            group,
            slot,
            watermark,
            mark: Mark::UNKNOWN,
            counts: FeedCounts::default(),
            last_rows: None,
        }
    }

    /// Judges rows by event time; returns what goes on.
    ///
    /// # Errors
    /// The time column is not a timestamp (a defect).
    pub fn observe(&mut self, batch: Batch, others: EventTime, now: Now) -> Result<Batch, EngineError> {
        self.last_rows = Some(now.wall);
        let batch = match &mut self.watermark {
            None => batch,
            Some(watermark) => {
                let observed = watermark.observe(batch, others, now.wall).map_err(OperatorError::from)?;
                self.counts.null_time += observed.null_time;
                self.counts.far_future += observed.far_future;
                if let Some(marks) = &observed.batch.row_watermarks {
                    self.counts.behind += marks.len() as u64;
                }
                observed.batch
            }
        };
        self.counts.rows += batch.len() as u64;
        Ok(batch)
    }

    /// The mark in force now.
    pub fn current(&self, now: Now, ended: bool) -> Mark {
        match &self.watermark {
            _ if ended => Mark::At(EventTime::MAX),
            None => Mark::UNKNOWN,
            Some(watermark) if watermark.is_idle(now.wall) => Mark::Idle,
            Some(watermark) => Mark::At(watermark.current()),
        }
    }

    /// The wall time at which it becomes idle if nothing comes.
    pub fn idle_from(&self) -> Option<EventTime> {
        if self.mark == Mark::Idle {
            return None;
        }
        self.watermark.as_ref().and_then(SplitWatermark::idle_from)
    }
}

/// The rows of a feed as one user takes them.
///
/// # Errors
/// The user's columns are not the source's (a defect).
pub fn item(batch: &Batch, columns: &[usize], slot: usize) -> Result<Item, EngineError> {
    let rows: RecordBatch = batch.rows.project(columns).map_err(OperatorError::from)?;
    Ok(Item::Rows { slot, batch: batch.with_rows(rows), credit: false })
}
