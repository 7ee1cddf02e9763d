//! The port of sources: splits and their readers.
//!
//! Invariants: [`SplitReader::poll`] never blocks; [`SplitReader::position`] is the position just
//! behind the last record delivered, so that (state, position) taken between two polls belong
//! together; opening a reader at that position delivers exactly the records that follow.

use std::sync::Arc;

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

use super::ConnectorError;

/// Names a split within its source, stable over restarts (`trades/0`, `bids.jsonl`, `0`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SplitKey(pub String);

/// A place in a split, as the connector writes it; opaque to the engine, kept in the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub Vec<u8>);

impl Position {
    /// A position that is one number (an offset, a row number).
    pub fn from_offset(offset: u64) -> Self {
        Self(offset.to_le_bytes().to_vec())
    }

    /// The number of [`Position::from_offset`]; none when the bytes are something else.
    pub fn offset(&self) -> Option<u64> {
        self.0.as_slice().try_into().ok().map(u64::from_le_bytes)
    }
}

/// Where a reader begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartFrom {
    /// Where the connector's start option says (`earliest`, `latest`, a timestamp).
    Option,
    /// From the split's beginning: a split that appeared while running.
    Beginning,
    /// Just behind this place.
    Position(Position),
}

/// One record as the other system delivered it; borrowed from the fetch buffer.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawRecord<'a> {
    /// The body.
    pub payload: &'a [u8],
    /// The message key, where there is one.
    pub key: Option<&'a [u8]>,
    /// Kafka offset, line number, row number.
    pub offset: u64,
    /// The other system's timestamp in milliseconds since 1970 UTC, where there is one.
    pub timestamp_ms: Option<i64>,
}

/// Where a reader puts what it has read, in order.
pub trait Ingest {
    /// One undecoded record. A record without body (tombstone) has an empty payload.
    fn record(&mut self, record: RawRecord<'_>);

    /// Rows that are typed already; columns in the order of the source's field columns. `first_offset` numbers its first row.
    fn rows(&mut self, rows: RecordBatch, first_offset: u64);
}

/// How much one poll may deliver.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// At most so many records.
    pub records: usize,
    /// About so many bytes.
    pub bytes: usize,
    /// Processing time at the poll: microseconds since 1970 UTC by the engine's clock. The only clock of a reader.
    pub now_us: i64,
}

/// What one poll found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// Delivered something; more may be ready now.
    Ready,
    /// Nothing is ready; the waker will be called. `caught_up`: the split's present end was reached.
    Pending {
        /// Whether all that exists now has been delivered.
        caught_up: bool,
    },
    /// The split is bounded and over; no further poll.
    End,
}

/// Wakes the reactor that polls a reader; callable from any thread, cheap, idempotent.
pub trait Wake: Send + Sync {
    /// Makes the reactor poll again.
    fn wake(&self);
}

/// Reads one split. Lives on one reactor.
pub trait SplitReader: Send {
    /// Delivers what is there, up to the budget. Never blocks.
    ///
    /// # Errors
    /// When the split cannot be read on; by its [`super::Fault`] the engine retries or stops the source.
    fn poll(&mut self, budget: Budget, into: &mut dyn Ingest) -> Result<Polled, ConnectorError>;

    /// The place just behind the last record delivered.
    fn position(&self) -> Position;

    /// When a pending reader asks to be polled again without a wake (microseconds since 1970 UTC, as
    /// [`Budget::now_us`]); none = only when woken.
    fn due_us(&self) -> Option<i64> {
        None
    }

    /// Records between the position and the split's present end, where known.
    fn lag(&self) -> Option<u64> {
        None
    }

    /// Tells the other system that all before `position` is durable here; advisory, never blocks.
    fn checkpointed(&mut self, _position: &Position) {}
}

/// A source as a whole: finds splits, opens readers. Lives on a connector thread; calls may block.
pub trait Source: Send {
    /// The splits that exist now, in a stable order.
    ///
    /// # Errors
    /// The other system is away, or the object does not exist.
    fn splits(&mut self) -> Result<Vec<SplitKey>, ConnectorError>;

    /// Opens a reader; `wake` is called when a pending reader has something.
    ///
    /// # Errors
    /// The place no longer exists ([`super::Fault::Lost`]), or the other system is away.
    fn open(
        &mut self,
        split: &SplitKey,
        from: StartFrom,
        wake: Arc<dyn Wake>,
    ) -> Result<Box<dyn SplitReader>, ConnectorError>;
}
