//! Publication: the catalog's changes and checkpoints, one writer.
//!
//! Invariants (C1, C4): a checkpoint is published only when every reactor has reported its part
//! durable; one that cannot be published changes nothing visible; DDL is acknowledged when its record
//! is synced.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::catalog::Entry;
use super::core::Control;
use crate::connector::{Position, SplitKey};
use crate::engine::kept_plan;
use crate::engine::message::{Command, Cursor, PublishedNote, StoredPart};
use crate::engine::status::ObjectKind;
use crate::engine::{ENGINE_ISLAND, EngineError, GroupId, Reply, page_marks};
use crate::ids::{CheckpointNumber, IslandId, Lsn, ObjectId, ReactorId};
use crate::operator::Barrier;
use laminar_storage::StorageError;
use laminar_storage::crash_point::{CrashPoint, reach};
use laminar_storage::manifest::{
    CatalogChange, CatalogEntry, CheckpointDraft, Cursor as KeptCursor, IslandState, ObjectKind as KeptKind,
    PageFileMark as KeptMark, WalMark,
};
use laminar_storage::wal::{WalLog, remove as remove_log};

/// A checkpoint whose parts are being collected.
#[derive(Default)]
pub struct Collecting {
    cursors: Vec<Cursor>,
    parts: Vec<StoredPart>,
    /// Pipelines and sinks whose state it holds, with what they read when its barrier was injected: a group
    /// may be gone when the parts are there.
    members: Vec<(ObjectId, Vec<Place>)>,
    /// Who waits for it.
    pub(super) replies: Vec<Reply<CheckpointNumber>>,
}

/// Where the splits of a group go on that no reactor reports, because they are not open.
struct Place {
    group: GroupId,
    source: ObjectId,
    positions: BTreeMap<SplitKey, Position>,
}

impl Place {
    /// Where the splits stood at a barrier.
    fn cursors(&self, reported: &[Cursor]) -> Vec<KeptCursor> {
        let mut positions = self.positions.clone();
        for cursor in reported.iter().filter(|cursor| cursor.group == self.group) {
            positions.insert(cursor.split.clone(), cursor.position.clone());
        }
        let kept = |(split, position): (SplitKey, Position)| KeptCursor {
            split: format!("{}/{}", self.source, split.0),
            position: position.0,
        };
        positions.into_iter().map(kept).collect()
    }
}

impl Control {
    /// A reactor has passed a checkpoint's barrier.
    pub(super) fn collect_cursors(&mut self, barrier: Barrier, cursors: Vec<Cursor>) {
        for cursor in &cursors {
            if let Some(held) = self.catalog.groups.get_mut(&cursor.group).filter(|group| group.held) {
                held.positions.insert(cursor.split.clone(), cursor.position.clone());
            }
        }
        if barrier.checkpoint.is_some() {
            self.collecting.cursors.extend(cursors);
        }
    }

    /// A checkpoint's barrier is about to be injected: who takes part is known now.
    pub(super) fn begin_collecting(&mut self) {
        let joining = |id: &ObjectId| self.deploying.as_ref().is_some_and(|flight| flight.holds(*id));
        let members = self
            .catalog
            .entries
            .iter()
            .filter(|(id, entry)| entry.failure().is_none() && !joining(id))
            .filter(|(_, entry)| !entry.fragments.is_empty() || entry.kind() == ObjectKind::Sink)
            .map(|(id, entry)| (*id, entry.groups.iter().filter_map(|group| self.place(*group)).collect()))
            .collect();
        let replies = std::mem::take(&mut self.checkpoints);
        self.collecting = Collecting { members, replies, ..Collecting::default() };
    }

    /// A reactor's part is durable; with the last one the checkpoint is published.
    pub(super) fn part_stored(&mut self, reactor: ReactorId, barrier: Barrier, part: StoredPart, now: u64) {
        self.collecting.parts.push(part);
        if self.coordinator.stored(reactor, barrier.epoch).is_none() {
            return;
        }
        self.coordinator.published();
        let collecting = std::mem::take(&mut self.collecting);
        if self.store.is_none() {
            return;
        }
        let draft = self.draft(barrier, &collecting);
        reach(CrashPoint::CheckpointDurable);
        let Some(store) = self.store.as_mut() else { return };
        // The number stands in the outboxes already: it was given with the barrier.
        let number = barrier.checkpoint.unwrap_or_else(|| store.publisher.next_number());
        match store.publisher.publish_numbered(store.disk.as_mut(), number, draft) {
            Ok(()) => {
                reach(CrashPoint::CheckpointPublished);
                self.newest_checkpoint = Some((number, now));
                self.tell_published(number);
                for reply in collecting.replies {
                    reply.send(Ok(number));
                }
            }
            Err(error) => {
                let no_space = matches!(error, StorageError::NoSpace { .. });
                let error: EngineError = error.into();
                if no_space {
                    // Nothing has changed; the next checkpoint tries again.
                    self.coordinator.data_flows();
                } else {
                    self.fatal(&error);
                }
                for reply in collecting.replies {
                    reply.send(Err(error.clone()));
                }
            }
        }
    }

    fn draft(&self, barrier: Barrier, collecting: &Collecting) -> CheckpointDraft {
        let mut engine = IslandState { island: ENGINE_ISLAND, epoch: barrier.epoch, ..IslandState::default() };
        let mut wal = Vec::new();
        for part in &collecting.parts {
            let marks = part.marks.iter().map(|(shard, bytes)| KeptMark { shard: *shard, bytes: bytes.clone() });
            engine.pages.extend(marks);
            engine.outboxes.extend(part.outboxes.iter().cloned());
            if let Some(store) = &self.store {
                let log = WalLog { incarnation: store.incarnation, reactor: part.reactor };
                wal.push(WalMark { log, end: None, floor: Lsn(part.wal), shards: Vec::new() });
            }
        }
        engine.pages.sort_by_key(|mark| mark.shard);
        wal.sort_by_key(|mark| mark.log);
        let mut islands = vec![engine];
        for (id, places) in collecting.members.iter().filter(|(id, _)| self.catalog.entries.contains_key(id)) {
            let cursors = places.iter().flat_map(|place| place.cursors(&collecting.cursors)).collect();
            islands.push(IslandState {
                island: IslandId(id.0),
                epoch: barrier.epoch,
                cursors,
                pages: Vec::new(),
                outboxes: Vec::new(),
            });
        }
        // The manifest lists islands by id.
        islands.sort_by_key(|state| state.island);
        CheckpointDraft { shard_count: u32::from(self.shards.shards()), islands, wal }
    }

    fn place(&self, group: GroupId) -> Option<Place> {
        let state = self.catalog.groups.get(&group)?;
        Some(Place { group, source: state.spec.id, positions: state.positions.clone() })
    }

    /// Tells the reactors what they may free, and removes logs that nothing needs.
    fn tell_published(&mut self, number: CheckpointNumber) {
        let Some(store) = self.store.as_mut() else { return };
        let retention = store.publisher.retention();
        let incarnation = store.incarnation;
        let floor = |reactor: u16| retention.wal_floor(WalLog { incarnation, reactor: ReactorId(reactor) }).0;
        let note = Arc::new(PublishedNote {
            number,
            marks: page_marks(retention.kept()),
            wal_floors: (0..self.reactors.len() as u16).map(floor).collect(),
        });
        let over: Vec<WalLog> =
            store.old_logs.iter().copied().filter(|log| retention.wal_floor(*log) == Lsn(u64::MAX)).collect();
        for (index, log) in over.iter().enumerate() {
            if index > 0 {
                reach(CrashPoint::FreedHalf);
            }
            if remove_log(store.disk.as_mut(), *log).is_ok() {
                store.old_logs.retain(|kept| kept != log);
            }
        }
        self.broadcast(|| Command::Published(note.clone()));
    }

    /// Records a change of the catalog durably.
    pub(super) fn record(&mut self, entries: &[(ObjectId, Entry)], drops: &[ObjectId]) -> Result<(), EngineError> {
        if self.store.is_none() {
            return Ok(());
        }
        let upserts = entries.iter().map(|(_, entry)| kept_entry(entry)).collect::<Result<Vec<_>, _>>()?;
        self.publish_catalog(CatalogChange { upserts, drops: drops.to_vec() })
    }

    /// Records the states of objects, so that a restart does not run what has failed or is paused.
    pub(super) fn record_states(&mut self, objects: &[ObjectId]) -> Result<(), EngineError> {
        if self.store.is_none() {
            return Ok(());
        }
        let entries = objects.iter().filter_map(|id| self.catalog.entries.get(id));
        let upserts = entries.map(kept_entry).collect::<Result<Vec<_>, _>>()?;
        self.publish_catalog(CatalogChange { upserts, drops: Vec::new() })
    }

    fn publish_catalog(&mut self, change: CatalogChange) -> Result<(), EngineError> {
        let Some(store) = self.store.as_mut() else { return Ok(()) };
        match store.publisher.publish_catalog(store.disk.as_mut(), change) {
            Ok(_) => {
                reach(CrashPoint::DdlDurable);
                Ok(())
            }
            Err(error @ StorageError::NoSpace { .. }) => Err(error.into()),
            Err(error) => {
                let error: EngineError = error.into();
                self.fatal(&error);
                Err(error)
            }
        }
    }
}

fn kept_entry(entry: &Entry) -> Result<CatalogEntry, EngineError> {
    let sql = String::from_utf8(entry.record.clone()).map_err(|_| EngineError::Refused {
        name: entry.spec.name().to_owned(),
        reason: "its catalog record is not UTF-8".into(),
    })?;
    Ok(CatalogEntry {
        id: entry.spec.id(),
        name: entry.spec.name().to_owned(),
        kind: match entry.kind() {
            ObjectKind::Source | ObjectKind::PushSource => KeptKind::Source,
            ObjectKind::Table => KeptKind::Table,
            ObjectKind::Stream => KeptKind::Stream,
            ObjectKind::View => KeptKind::View,
            ObjectKind::Sink => KeptKind::Sink,
        },
        sql,
        plan: kept_plan::write(&entry.spec)?,
        plan_version: kept_plan::PLAN_VERSION,
        settings: entry.state.kept(),
    })
}
