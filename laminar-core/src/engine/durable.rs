//! What makes a reactor's part of the engine durable: the engine's side of [`super::store::Store`].
//!
//! Invariant: without a data directory nothing is kept, and a checkpoint barrier is an epoch like
//! any other.

use super::EngineError;
use super::core::Engine;
use super::message::{Event, PublishedNote, StoredPart};
use super::push::Push;
use super::push_record;
use super::request_key::RequestKey;
use crate::control::home_of;
use crate::data::Batch;
use crate::ids::ObjectId;
use crate::operator::Barrier;
use crate::reactor::Now;
use laminar_storage::arena::Arena;

impl Engine {
    /// Appends pushed rows to the log, with the request that they come of and the rows that it is told; returns
    /// their position, none when nothing is kept.
    pub(super) fn log_pushed(
        &mut self,
        object: ObjectId,
        batch: &Batch,
        request: Option<(RequestKey, u64)>,
    ) -> Result<Option<u64>, EngineError> {
        let home = home_of(object, &self.shards);
        let Some(store) = self.store.as_mut() else { return Ok(None) };
        let record = push_record::encode(object, batch, request)?;
        store.append(home, &record).map(Some)
    }

    /// Everything up to here survives a power cut.
    pub(super) fn durable_lsn(&self) -> u64 {
        self.store.as_ref().map_or(u64::MAX, super::store::Store::durable)
    }

    /// All local chains have passed a checkpoint's barrier: what was frozen is written.
    pub(super) fn begin_store(&mut self, barrier: Barrier, entered: u64) {
        match self.store.as_mut() {
            Some(store) => store.begin(barrier, entered),
            None => {
                let part = StoredPart { reactor: self.me, ..StoredPart::default() };
                self.tell(Event::Stored { reactor: self.me, barrier, part });
            }
        }
    }

    /// Gives the disk its part of the turn.
    pub(super) fn pump_store(&mut self, now: Now) -> bool {
        let Some(store) = self.store.as_mut() else { return false };
        match store.pump((&mut self.fragments, &mut self.pushes), &self.stages, now.micros) {
            Ok((busy, done)) => {
                if let Some((barrier, part)) = done {
                    self.tell(Event::Stored { reactor: self.me, barrier, part });
                }
                busy
            }
            Err(error) => {
                self.store_failed(error);
                false
            }
        }
    }

    /// W4: nothing is accepted after a failed write or sync, and what waits for the log never is durable.
    pub(super) fn store_failed(&mut self, error: EngineError) {
        if let Some(store) = self.store.as_mut() {
            store.fail();
        }
        for pushed in std::mem::take(&mut self.pushed) {
            pushed.answer.refuse(&error);
        }
        self.tell(Event::Fatal(error));
        self.stop();
    }

    /// Reads restored state back, a piece in each turn, before somebody needs it. What cannot be read ends the engine.
    pub(super) fn load_ahead(&mut self) -> bool {
        if !self.loading {
            return false;
        }
        let held_up: Vec<ObjectId> = self.held_up().collect();
        let fragments = self.fragments.iter_mut().flatten().filter(|fragment| !held_up.contains(&fragment.pipeline));
        let of_fragments = fragments.flat_map(|fragment| &mut fragment.arenas);
        let of_requests = self.pushes.iter_mut().filter_map(Push::requests_arena).map(|(_, arena)| arena);
        let untaken = self.restored.iter_mut().map(|(_, arena)| arena);
        match of_fragments.chain(of_requests).chain(untaken).find(|arena| !arena.is_whole()).map(Arena::load_step) {
            Some(Ok(_)) => true,
            Some(Err(error)) => {
                self.store_failed(error.into());
                false
            }
            None => {
                self.loading = !held_up.is_empty();
                false
            }
        }
    }

    /// A checkpoint was published: what only older ones needed is freed, sources are told.
    pub(super) fn published(&mut self, note: &PublishedNote) {
        if let Some(store) = self.store.as_mut() {
            let floor = note.wal_floors.get(usize::from(self.me.0)).copied().unwrap_or(0);
            store.published(&note.marks, floor);
        }
        for stage in &mut self.stages {
            stage.published(note.number);
        }
        for cursor in std::mem::take(&mut self.checkpoint_cursors) {
            let split = self.splits.iter_mut().find(|s| s.feed.group == cursor.group && s.key == cursor.split);
            if let Some(split) = split {
                split.checkpointed(&cursor.position);
            }
        }
    }

    /// What is kept cannot be opened: the engine stops before it begins.
    pub(super) fn refuse(&mut self, error: EngineError) {
        self.tell(Event::Refused(error));
        self.stop();
    }

    /// Whether the disk has finished something that no turn has seen.
    pub(super) fn store_has_news(&mut self) -> bool {
        self.store.as_mut().is_some_and(super::store::Store::has_news)
    }

    /// Ends the log at shutdown.
    pub(super) fn close_store(&mut self) {
        if let Some(store) = self.store.take()
            && let Err(error) = store.close()
        {
            self.tell(Event::Fatal(error));
        }
    }
}
