//! Reads a finished log from a position to its end, and judges the end.
//!
//! Invariant: what it yields is, in order and without a gap, a prefix of what was appended. A bad
//! frame ends the log only if nothing proves that it was durable; else reading fails (W2).

use super::RECORD_HEADER_BYTES;
use super::cursor::{Found, SegmentCursor};
use super::frame::{FrameKind, SECTOR};
use super::identity::{DirectoryId, LogName, SegmentFile};
use super::scan::{Evidence, Short, evidence};
use crate::disk::Disk;
use crate::error::{Result, StorageError};
use crate::mutant::{self, Mutant};

/// Which part of a log is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadFrom {
    /// Position at which segment 0 begins.
    pub(crate) origin: u64,
    /// Records that end at or before this position are skipped.
    pub(crate) position: u64,
    /// What the log must hold.
    pub(crate) known: Known,
}

/// What is known of a log from elsewhere, as a position: reading fails if it ends before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Everything before is durable; what stands behind the end may prove that more was.
    Durable(u64),
    /// An earlier reading of this start ended here, and nothing behind proves a later end: where this one ends there
    /// too, it does not search again.
    Judged(u64),
}

impl Known {
    const fn position(self) -> u64 {
        match self {
            Self::Durable(position) | Self::Judged(position) => position,
        }
    }
}

/// Where and how a log ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// Position after the last record.
    pub position: u64,
    /// The file and offset at which reading ended; empty when the log has no file.
    pub file: String,
    /// Offset in that file.
    pub offset: u64,
    /// True when bytes stand there that are no frame: a torn write, or a former use of the file.
    pub torn: bool,
}

/// One record of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// Position after the record.
    pub(crate) end: u64,
    /// The writer's tag.
    pub(crate) tag: u32,
    /// The writer's bytes.
    pub(crate) payload: &'a [u8],
}

/// Reads one log; see the module.
pub(crate) struct LogReader {
    directory: DirectoryId,
    wanted: ReadFrom,
    /// Segments after the one under the cursor, in order.
    later: Vec<SegmentFile>,
    cursor: Option<SegmentCursor>,
    /// Position of the next frame.
    expected: u64,
    /// How long the file under the cursor is at least, as its frames say.
    file_bytes: u64,
    payload: Vec<u8>,
    payload_at: usize,
    payload_start: u64,
    end: Option<LogEnd>,
}

impl LogReader {
    /// Opens the log whose segment files are given, in order.
    pub(crate) fn open(
        disk: &mut dyn Disk,
        directory: DirectoryId,
        name: LogName,
        mut segments: Vec<SegmentFile>,
        wanted: ReadFrom,
    ) -> Result<Self> {
        segments.sort();
        debug_assert!(segments.iter().all(|segment| segment.log == name), "one log at a time");
        let mut reader = Self {
            directory,
            wanted,
            later: Vec::new(),
            cursor: None,
            expected: wanted.position,
            file_bytes: 0,
            payload: Vec::new(),
            payload_at: 0,
            payload_start: 0,
            end: None,
        };
        reader.seek_segment(disk, name, segments)?;
        Ok(reader)
    }

    /// Chooses the last segment that begins at or before the wanted position.
    fn seek_segment(&mut self, disk: &mut dyn Disk, name: LogName, mut segments: Vec<SegmentFile>) -> Result<()> {
        let id = name.id(self.directory);
        let first_segment = segments.first().map(|segment| segment.segment);
        for at in (0..segments.len()).rev() {
            let cursor = SegmentCursor::open(disk, segments[at].clone(), id)?;
            match cursor.peek(disk) {
                Ok(Found::Header(header)) if header.position <= self.wanted.position => {
                    self.expected = header.position;
                    self.cursor = Some(cursor);
                    self.later = segments.split_off(at + 1);
                    return Ok(());
                }
                Ok(_) => cursor.close(disk),
                Err(error) => {
                    cursor.close(disk);
                    return Err(error);
                }
            }
        }
        let Some(first_segment) = first_segment else { return Ok(()) };
        // No segment begins before the position. In a whole log that is the origin; in one whose
        // beginning was released, the position itself.
        if first_segment == 0 {
            self.expected = self.wanted.origin;
        }
        self.later = segments;
        let first = self.later.remove(0);
        self.cursor = Some(SegmentCursor::open(disk, first, id)?);
        Ok(())
    }

    /// The next record, or `None` at the end; then [`LogReader::end`] says how it ended.
    pub(crate) fn next(&mut self, disk: &mut dyn Disk) -> Result<Option<Record<'_>>> {
        loop {
            while self.payload_at == self.payload.len() {
                if self.end.is_some() || !self.load(disk)? {
                    return Ok(None);
                }
            }
            let (end, tag, payload_range) = self.parse_record()?;
            if end > self.wanted.position {
                return Ok(Some(Record { end, tag, payload: &self.payload[payload_range] }));
            }
        }
    }

    /// How the log ended, once [`LogReader::next`] has returned `None`.
    pub(crate) fn end(&self) -> Option<&LogEnd> {
        self.end.as_ref()
    }

    /// Closes the segment file; needed only when reading stops before the end.
    pub(crate) fn close(mut self, disk: &mut dyn Disk) {
        if let Some(cursor) = self.cursor.take() {
            cursor.close(disk);
        }
    }

    fn parse_record(&mut self) -> Result<(u64, u32, std::ops::Range<usize>)> {
        let rest = &self.payload[self.payload_at..];
        let header: Option<[u8; RECORD_HEADER_BYTES]> = rest.first_chunk().copied();
        if let Some([a, b, c, d, tag @ ..]) = header {
            let len = u32::from_le_bytes([a, b, c, d]) as usize;
            if len <= rest.len() - RECORD_HEADER_BYTES {
                let start = self.payload_at + RECORD_HEADER_BYTES;
                self.payload_at = start + len;
                return Ok((self.payload_start + self.payload_at as u64, u32::from_le_bytes(tag), start..start + len));
            }
        }
        let (file, offset) = self.place();
        Err(StorageError::Malformed { file, offset, detail: "a record reaches beyond its group".to_owned() })
    }

    /// Brings the next wanted group into memory; false at the end.
    fn load(&mut self, disk: &mut dyn Disk) -> Result<bool> {
        loop {
            if self.take_frame(disk)? {
                if !self.payload.is_empty() {
                    return Ok(true);
                }
            } else if !self.next_segment(disk)? {
                self.judge_end(disk)?;
                return Ok(false);
            }
        }
    }

    /// Takes the frame under the cursor if it is the expected one.
    fn take_frame(&mut self, disk: &mut dyn Disk) -> Result<bool> {
        self.payload.clear();
        self.payload_at = 0;
        if mutant::active(Mutant::CutValidTail) && self.is_last(disk)? {
            return Ok(false);
        }
        let Some(cursor) = self.cursor.as_mut() else { return Ok(false) };
        let Found::Header(header) = cursor.peek(disk)? else { return Ok(false) };
        if header.position != self.expected {
            return Ok(false);
        }
        let end = header.position + u64::from(header.payload_bytes);
        // A group that is not wanted need not be intact.
        if end > self.wanted.position && !cursor.payload(disk, &header, &mut self.payload)? {
            self.payload.clear();
            return Ok(false);
        }
        self.payload_start = header.position;
        self.expected = end;
        self.file_bytes = header.file_bytes();
        cursor.seek(cursor.offset() + header.frame_bytes());
        Ok(true)
    }

    /// For the planted defect: no frame follows the one under the cursor of a WAL.
    fn is_last(&mut self, disk: &mut dyn Disk) -> Result<bool> {
        let Some(cursor) = self.cursor.as_mut() else { return Ok(false) };
        let Found::Header(header) = cursor.peek(disk)? else { return Ok(false) };
        let here = cursor.offset();
        cursor.seek(here + header.frame_bytes());
        let last =
            matches!(cursor.peek(disk)?, Found::Nothing) && self.later.is_empty() && cursor.kind() == FrameKind::Wal;
        cursor.seek(here);
        Ok(last && header.payload_bytes > 0)
    }

    /// Goes to the next segment if it continues exactly here.
    fn next_segment(&mut self, disk: &mut dyn Disk) -> Result<bool> {
        let (Some(next), Some(current)) = (self.later.first().cloned(), self.cursor.as_ref()) else {
            return Ok(false);
        };
        if next.segment != current.segment() + 1 {
            return Ok(false);
        }
        let id = next.log.id(self.directory);
        let cursor = SegmentCursor::open(disk, next, id)?;
        match cursor.peek(disk) {
            Ok(Found::Header(header)) if header.position == self.expected => {
                self.later.remove(0);
                self.file_bytes = 0;
                if let Some(finished) = self.cursor.replace(cursor) {
                    finished.close(disk);
                }
                Ok(true)
            }
            Ok(_) => {
                cursor.close(disk);
                Ok(false)
            }
            Err(error) => {
                cursor.close(disk);
                Err(error)
            }
        }
    }

    /// Decides whether the end is the end of what was durable, or damage.
    fn judge_end(&mut self, disk: &mut dyn Disk) -> Result<()> {
        let (file, offset) = self.place();
        let here = self.cursor.as_ref().map(|cursor| (cursor, cursor.offset()));
        let Evidence { best: proof, short } = match self.wanted.known {
            Known::Judged(end) if end == self.expected => Evidence::default(),
            _ => evidence(disk, self.directory, here, &self.later)?,
        };
        let short = short.or_else(|| Short::of(self.cursor.as_ref()?, self.file_bytes));
        let torn = self.stands_something(disk)?;
        if let Some(cursor) = self.cursor.take() {
            cursor.close(disk);
        }
        if let Some(proof) = proof
            && proof.horizon > self.expected
        {
            let detail = format!(
                "position {} was durable: {} at offset {} says durable up to {}",
                self.expected, proof.file, proof.offset, proof.horizon
            );
            return Err(StorageError::Rot { file, offset, detail });
        }
        if let Some(Short { file, bytes, whole }) = short {
            let detail = format!("it was cut short there, its length was {whole}: what it held is not known");
            return Err(StorageError::Rot { file, offset: bytes, detail });
        }
        let durable = self.wanted.known.position();
        if self.expected < durable {
            let detail = format!("it ends at position {}, durable was {durable}", self.expected);
            return Err(StorageError::Rot { file, offset, detail });
        }
        self.end = Some(LogEnd { position: self.expected, file, offset, torn });
        Ok(())
    }

    fn stands_something(&self, disk: &mut dyn Disk) -> Result<bool> {
        let Some(cursor) = &self.cursor else { return Ok(false) };
        let mut sector = [0; SECTOR];
        let got = disk
            .read_at(cursor.file(), cursor.offset(), &mut sector)
            .map_err(StorageError::disk("read a log segment"))?;
        Ok(sector[..got].iter().any(|byte| *byte != 0))
    }

    fn place(&self) -> (String, u64) {
        self.cursor.as_ref().map_or_else(|| (String::new(), 0), |cursor| (cursor.file_name(), cursor.offset()))
    }
}
