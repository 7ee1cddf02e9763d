//! The thread that reads a file ahead: chunks of whole records into a bounded queue.
//!
//! Invariants: a chunk holds whole records only; the end of a followed file leaves an unfinished
//! line where it is; the thread ends when its reader is dropped.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use laminar_connector_kit::ConnectorError;
use laminar_core::connector::Wake;
use laminar_formats::Lines;

use crate::place::unreadable;

/// How much is read at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// Whole records of a file.
#[derive(Debug)]
pub struct Chunk {
    /// The bytes, from the first record's first byte.
    pub bytes: Vec<u8>,
    /// Where each record ends: the index behind its line end, or behind its last byte at the file's end.
    pub ends: Vec<usize>,
}

/// What the thread tells.
#[derive(Debug)]
pub enum Told {
    /// Records.
    Chunk(Chunk),
    /// The file is over.
    End,
    /// It cannot go on.
    Failed(ConnectorError),
}

/// What the thread works with.
pub struct Tail {
    /// The file.
    pub path: PathBuf,
    /// First byte to read.
    pub from: u64,
    /// How records are kept apart.
    pub lines: Lines,
    /// Longest record.
    pub max_line: usize,
    /// Wait for more at the end, looking so often; none = end.
    pub follow: Option<Duration>,
    /// Set while all that exists has been told.
    pub caught_up: Arc<AtomicBool>,
    /// Where records go.
    pub into: SyncSender<Told>,
    /// Disconnected when the reader is dropped.
    pub stop: Receiver<()>,
    /// Wakes the reader's reactor.
    pub wake: Arc<dyn Wake>,
}

impl Tail {
    /// Reads until the end, an error, or the reader's drop.
    pub fn run(mut self) {
        let last = match self.read() {
            Ok(Some(end)) => end,
            Ok(None) => return,
            Err(error) => Told::Failed(error),
        };
        self.tell(last);
    }

    /// Hands on; false when nobody listens.
    fn tell(&mut self, told: Told) -> bool {
        let there = self.into.send(told).is_ok();
        self.wake.wake();
        there
    }

    fn read(&mut self) -> Result<Option<Told>, ConnectorError> {
        let mut file = File::open(&self.path).map_err(|error| unreadable(&self.path, &error))?;
        self.check_length(&file, self.from)?;
        file.seek(SeekFrom::Start(self.from)).map_err(|error| unreadable(&self.path, &error))?;
        let mut at = self.from;
        let mut pending = Vec::new();
        loop {
            let before = pending.len();
            let read = (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut pending);
            let read = read.map_err(|error| unreadable(&self.path, &error))?;
            at += read as u64;
            if read == 0 {
                let Some(interval) = self.follow else {
                    return Ok(self.finish(pending).then_some(Told::End));
                };
                self.check_length(&file, at)?;
                if !self.caught_up.swap(true, Ordering::Release) {
                    self.wake.wake();
                }
                match self.stop.recv_timeout(interval) {
                    Err(RecvTimeoutError::Timeout) => continue,
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(None),
                }
            }
            self.caught_up.store(false, Ordering::Release);
            let Some(chunk) = self.cut(&mut pending, before)? else { continue };
            if !self.tell(Told::Chunk(chunk)) {
                return Ok(None);
            }
        }
    }

    /// Takes the whole records; what was there `before` holds no record end unless lines are quoted.
    fn cut(&self, pending: &mut Vec<u8>, before: usize) -> Result<Option<Chunk>, ConnectorError> {
        let mut ends = Vec::new();
        let mut from = 0;
        let mut search = if self.lines == Lines::Plain { before } else { 0 };
        while let Some(end) = self.lines.end(pending, search) {
            from = end + 1;
            search = from;
            ends.push(from);
        }
        if pending.len() - from > self.max_line {
            let (path, limit) = (self.path.display(), self.max_line);
            let message = format!("'{path}' holds a record longer than option 'max_line' = {limit} bytes allows");
            return Err(ConnectorError::user("LDB-6403", message));
        }
        if ends.is_empty() {
            return Ok(None);
        }
        let rest = pending.split_off(from);
        Ok(Some(Chunk { bytes: std::mem::replace(pending, rest), ends }))
    }

    /// The last line of a file that is over needs no line end. False when nobody listens.
    fn finish(&mut self, pending: Vec<u8>) -> bool {
        if pending.is_empty() {
            return true;
        }
        let ends = vec![pending.len()];
        self.tell(Told::Chunk(Chunk { bytes: pending, ends }))
    }

    /// A file shorter than what was read of it has lost data.
    fn check_length(&self, file: &File, read: u64) -> Result<(), ConnectorError> {
        let length = file.metadata().map_err(|error| unreadable(&self.path, &error))?.len();
        if length >= read {
            return Ok(());
        }
        let message = format!(
            "'{}' has {length} bytes, but {read} were read before: it was truncated or replaced; drop the source and create it again",
            self.path.display()
        );
        Err(ConnectorError::lost("LDB-6404", message))
    }
}
