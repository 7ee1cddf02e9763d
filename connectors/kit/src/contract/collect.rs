//! Reads a split as the engine would and keeps what it delivers.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use laminar_core::connector::{
    Budget, Ingest, Polled, Position, RawRecord, Source, SplitKey, SplitReader, StartFrom, Wake,
};

/// How long a reader may stay silent although more was promised.
const SILENCE: Duration = Duration::from_secs(20);

/// One record or one typed row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its number in the split.
    pub offset: u64,
    /// Message key.
    pub key: Option<Vec<u8>>,
    /// The body; a typed row as text, columns with `|` between.
    pub body: Vec<u8>,
}

/// What was delivered, with the position after each poll.
#[derive(Debug, Default)]
pub struct Collected {
    /// Everything, in order.
    pub items: Vec<Item>,
    /// After how many items each position was taken.
    pub positions: Vec<(usize, Position)>,
    /// Whether the split said that it is over.
    pub ended: bool,
}

impl Ingest for Collected {
    fn record(&mut self, record: RawRecord<'_>) {
        self.items.push(Item {
            offset: record.offset,
            key: record.key.map(<[u8]>::to_vec),
            body: record.payload.to_vec(),
        });
    }

    fn rows(&mut self, rows: RecordBatch, first_offset: u64) {
        for row in 0..rows.num_rows() {
            let options = FormatOptions::default().with_null("NULL");
            let cells: Vec<String> = rows
                .columns()
                .iter()
                .map(|column| match ArrayFormatter::try_new(column.as_ref(), &options) {
                    Ok(formatter) => formatter.value(row).to_string(),
                    Err(error) => panic!("a typed row can be shown: {error}"),
                })
                .collect();
            self.items.push(Item { offset: first_offset + row as u64, key: None, body: cells.join("|").into_bytes() });
        }
    }
}

/// Remembers that it was called.
#[derive(Default)]
struct Flag {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Flag {
    fn wake(&self) {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}

impl Flag {
    fn wait(&self) {
        let set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut set, out) =
            self.changed.wait_timeout_while(set, SILENCE, |set| !*set).unwrap_or_else(PoisonError::into_inner);
        assert!(!out.timed_out(), "a pending reader with more to deliver calls its waker");
        *set = false;
    }
}

/// Opens a split and reads until it ends, or has delivered `wanted` items; at most `records` a poll.
///
/// # Panics
/// On a breach of the port's rules.
pub fn drain(source: &mut dyn Source, split: &SplitKey, from: StartFrom, wanted: usize, records: usize) -> Collected {
    let flag = Arc::new(Flag::default());
    let mut reader = match source.open(split, from, flag.clone()) {
        Ok(reader) => reader,
        Err(error) => panic!("split {split:?} opens: {error}"),
    };
    read(reader.as_mut(), &flag, wanted, records)
}

/// As [`drain`], from a position.
///
/// # Panics
/// On a breach of the port's rules.
pub fn drain_from(
    source: &mut dyn Source,
    split: &SplitKey,
    from: &Position,
    wanted: usize,
    records: usize,
) -> Collected {
    drain(source, split, StartFrom::Position(from.clone()), wanted, records)
}

fn read(reader: &mut dyn SplitReader, flag: &Flag, wanted: usize, records: usize) -> Collected {
    let mut collected = Collected::default();
    let mut now_us = 1_000_000;
    let deadline = Instant::now() + 3 * SILENCE;
    collected.positions.push((0, reader.position()));
    while !collected.ended {
        assert!(Instant::now() < deadline, "a reader makes progress");
        let before = collected.items.len();
        // The waker may be called at any time after the poll began.
        let polled = match reader.poll(Budget { records, bytes: 1 << 20, now_us }, &mut collected) {
            Ok(polled) => polled,
            Err(error) => panic!("the split can be read on: {error}"),
        };
        let after = collected.items.len();
        assert!(after - before <= records, "a poll keeps to its budget of {records}: {}", after - before);
        if after > before {
            collected.positions.push((after, reader.position()));
        }
        match polled {
            Polled::Ready => {}
            Polled::End => collected.ended = true,
            Polled::Pending { .. } if after >= wanted => break,
            Polled::Pending { .. } => match reader.due_us() {
                Some(due) => {
                    assert!(due > now_us, "a reader asks for a moment that lies ahead");
                    now_us = due;
                }
                None => flag.wait(),
            },
        }
    }
    collected
}
