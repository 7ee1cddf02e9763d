//! Opens a source's splits beside the reactors: calls may block, so they have a thread of their own.
//!
//! Invariants: a split is opened once per group; an external failure is tried again with a growing
//! pause; new splits are looked for as long as the group is read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::guarded::guarded;
use crate::connector::{ConnectorError, Fault, Position, Source, SourceFactory, SplitKey, StartFrom};
use crate::engine::GroupId;
use crate::engine::message::{ControlLetter, Notice, OpenedSplit, SplitWake};
use crate::graph::SourceSpec;
use crate::reactor::{Bell, Mailbox, Next, Now, Task};
use crate::shard::{ShardMap, hash_bytes};

/// The first and the longest pause after an external failure, in microseconds.
const RETRY_US: (u64, u64) = (100_000, 10_000_000);

/// Tells a task to end.
#[derive(Default)]
pub struct Stop(AtomicBool);

impl Stop {
    /// Asks for the end.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was asked for.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What a source task works with.
pub struct SourceTaskParts {
    /// The group it opens splits for.
    pub group: GroupId,
    /// The source.
    pub spec: Arc<SourceSpec>,
    /// Its connector.
    pub factory: Arc<dyn SourceFactory>,
    /// Where splits that were read before go on.
    pub positions: BTreeMap<SplitKey, Position>,
    /// All shards.
    pub shards: ShardMap,
    /// The bell of each reactor.
    pub bells: Vec<Arc<Bell>>,
    /// Where news go.
    pub control: Arc<Mailbox<ControlLetter>>,
    /// Ends it.
    pub stop: Arc<Stop>,
    /// Microseconds between two looks for new splits.
    pub discovery_us: u64,
}

/// See the file's invariants.
pub struct SourceTask {
    parts: SourceTaskParts,
    source: Option<Box<dyn Source>>,
    known: BTreeSet<SplitKey>,
    /// Opened and not told yet: kept when a later split of the same look cannot be opened.
    opened: Vec<OpenedSplit>,
    first: bool,
    troubled: bool,
    pause: u64,
}

impl SourceTask {
    /// A task that has not begun.
    pub fn new(parts: SourceTaskParts) -> Self {
        let (known, opened) = (BTreeSet::new(), Vec::new());
        Self { parts, source: None, known, opened, first: true, troubled: false, pause: 0 }
    }

    fn discover(&mut self) -> Result<(), ConnectorError> {
        let parts = &self.parts;
        let source = match &mut self.source {
            Some(source) => source,
            None => self.source.insert(parts.factory.create(&parts.spec)?),
        };
        for key in source.splits()? {
            if self.known.contains(&key) {
                continue;
            }
            let from = match parts.positions.get(&key) {
                Some(position) => StartFrom::Position(position.clone()),
                None if self.first && parts.positions.is_empty() => StartFrom::Option,
                None => StartFrom::Beginning,
            };
            let shard = parts.shards.shard_of(hash_bytes(key.0.as_bytes()));
            let reactor = parts.shards.reactor_of(shard);
            let wake = Arc::new(SplitWake::new(parts.bells[usize::from(reactor.0)].clone()));
            let reader = source.open(&key, from, wake.clone())?;
            self.known.insert(key.clone());
            self.opened.push(OpenedSplit { key, shard, reader, wake });
        }
        // Without a new split too, when it is the end of a trouble that was told.
        if self.first || self.troubled || !self.opened.is_empty() {
            (self.first, self.troubled) = (false, false);
            let splits = std::mem::take(&mut self.opened);
            let notice = Notice::SplitsFound { group: parts.group, splits };
            parts.control.post(ControlLetter::Notice(notice));
        }
        Ok(())
    }
}

impl Task for SourceTask {
    fn step(&mut self, now: Now) -> Next {
        if self.parts.stop.asked() {
            return Next::Done;
        }
        let spec = self.parts.spec.clone();
        match guarded(&spec.name, || self.discover()) {
            Ok(()) => {
                self.pause = 0;
                Next::Wait(Some(now.micros + self.parts.discovery_us))
            }
            Err(error) => {
                let again = error.fault == Fault::External;
                self.troubled = true;
                let notice = Notice::SourceFailed { group: self.parts.group, error };
                self.parts.control.post(ControlLetter::Notice(notice));
                if !again {
                    return Next::Done;
                }
                self.pause = (self.pause * 2).clamp(RETRY_US.0, RETRY_US.1);
                Next::Wait(Some(now.micros + self.pause))
            }
        }
    }
}
