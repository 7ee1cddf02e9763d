//! Brings an engine's durable parts back at start.
//!
//! Invariants: runs before any reactor turns and may block; what it returns
//! is one checkpoint with everything pushed after it, or nothing in a fresh directory.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::attach::{arena_bytes, pipeline_of};
use super::outboxes::{FoundOutbox, Outboxes};
use super::requests::arena_options;
use super::spill::{spill_from, spill_to};
use super::status::ObjectState;
use super::store::{ReactorDisk, Store, page_path};
use super::{EngineError, NewObject, StartPhase, StartProgress, frame_bytes, kept_plan, push_record};
use crate::graph::{MemoryPolicy, ObjectSpec};
use crate::ids::{CheckpointNumber, Epoch, Incarnation, IslandId, ObjectId, ReactorId, ShardId};
use crate::shard::ShardMap;
use laminar_storage::arena::{Arena, ArenaOptions};
use laminar_storage::disk::{Blocking, Disk};
use laminar_storage::ids::OutboxPosition;
use laminar_storage::lock::DirectoryLock;
use laminar_storage::log::{DirectoryId, LogOptions};
use laminar_storage::manifest::{Checkpoint, IslandState, Publisher, PublisherOptions};
use laminar_storage::outbox::{OUTBOX_LOG, OutboxReader, OutboxStart};
use laminar_storage::page_file::{PageFile, PageFileMark};
use laminar_storage::recovery::{Recovered, RecoveryOptions, WalReplay, recover};
use laminar_storage::wal::{Wal, WalLog};
use laminar_storage::{Result, StorageError};

/// The island under which a checkpoint keeps what belongs to the engine as a whole.
pub const ENGINE_ISLAND: IslandId = IslandId(0);

/// Bytes of an outbox read at once.
const OUTBOX_READ_BYTES: usize = 4 << 20;

/// What the control thread keeps.
pub struct ControlStore {
    /// Its disk.
    pub disk: Box<dyn Disk + Send>,
    /// The writer of the manifest.
    pub publisher: Publisher,
    /// The data directory.
    pub directory: DirectoryId,
    /// This process life.
    pub incarnation: Incarnation,
    /// Logs of former lives.
    pub old_logs: Vec<WalLog>,
    /// Keeps other processes off the data directory.
    pub lock: Option<DirectoryLock>,
}

/// What the catalog and the newest checkpoint hold.
#[derive(Default)]
pub struct Boot {
    /// Objects, by id, with what is kept of their states.
    pub objects: Vec<(NewObject, ObjectState)>,
    /// What the checkpoint holds of each pipeline and sink.
    pub states: BTreeMap<ObjectId, IslandState>,
    /// The epoch of the checkpoint.
    pub epoch: Option<Epoch>,
    /// The number of the checkpoint.
    pub checkpoint: Option<CheckpointNumber>,
    /// Pushed records that are newer, in order.
    pub replay: Vec<(ObjectId, Vec<u8>)>,
    /// The id that the next object gets.
    pub next_id: u64,
    /// Things to tell the operator.
    pub notes: Vec<String>,
}

/// How one reactor opens its durable part, on its own thread.
pub struct ReactorPlan {
    reactor: ReactorId,
    shards: Vec<ShardId>,
    marks: Vec<PageFileMark>,
    outboxes: Vec<OutboxStart>,
    directory: DirectoryId,
    incarnation: Incarnation,
    /// Of how many shards these are.
    all_shards: u16,
    /// Objects whose state is wanted, with their memory limits.
    objects: Arc<BTreeMap<ObjectId, (u64, MemoryPolicy)>>,
    request_keys: u64,
    volume_bytes: u64,
    progress: Arc<StartProgress>,
}

/// Everything durable, opened.
pub struct Restored {
    /// Shards and their places.
    pub shards: ShardMap,
    /// For the control thread.
    pub control: ControlStore,
    /// For the reactors.
    pub reactors: Vec<ReactorPlan>,
    /// What to deploy again.
    pub boot: Boot,
    /// Bytes of state that the reactors load.
    pub state_bytes: u64,
}

/// What restoring needs to know.
pub struct RestoreOptions {
    /// Number of reactors.
    pub reactors: u16,
    /// Shards of a fresh directory.
    pub shards: u16,
    /// Memory limit of a query that declares none, in bytes.
    pub state_bytes: u64,
    /// Idempotency keys that a table or push source knows.
    pub request_keys: u64,
    /// Identity for a fresh directory.
    pub fresh: DirectoryId,
    /// Sizes of the manifest.
    pub publisher: PublisherOptions,
    /// Size of the volume: the logs' segments fit it.
    pub volume_bytes: u64,
    /// Told how far it is.
    pub progress: Arc<StartProgress>,
}

/// Reads what the control thread needs, and plans what each reactor opens.
///
/// # Errors
/// What makes a start impossible; the message says what to do.
pub fn restore(options: &RestoreOptions, mut disk: Box<dyn Disk + Send>) -> std::result::Result<Restored, EngineError> {
    let recovery = RecoveryOptions { fresh_directory: options.fresh, publisher: options.publisher };
    let mut state_bytes = 0;
    let mut measured = |disk: &mut dyn Disk, _: DirectoryId, checkpoint: &Checkpoint| -> Result<()> {
        state_bytes = verify(disk, checkpoint)?;
        Ok(())
    };
    let mut recovered = recover(disk.as_mut(), recovery, &mut measured)?;
    let count = recovered.checkpoint.as_ref().map_or(u32::from(options.shards), |c| c.draft.shard_count);
    let shards = ShardMap::new(count as u16, options.reactors);
    let boot = boot(disk.as_mut(), &mut recovered, &options.progress)?;
    let marks = page_marks(recovered.publisher.retention().kept());
    let memory = |spec: &ObjectSpec| {
        let memory = spec.memory().unwrap_or_default();
        (memory.limit.unwrap_or(options.state_bytes), memory.policy)
    };
    let objects = boot.objects.iter().map(|(object, _)| (object.spec.id(), memory(&object.spec))).collect();
    let objects: Arc<BTreeMap<ObjectId, (u64, MemoryPolicy)>> = Arc::new(objects);
    let plan = |reactor: ReactorId| {
        let mine: Vec<ShardId> = shards.shards_of(reactor).collect();
        ReactorPlan {
            reactor,
            marks: marks.iter().filter(|mark| mine.contains(&mark.shard)).copied().collect(),
            outboxes: recovered.outboxes.iter().filter(|start| mine.contains(&start.shard)).cloned().collect(),
            shards: mine,
            all_shards: shards.shards(),
            directory: recovered.directory,
            incarnation: recovered.incarnation,
            objects: objects.clone(),
            request_keys: options.request_keys,
            volume_bytes: options.volume_bytes,
            progress: options.progress.clone(),
        }
    };
    let reactors = (0..options.reactors).map(ReactorId).map(plan).collect();
    let control = ControlStore {
        disk,
        publisher: recovered.publisher,
        directory: recovered.directory,
        incarnation: recovered.incarnation,
        old_logs: recovered.wal.iter().map(|replay| replay.log).collect(),
        lock: None,
    };
    Ok(Restored { shards, control, reactors, boot, state_bytes })
}

/// Checks that the page files of a checkpoint can be used; returns the bytes of its state.
fn verify(disk: &mut dyn Disk, checkpoint: &Checkpoint) -> Result<u64> {
    let mut bytes = 0;
    for mark in page_marks(std::slice::from_ref(checkpoint)) {
        let page = PageFile::open(disk, &page_path(mark.shard), mark.shard, &[mark])?;
        bytes += page.marked_bytes();
        page.close(disk);
    }
    Ok(bytes)
}

/// Images that checkpoints name, oldest first.
pub fn page_marks(checkpoints: &[Checkpoint]) -> Vec<PageFileMark> {
    let mut marks: Vec<PageFileMark> = Vec::new();
    for checkpoint in checkpoints {
        let Some(engine) = checkpoint.island(ENGINE_ISLAND) else { continue };
        for mark in engine.pages.iter().filter_map(|mark| PageFileMark::decode(&mark.bytes)) {
            // A checkpoint without change names the image of the one before.
            marks.retain(|earlier| *earlier != mark);
            marks.push(mark);
        }
    }
    marks
}

fn boot(
    disk: &mut dyn Disk,
    recovered: &mut Recovered,
    progress: &StartProgress,
) -> std::result::Result<Boot, EngineError> {
    let mut boot = Boot { next_id: recovered.catalog.next_object_id().0, ..Boot::default() };
    boot.notes = std::mem::take(&mut recovered.notes);
    let entries = recovered.catalog.entries.values();
    for (entry, (spec, state)) in entries.clone().zip(kept_plan::read_all(entries)?) {
        boot.objects.push((NewObject { spec, record: entry.sql.clone().into_bytes() }, state));
    }
    if let Some(checkpoint) = &recovered.checkpoint {
        boot.checkpoint = Some(checkpoint.number);
        boot.epoch = epoch_of(checkpoint);
        boot.states.extend(states_of(checkpoint).map(|(object, state)| (object, state.clone())));
    }
    progress.enter(StartPhase::ReadingLog, recovered.wal.iter().map(WalReplay::bytes).sum());
    for replay in &recovered.wal {
        read_log(disk, recovered.directory, replay, &mut |object, record| boot.replay.push((object, record)))?;
        progress.add(StartPhase::ReadingLog, replay.bytes());
    }
    Ok(boot)
}

/// The epoch of a checkpoint.
pub fn epoch_of(checkpoint: &Checkpoint) -> Option<Epoch> {
    checkpoint.island(ENGINE_ISLAND).map(|engine| engine.epoch)
}

/// What a checkpoint holds of each pipeline and sink.
pub fn states_of(checkpoint: &Checkpoint) -> impl Iterator<Item = (ObjectId, &IslandState)> {
    let states = checkpoint.draft.islands.iter().filter(|state| state.island != ENGINE_ISLAND);
    states.map(|state| (ObjectId(state.island.0), state))
}

/// Reads the records of a log that a start replays: their objects and bytes.
///
/// # Errors
/// The storage's.
pub fn read_log(
    disk: &mut dyn Disk,
    directory: DirectoryId,
    replay: &WalReplay,
    into: &mut dyn FnMut(ObjectId, Vec<u8>),
) -> Result<()> {
    let mut reader = replay.open(disk, directory)?;
    while let Some(record) = reader.next(disk)? {
        if replay.wants(&record)
            && let Some(object) = push_record::object(&record.payload)
        {
            into(object, record.payload);
        }
    }
    Ok(())
}

impl ReactorPlan {
    /// Opens log, page files and outboxes. Blocks. Returns the state by local shard.
    ///
    /// # Errors
    /// What makes a start impossible.
    pub fn open(self, mut disk: ReactorDisk) -> std::result::Result<(Store, Vec<(usize, Arena)>), EngineError> {
        let options = LogOptions::default().on_volume(self.volume_bytes);
        let wal = Wal::create(self.directory, self.incarnation, self.reactor, options)?;
        // Reads and blocking changes first: opening a page file leaves operations in flight.
        for shard in self.shards.iter().filter(|shard| self.marks_of(**shard).is_empty()) {
            // No checkpoint names anything in it: a file that is there was begun and never published.
            let removed = Blocking::new(disk.as_mut()).remove_if_there(&page_path(*shard));
            removed.map_err(StorageError::disk("remove an unused page file"))?;
        }
        let mut found = Vec::new();
        for start in self.outboxes.clone() {
            found.push(read_outbox(disk.as_mut(), self.directory, start)?);
        }
        let mut pages = Vec::new();
        let mut arenas = Vec::new();
        for (slot, shard) in self.shards.iter().enumerate() {
            let (page, state) = self.open_page_file(disk.as_mut(), *shard)?;
            self.progress.add(StartPhase::LoadingState, page.marked_bytes());
            pages.push(page);
            arenas.extend(state.into_iter().map(|arena| (slot, arena)));
        }
        self.spill(&mut arenas, disk.as_mut());
        let options = OUTBOX_LOG.on_volume(self.volume_bytes);
        let outboxes = Outboxes::new(self.directory, self.incarnation, options, found);
        Ok((Store::new(self.reactor, disk, wal, pages, outboxes), arenas))
    }

    /// Gives state that is larger than its query's limit a place in spill files, before anything of it is read back
    /// into memory. Where the disk has no room for that, the query will be full.
    fn spill(&self, arenas: &mut [(usize, Arena)], disk: &mut dyn Disk) {
        for (object, (limit, _)) in self.objects.iter().filter(|(_, memory)| memory.1 == MemoryPolicy::Spill) {
            let share = limit / u64::from(self.all_shards) * self.shards.len() as u64;
            let mine = |arena: &Arena| pipeline_of(arena.id()) == *object;
            let mut held: u64 = arenas.iter().map(|(_, arena)| arena).filter(|a| mine(a)).map(Arena::bytes_used).sum();
            if held < spill_from(share) {
                continue;
            }
            for (_, arena) in arenas.iter_mut().filter(|(_, arena)| mine(arena)) {
                while held > spill_to(share) {
                    match arena.spill(disk) {
                        Ok(0) => break,
                        Ok(bytes) => held -= bytes,
                        Err(_) => return,
                    }
                }
            }
        }
    }

    fn marks_of(&self, shard: ShardId) -> Vec<PageFileMark> {
        self.marks.iter().filter(|mark| mark.shard == shard).copied().collect()
    }

    fn open_page_file(&self, disk: &mut dyn Disk, shard: ShardId) -> Result<(PageFile, Vec<Arena>)> {
        let path = page_path(shard);
        let mine = self.marks_of(shard);
        if mine.is_empty() {
            return Ok((PageFile::create(disk, &path, shard)?, Vec::new()));
        }
        let (mut page, arenas) = PageFile::restore(disk, &path, shard, &mine, |id| {
            let (limit, policy) = self.objects.get(&pipeline_of(id)).copied().unwrap_or_default();
            let state = ArenaOptions { memory_limit: arena_bytes(limit, policy), ..ArenaOptions::new(id) };
            arena_options(id, self.request_keys).unwrap_or(state)
        })?;
        let known = |arena: &Arena| self.objects.contains_key(&pipeline_of(arena.id()));
        let (kept, gone): (Vec<Arena>, Vec<Arena>) = arenas.into_iter().partition(known);
        for arena in gone {
            page.drop_arena(arena.id());
        }
        Ok((page, kept))
    }
}

/// Reads the frames of an outbox that targets may lack.
///
/// # Errors
/// The storage's; a frame is none.
pub fn read_outbox(
    disk: &mut dyn Disk,
    directory: DirectoryId,
    start: OutboxStart,
) -> std::result::Result<FoundOutbox, EngineError> {
    let reader = OutboxReader::new(directory, start.sink, start.shard);
    let first = start.kept.first().map_or(start.position, |first| first.first);
    let mut at: OutboxPosition = first.max(start.acknowledged);
    let mut frames = Vec::new();
    while at < start.position {
        for frame in reader.read(disk, at, start.position, OUTBOX_READ_BYTES)? {
            at = frame.position;
            let staged = frame_bytes::decode(&frame.payload).ok_or_else(|| {
                EngineError::Storage(format!("LDB-3032: a staged frame of sink {} cannot be read", start.sink))
            })?;
            frames.push((staged, frame.position));
        }
    }
    Ok(FoundOutbox { start, frames })
}
