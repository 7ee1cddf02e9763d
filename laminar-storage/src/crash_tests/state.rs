//! The small engine's state: one arena and one page file per shard, as the real engine keeps it.
//!
//! Each row is a key; one more entry counts the rows, so that every checkpoint has a hot block.

use std::path::{Path, PathBuf};

use crate::arena::{Arena, ArenaOptions, ScanCursor, TableId, TableKey, TableShape};
use crate::disk::{Blocking, Completion, Disk, SimDisk};
use crate::ids::{ObjectId, OperatorId, ShardId};
use crate::page_file::{Finish, PageFile, PageFileMark, WriteStep};
use crate::{Result, StorageError};

const OPTIONS: ArenaOptions = ArenaOptions { memory_limit: 64 << 20, ..ArenaOptions::new(ObjectId(5)) };
const TABLE: TableKey = TableKey { operator: OperatorId(1), part: 0 };
const COUNT: u64 = u64::MAX;

pub(super) struct ShardState {
    file: PageFile,
    arena: Arena,
    table: TableId,
    mark: Option<PageFileMark>,
}

fn path(shard: usize) -> PathBuf {
    PathBuf::from(format!("state/{shard:04}.pages"))
}

impl ShardState {
    /// The state of a checkpoint; empty without marks. The last mark counts, the others keep their space.
    pub(super) fn load(
        disk: &mut SimDisk,
        control: &mut SimDisk,
        shard: usize,
        marks: &[PageFileMark],
    ) -> Result<Self> {
        let path = path(shard);
        let (file, mut arena) = if marks.is_empty() {
            let removed = Blocking::new(control).remove_if_there(&path);
            removed.map_err(StorageError::disk("remove a page file without a checkpoint"))?;
            (PageFile::create(disk, &path, ShardId(shard as u16))?, Arena::new(OPTIONS)?)
        } else {
            let (file, mut arenas) = PageFile::load(disk, &path, ShardId(shard as u16), marks, |_| OPTIONS)?;
            (file, arenas.pop().unwrap())
        };
        let table = arena.open_table(TABLE, TableShape::fixed(8, 8))?;
        Ok(Self { file, arena, table, mark: None })
    }

    /// Whether a checkpoint's state can be loaded, every byte of it.
    pub(super) fn verify(disk: &mut dyn Disk, mark: PageFileMark) -> Result<()> {
        let path = path(usize::from(mark.shard.0));
        PageFile::load(disk, Path::new(&path), mark.shard, &[mark], |_| OPTIONS).map(|_| ())
    }

    pub(super) fn add(&mut self, row: u64) -> Result<()> {
        self.store(row, row)?;
        let count = self.get(COUNT).unwrap_or(0) + 1;
        self.store(COUNT, count)
    }

    fn store(&mut self, key: u64, value: u64) -> Result<()> {
        let (slot, _) = self.arena.upsert(self.table, hash(key), &key.to_be_bytes())?;
        self.arena.value_mut(self.table, slot).copy_from_slice(&value.to_le_bytes());
        Ok(())
    }

    fn get(&self, key: u64) -> Option<u64> {
        let slot = self.arena.get(self.table, hash(key), &key.to_be_bytes())?;
        self.arena.value(self.table, slot).try_into().ok().map(u64::from_le_bytes)
    }

    /// All rows, sorted; an error when the entries contradict each other.
    pub(super) fn rows(&self) -> std::result::Result<Vec<u64>, String> {
        let mut rows = Vec::new();
        let mut contradiction = None;
        let mut cursor = Some(ScanCursor::default());
        while let Some(at) = cursor {
            cursor = self.arena.scan(self.table, at, 100, |_, key, value| {
                let key = u64::from_be_bytes(key.try_into().unwrap());
                let value = u64::from_le_bytes(value.try_into().unwrap());
                if key != COUNT {
                    rows.push(key);
                    contradiction = contradiction.or((key != value).then_some((key, value)));
                }
            });
        }
        rows.sort_unstable();
        let count = self.get(COUNT).unwrap_or(0);
        match contradiction {
            Some(pair) => Err(format!("S1: row and its value differ: {pair:?}")),
            None if count != rows.len() as u64 => Err(format!("S1: {} rows, counted {count}", rows.len())),
            None => Ok(rows),
        }
    }

    /// The barrier: what is stored from now on belongs to the next checkpoint.
    pub(super) fn freeze(&mut self) {
        self.arena.freeze();
        self.mark = None;
    }

    /// Goes on with writing the frozen state; the mark when it is durable.
    pub(super) fn write(&mut self, disk: &mut SimDisk) -> Result<Option<PageFileMark>> {
        if self.mark.is_none()
            && self.file.write_step(&mut self.arena, disk, &mut (32 << 10))? == WriteStep::Done
            && let Finish::Done(mark) = self.file.finish(disk)?
        {
            self.mark = Some(mark);
        }
        Ok(self.mark)
    }

    pub(super) fn complete(&mut self, completion: &Completion) -> Result<bool> {
        match self.file.complete(completion) {
            // Asked again with the next step.
            Err(StorageError::NoSpace { .. }) => Ok(true),
            other => other,
        }
    }

    pub(super) fn retain_only(&mut self, marks: &[PageFileMark]) {
        self.file.retain_only(marks);
    }
}

fn hash(key: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64(&key.to_be_bytes())
}
