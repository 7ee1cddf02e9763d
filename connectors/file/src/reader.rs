//! Reads one split: hands on the records that its thread has read.
//!
//! Invariant: the position is the byte and line behind the last record handed on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use laminar_connector_kit::ConnectorError;
use laminar_core::connector::{Budget, Fault, Ingest, Polled, Position, RawRecord, SplitReader, Wake};

use crate::tail::{Chunk, Tail, Told};

/// Chunks that may wait between thread and reactor.
const QUEUE_CHUNKS: usize = 4;

/// A place in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Bytes before it.
    pub byte: u64,
    /// Lines (records) before it.
    pub line: u64,
}

impl Place {
    /// As the manifest keeps it: two little-endian numbers.
    pub fn position(self) -> Position {
        Position([self.byte.to_le_bytes(), self.line.to_le_bytes()].concat())
    }

    /// From [`Place::position`]; none when the bytes are something else.
    pub fn of(position: &Position) -> Option<Self> {
        let (byte, line) = position.0.split_at_checked(8)?;
        Some(Self { byte: u64::from_le_bytes(byte.try_into().ok()?), line: u64::from_le_bytes(line.try_into().ok()?) })
    }
}

/// One file.
pub struct FileReader {
    place: Place,
    /// The header line, to be handed on before anything else.
    header: Option<Vec<u8>>,
    queue: Receiver<Told>,
    caught_up: Arc<AtomicBool>,
    /// The chunk in work, and how many of its records and bytes are handed on.
    chunk: Option<(Chunk, usize, usize)>,
    ended: bool,
    /// Dropped with the reader, which ends the thread.
    _alive: SyncSender<()>,
}

/// How a reader begins.
pub struct Beginning {
    /// Where.
    pub place: Place,
    /// A line that goes before (the header of a CSV file, when reading from its middle).
    pub header: Option<Vec<u8>>,
}

impl FileReader {
    /// Starts the thread; `tail` makes it from the queue, the flag, and the stop signal.
    ///
    /// # Errors
    /// `LDB-6405`: the system refuses another thread.
    pub fn start(
        beginning: Beginning,
        wake: Arc<dyn Wake>,
        tail: impl FnOnce(SyncSender<Told>, Arc<AtomicBool>, Receiver<()>, Arc<dyn Wake>) -> Tail,
    ) -> Result<Self, ConnectorError> {
        let (into, queue) = sync_channel(QUEUE_CHUNKS);
        let (alive, stop) = sync_channel(1);
        let caught_up = Arc::new(AtomicBool::new(false));
        let tail = tail(into, Arc::clone(&caught_up), stop, wake);
        let spawned = std::thread::Builder::new().name("file-reader".to_string()).spawn(move || tail.run());
        spawned.map_err(|error| ConnectorError {
            code: "LDB-6405",
            fault: Fault::External,
            message: format!("no thread for reading a file: {error}"),
        })?;
        let Beginning { place, header } = beginning;
        Ok(Self { place, header, queue, caught_up, chunk: None, ended: false, _alive: alive })
    }

    /// Hands on one record of the chunk in work; false when it is used up.
    fn next(&mut self, into: &mut dyn Ingest, records: &mut usize, bytes: &mut usize) -> bool {
        let Some((chunk, done, from)) = &mut self.chunk else { return false };
        let Some(&end) = chunk.ends.get(*done) else {
            self.chunk = None;
            return false;
        };
        let line = &chunk.bytes[*from..end];
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = if self.place.byte == 0 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        // Empty lines are counted but are no records.
        if !line.is_empty() {
            into.record(RawRecord { payload: line, offset: self.place.line, ..RawRecord::default() });
            *records += 1;
            *bytes += line.len();
        }
        self.place.byte += (end - *from) as u64;
        self.place.line += 1;
        (*done, *from) = (*done + 1, end);
        true
    }
}

impl SplitReader for FileReader {
    fn poll(&mut self, budget: Budget, into: &mut dyn Ingest) -> Result<Polled, ConnectorError> {
        let (mut records, mut bytes) = (0, 0);
        if let Some(header) = self.header.take() {
            into.record(RawRecord { payload: &header, offset: 0, ..RawRecord::default() });
            records += 1;
        }
        while records < budget.records && bytes < budget.bytes {
            if self.next(into, &mut records, &mut bytes) {
                continue;
            }
            if self.ended {
                return Ok(Polled::End);
            }
            // Read before the queue: set and then nothing in the queue means that all was told.
            let caught_up = self.caught_up.load(Ordering::Acquire);
            match self.queue.try_recv() {
                Ok(Told::Chunk(chunk)) => self.chunk = Some((chunk, 0, 0)),
                Ok(Told::End) => self.ended = true,
                Ok(Told::Failed(error)) => {
                    self.ended = true;
                    return Err(error);
                }
                Err(TryRecvError::Empty) if records > 0 => return Ok(Polled::Ready),
                Err(TryRecvError::Empty) => return Ok(Polled::Pending { caught_up }),
                Err(TryRecvError::Disconnected) => {
                    return Err(ConnectorError {
                        code: "LDB-6405",
                        fault: Fault::Internal,
                        message: "the thread that reads a file is gone".to_string(),
                    });
                }
            }
        }
        Ok(Polled::Ready)
    }

    fn position(&self) -> Position {
        self.place.position()
    }
}
