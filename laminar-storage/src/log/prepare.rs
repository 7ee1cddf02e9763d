//! Makes the next segment file ready before it is needed.
//!
//! create (or rename a released one) → allocate → sync → sync the directory → ready. No space is
//! not an error here: the step is taken again at the next request.
//!
//! Invariant: a segment is handed out only when its blocks, its length and its name are durable, so
//! that a later group write needs no space and its sync no directory.

use std::path::PathBuf;

use super::frame::FrameKind;
use super::identity::LogName;
use crate::crash_point::{CrashPoint, reach};
use crate::disk::{Completion, Disk, DiskErrorKind, DiskOp, FileId, Ticket};
use crate::error::{Result, StorageError};

/// A segment file that is open for writing.
#[derive(Clone, Debug)]
pub(super) struct OpenSegment {
    pub(super) segment: u64,
    pub(super) file: FileId,
    pub(super) path: PathBuf,
}

/// A released file that may become the next segment.
#[derive(Debug)]
pub(super) struct Released {
    pub(super) file: FileId,
    pub(super) path: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Rename,
    Allocate,
    Sync,
    SyncDir,
}

#[derive(Debug)]
enum State {
    Empty,
    /// Created, but the disk was full.
    Hungry(OpenSegment),
    Working {
        open: OpenSegment,
        step: Step,
        ticket: Ticket,
    },
    Ready(OpenSegment),
}

#[derive(Debug)]
pub(super) struct Preparation {
    name: LogName,
    bytes: u64,
    next: u64,
    state: State,
    out_of_space: bool,
    /// Space is asked for once, then only when the owner of the log says so: it has the clock.
    may_ask: bool,
}

impl Preparation {
    pub(super) fn new(name: LogName, bytes: u64) -> Self {
        Self { name, bytes, next: 0, state: State::Empty, out_of_space: false, may_ask: true }
    }

    /// Starts the next segment unless one is ready, on its way, or was refused for want of space.
    pub(super) fn start(&mut self, disk: &mut dyn Disk, released: &mut Option<Released>) -> Result<()> {
        if self.out_of_space && !self.may_ask {
            return Ok(());
        }
        match std::mem::replace(&mut self.state, State::Empty) {
            State::Empty => self.begin(disk, released),
            State::Hungry(open) => {
                self.submit(disk, open, Step::Allocate);
                Ok(())
            }
            busy @ (State::Working { .. } | State::Ready(_)) => {
                self.state = busy;
                Ok(())
            }
        }
    }

    fn begin(&mut self, disk: &mut dyn Disk, released: &mut Option<Released>) -> Result<()> {
        let path = self.name.segment_path(self.next);
        if let Some(old) = released.take() {
            let open = OpenSegment { segment: self.next, file: old.file, path: path.clone() };
            self.next += 1;
            let ticket = disk.submit(DiskOp::Rename { from: old.path, to: path });
            self.state = State::Working { open, step: Step::Rename, ticket };
            return Ok(());
        }
        let file = match disk.create(&path) {
            Ok(file) => file,
            Err(error) if error.kind == DiskErrorKind::NoSpace => {
                self.refused();
                return Ok(());
            }
            Err(error) => return Err(StorageError::disk("create a log segment")(error)),
        };
        let open = OpenSegment { segment: self.next, file, path };
        self.next += 1;
        self.submit(disk, open, Step::Allocate);
        Ok(())
    }

    fn submit(&mut self, disk: &mut dyn Disk, open: OpenSegment, step: Step) {
        let op = match step {
            Step::Allocate => DiskOp::Allocate { file: open.file, offset: 0, len: self.bytes },
            Step::Sync => DiskOp::Sync { file: open.file },
            Step::Rename | Step::SyncDir => DiskOp::SyncDir { path: self.name.directory().to_owned() },
        };
        let ticket = disk.submit(op);
        self.state = State::Working { open, step, ticket };
    }

    /// Takes a completion if it is of the running step.
    pub(super) fn complete(&mut self, disk: &mut dyn Disk, completion: &Completion) -> Result<bool> {
        let (open, step) = match &self.state {
            State::Working { open, step, ticket } if *ticket == completion.ticket => (open.clone(), *step),
            _ => return Ok(false),
        };
        if self.name.kind() == FrameKind::Wal && completion.result.is_ok() {
            match step {
                Step::Rename => reach(CrashPoint::WalRecycled),
                Step::Allocate => reach(CrashPoint::WalAllocated),
                Step::Sync | Step::SyncDir => {}
            }
        }
        match (&completion.result, step) {
            (Ok(()), Step::Rename | Step::Sync) => self.submit(disk, open, Step::SyncDir),
            (Ok(()), Step::Allocate) => {
                self.out_of_space = false;
                self.submit(disk, open, Step::Sync);
            }
            (Ok(()), Step::SyncDir) => self.state = State::Ready(open),
            (Err(error), Step::Allocate) if error.kind == DiskErrorKind::NoSpace => {
                self.refused();
                self.state = State::Hungry(open);
            }
            (Err(error), _) => return Err(StorageError::disk("prepare a log segment")(error.clone())),
        }
        Ok(true)
    }

    fn refused(&mut self) {
        self.out_of_space = true;
        self.may_ask = false;
    }

    /// Lets the next pump ask for space again.
    pub(super) fn ask_again(&mut self) {
        self.may_ask = true;
    }

    /// Hands out the prepared segment.
    pub(super) fn take(&mut self) -> Option<OpenSegment> {
        match std::mem::replace(&mut self.state, State::Empty) {
            State::Ready(open) => Some(open),
            other => {
                self.state = other;
                None
            }
        }
    }

    /// True while the disk has no room for the next segment.
    pub(super) fn is_out_of_space(&self) -> bool {
        self.out_of_space
    }

    pub(super) fn is_working(&self) -> bool {
        matches!(self.state, State::Working { .. })
    }
}
