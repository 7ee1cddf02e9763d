//! A file as a sink: one line a record, at least once. (Exactly once: see `parts`.)
//!
//! Invariant: a frame is acknowledged after its lines and the file's name are synced; a line torn by
//! a crash is cut off at start, its frame comes again.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use laminar_connector_kit::{ConnectorError, ConnectorOptions, OptionSpec};
use laminar_core::connector::{Applier, Fault, Frame, Readiness, SinkFactory, SinkIdentity};
use laminar_core::graph::{Delivery, Envelope, SinkSpec};
use laminar_core::ids::{CheckpointNumber, ShardId};

use crate::options::FileSinkOptions;
use crate::parts::Parts;
use crate::place::Roots;

/// Bytes that may wait for a sync.
const UNSYNCED_BYTES: u64 = 16 * 1024 * 1024;

/// Makes file sinks below some roots.
#[derive(Clone, Debug)]
pub struct FileSinkFactory {
    roots: Roots,
}

impl FileSinkFactory {
    /// Files below `roots` only.
    pub fn new(roots: Roots) -> Self {
        Self { roots }
    }
}

impl SinkFactory for FileSinkFactory {
    fn name(&self) -> &'static str {
        "file"
    }

    fn options(&self) -> &'static [OptionSpec] {
        FileSinkOptions::OPTIONS
    }

    fn check(&self, spec: &SinkSpec) -> Result<(), ConnectorError> {
        let options = FileSinkOptions::from_options(&spec.options)?;
        if spec.delivery == Delivery::ExactlyOnce && options.rotate.is_some() {
            let message = format!(
                "sink \"{}\": exactly-once delivery writes a file for each checkpoint, so 'rotate' means nothing; leave it out",
                spec.name
            );
            return Err(ConnectorError::user("LDB-6410", message));
        }
        if spec.envelope == Envelope::Upsert {
            let message = format!(
                "sink \"{}\": a file cannot hold deletes by key; use envelope 'changelog' or 'debezium'",
                spec.name
            );
            return Err(ConnectorError::user("LDB-6411", message));
        }
        self.roots.permit(Path::new(&options.path))
    }

    fn create(&self, spec: &SinkSpec, identity: SinkIdentity) -> Result<Box<dyn Applier>, ConnectorError> {
        self.check(spec)?;
        let options = FileSinkOptions::from_options(&spec.options)?;
        let path = self.roots.writable(Path::new(&options.path))?;
        if spec.delivery == Delivery::ExactlyOnce {
            return Ok(Box::new(Parts::new(path, identity, spec.format.as_deref().unwrap_or("rows"))));
        }
        let rotate = options.rotate.map(|size| size.0);
        Ok(Box::new(FileSink { path, rotate, open: None, unsynced: 0, sent: Vec::new() }))
    }
}

/// Appends to one file.
struct FileSink {
    path: PathBuf,
    rotate: Option<u64>,
    open: Option<Open>,
    /// Bytes written since the last sync.
    unsynced: u64,
    /// Frames written since the last sync.
    sent: Vec<(ShardId, u64)>,
}

struct Open {
    file: BufWriter<File>,
    length: u64,
}

impl FileSink {
    fn failed(&self, what: &str, error: &std::io::Error) -> ConnectorError {
        ConnectorError::external("LDB-6412", format!("'{}' cannot be {what}: {error}", self.path.display()))
    }

    /// Opens the file behind its last whole line; the name is synced too.
    fn open(&mut self) -> Result<&mut Open, ConnectorError> {
        if self.open.is_none() {
            let length = self.open_file().map_err(|error| self.failed("opened for writing", &error))?;
            self.open = Some(length);
        }
        self.open.as_mut().ok_or_else(|| ConnectorError::external("LDB-6412", "the file is not open"))
    }

    fn open_file(&self) -> std::io::Result<Open> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.path)?;
        let length = whole_lines(&mut file)?;
        file.set_len(length)?;
        file.seek(SeekFrom::Start(length))?;
        file.sync_all()?;
        self.sync_directory()?;
        Ok(Open { file: BufWriter::with_capacity(256 * 1024, file), length })
    }

    fn sync_directory(&self) -> std::io::Result<()> {
        match self.path.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    }

    fn write(&mut self, frame: &Frame) -> Result<(), ConnectorError> {
        let mut written = 0;
        let open = self.open()?;
        let mut result = Ok(());
        for value in frame.records.iter().filter_map(|record| record.value.as_deref()) {
            result = open.file.write_all(value).and_then(|()| open.file.write_all(b"\n"));
            if result.is_err() {
                break;
            }
            written += value.len() as u64 + 1;
        }
        open.length += written;
        self.unsynced += written;
        result.map_err(|error| self.failed("written", &error))
    }

    fn sync(&mut self) -> Result<(), ConnectorError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let result = open.file.flush().and_then(|()| open.file.get_ref().sync_data());
        let length = open.length;
        result.map_err(|error| self.failed("synced", &error))?;
        self.unsynced = 0;
        if self.rotate.is_some_and(|limit| length >= limit) {
            self.open = None;
            self.put_aside().map_err(|error| self.failed("put aside", &error))?;
        }
        Ok(())
    }

    /// Renames the full file to the first free number.
    fn put_aside(&self) -> std::io::Result<()> {
        let numbered = |number: u32| {
            let mut name = self.path.as_os_str().to_os_string();
            name.push(format!(".{number:06}"));
            PathBuf::from(name)
        };
        let free = (1..=999_999).map(numbered).find(|path| !path.exists());
        let free = free.ok_or_else(|| std::io::Error::other("all 999999 numbers are taken"))?;
        std::fs::rename(&self.path, free)?;
        self.sync_directory()
    }
}

/// Length up to the last line end.
fn whole_lines(file: &mut File) -> std::io::Result<u64> {
    const STEP: u64 = 64 * 1024;
    let mut end = file.metadata()?.len();
    let mut bytes = Vec::new();
    while end > 0 {
        let from = end.saturating_sub(STEP);
        file.seek(SeekFrom::Start(from))?;
        bytes.clear();
        file.take(end - from).read_to_end(&mut bytes)?;
        if let Some(last) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(from + last as u64 + 1);
        }
        end = from;
    }
    Ok(0)
}

impl Applier for FileSink {
    fn start(&mut self, _: CheckpointNumber) -> Result<Option<CheckpointNumber>, ConnectorError> {
        self.open()?;
        Ok(None)
    }

    fn send(&mut self, frame: &Arc<Frame>) -> Result<Readiness, ConnectorError> {
        if self.unsynced >= UNSYNCED_BYTES {
            return Ok(Readiness::Busy);
        }
        self.write(frame)?;
        self.sent.push((frame.shard, frame.sequence));
        Ok(Readiness::Accepted)
    }

    fn acknowledged(&mut self, _wait: Duration, into: &mut Vec<(ShardId, u64)>) -> Result<(), ConnectorError> {
        if !self.sent.is_empty() {
            self.sync()?;
            into.append(&mut self.sent);
        }
        Ok(())
    }

    fn commit(&mut self, _: CheckpointNumber, _: &[Arc<Frame>]) -> Result<(), ConnectorError> {
        let message = "this sink delivers at least once and has no checkpoints";
        Err(ConnectorError { code: "LDB-6412", fault: Fault::Internal, message: message.to_string() })
    }
}

#[cfg(test)]
pub(crate) mod tests;
