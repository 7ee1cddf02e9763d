//! A directory of parts: a file sink that delivers exactly once.
//!
//! A commit is one whole file: written under the life's own hidden directory, synced, renamed to
//! `<writer>-<checkpoint>.<format>` beside the others, the directory synced. The marker is the
//! greatest checkpoint among the names. Invariants: a name that does not begin with a dot is final
//! and its file whole; one checkpoint of one writer has one name, and that is never replaced; a life
//! whose directory was taken away by a younger one can put nothing beside the others any more.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use laminar_connector_kit::ConnectorError;
use laminar_core::connector::{Applier, Fault, Frame, Readiness, SinkIdentity};
use laminar_core::crash_point::{CrashPoint, reach};
use laminar_core::ids::{CheckpointNumber, ShardId};

/// The file that a commit is writing, in the life's directory.
const UNFINISHED: &str = "unfinished";

/// Commits checkpoints to one directory.
pub struct Parts {
    directory: PathBuf,
    writer: String,
    ending: String,
    /// The directory of this life, once it has begun.
    life: Option<PathBuf>,
}

impl Parts {
    /// An applier that is not started; its files end with the format's name.
    pub fn new(directory: PathBuf, identity: SinkIdentity, format: &str) -> Self {
        Self { directory, writer: identity.to_string(), ending: format.to_string(), life: None }
    }

    /// Finds the newest checkpoint; unless that is beyond `known`, first fences older lives and removes what they
    /// left behind.
    fn begin(&mut self, known: CheckpointNumber) -> io::Result<Option<CheckpointNumber>> {
        self.make_directory()?;
        let newest = self.newest()?;
        if newest > Some(known) {
            return Ok(newest);
        }
        // Process and time: no two lives share a name, so that a fenced one stays fenced.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let life = self.directory.join(format!(".{}.{}-{}", self.writer, std::process::id(), since.as_nanos()));
        fs::create_dir(&life)?;
        for (index, older) in self.lives()?.into_iter().filter(|older| *older != life).enumerate() {
            // First out of its owner's reach, in one step; then it can be emptied at leisure.
            let taken = life.join(format!("taken-{index}"));
            match fs::rename(&older, &taken) {
                Ok(()) => fs::remove_dir_all(&taken)?,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        // A name that an older life gave and could not sync counts only when it is safe.
        sync_directory(&self.directory)?;
        let newest = self.newest()?;
        self.life = Some(life);
        Ok(newest)
    }

    /// The directory, its name safe.
    fn make_directory(&self) -> io::Result<()> {
        let parent = self.directory.parent().unwrap_or(Path::new("/"));
        let named = |error: io::Error| io::Error::new(error.kind(), format!("'{}': {error}", parent.display()));
        match File::open(parent) {
            Ok(parent) => {
                if !self.directory.exists() {
                    fs::create_dir(&self.directory)?;
                }
                // In every life: the one that made the directory may have ended before its name was safe.
                parent.sync_all().map_err(named)
            }
            // No life of ours made it: none makes a directory where the parent cannot be opened.
            Err(error) if error.kind() == ErrorKind::PermissionDenied && self.directory.is_dir() => Ok(()),
            Err(error) => Err(named(error)),
        }
    }

    /// The directories of lives of this writer.
    fn lives(&self) -> io::Result<Vec<PathBuf>> {
        let prefix = format!(".{}.", self.writer);
        let mut lives = Vec::new();
        for entry in self.directory.read_dir()? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                lives.push(entry.path());
            }
        }
        Ok(lives)
    }

    fn newest(&self) -> io::Result<Option<CheckpointNumber>> {
        let mut newest = None;
        for entry in self.directory.read_dir()? {
            let name = entry?.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.strip_prefix(&self.writer)?.strip_prefix('-')?.split('.').next()?.parse().ok());
            newest = newest.max(number.map(CheckpointNumber));
        }
        Ok(newest)
    }

    /// The final name of a checkpoint's rows: names sort as their checkpoints do.
    fn part(&self, checkpoint: CheckpointNumber) -> PathBuf {
        self.directory.join(format!("{}-{:020}.{}", self.writer, checkpoint.0, self.ending))
    }

    fn write(&self, life: &Path, checkpoint: CheckpointNumber, frames: &[Arc<Frame>]) -> io::Result<()> {
        let (unfinished, part) = (life.join(UNFINISHED), self.part(checkpoint));
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&unfinished)?;
        let mut file = BufWriter::with_capacity(256 * 1024, file);
        let values = frames.iter().flat_map(|frame| &frame.records).filter_map(|record| record.value.as_deref());
        for (index, value) in values.enumerate() {
            if index == 1 {
                reach(CrashPoint::CommitHalfSent);
            }
            file.write_all(value)?;
            file.write_all(b"\n")?;
        }
        file.flush()?;
        file.get_ref().sync_all()?;
        if part.exists() {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "another process has written this checkpoint"));
        }
        reach(CrashPoint::CommitPrepared);
        fs::rename(&unfinished, part)?;
        reach(CrashPoint::CommitNamed);
        sync_directory(&self.directory)
    }

    fn failed(&self, what: &str, error: &io::Error) -> ConnectorError {
        let place = self.directory.display();
        if error.kind() == ErrorKind::NotADirectory {
            let message = format!(
                "'{place}' is no directory, and exactly-once delivery writes a file for each checkpoint; give 'path' the \
                 name of a directory, or of none yet"
            );
            return ConnectorError::user("LDB-6413", message);
        }
        ConnectorError::external("LDB-6412", format!("directory '{place}' cannot be {what}: {error}"))
    }

    fn fenced(&self) -> ConnectorError {
        let message = format!(
            "directory '{}': another process writes as {}: a copy of this data directory runs elsewhere; this sink has \
             stopped for good; run one of them only, then drop the sink and create it anew",
            self.directory.display(),
            self.writer
        );
        ConnectorError::fenced("LDB-6414", message)
    }
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

impl Applier for Parts {
    fn start(&mut self, known: CheckpointNumber) -> Result<Option<CheckpointNumber>, ConnectorError> {
        self.begin(known).map_err(|error| self.failed("opened for writing", &error))
    }

    fn send(&mut self, _: &Arc<Frame>) -> Result<Readiness, ConnectorError> {
        let message = "rows of this sink go with their checkpoint only";
        Err(ConnectorError { code: "LDB-6412", fault: Fault::Internal, message: message.into() })
    }

    fn acknowledged(&mut self, _: Duration, _: &mut Vec<(ShardId, u64)>) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn commit(&mut self, checkpoint: CheckpointNumber, frames: &[Arc<Frame>]) -> Result<(), ConnectorError> {
        let Some(life) = self.life.as_deref() else {
            return Err(self.failed("written", &io::Error::other("the sink is used before its start")));
        };
        self.write(life, checkpoint, frames).map_err(|error| match error.kind() {
            // Only a younger life takes the directory of this one away.
            ErrorKind::NotFound if self.directory.is_dir() && !life.exists() => self.fenced(),
            ErrorKind::AlreadyExists => self.fenced(),
            _ => self.failed("written", &error),
        })
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        if let Some(life) = &self.life {
            // What stays behind the next life removes.
            let _ = fs::remove_dir_all(life);
        }
    }
}

#[cfg(test)]
mod tests;
