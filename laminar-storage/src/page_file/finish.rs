//! The end of a checkpoint: tables, root, one sync, the mark.
//!
//! Invariant: the sync is submitted only after every write of the image completed, and the mark is handed out
//! only after the sync completed.

use super::file::{PageFile, Retained};
use super::image::ArenaImage;
use super::layout::{ArenaRow, encode_root, encode_table};
use super::mark::PageFileMark;
use super::slot::SmallLen;
use crate::disk::{Disk, DiskOp, Ticket};
use crate::error::{Result, StorageError};
use crate::ids::ObjectId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How far the end of a checkpoint is.
pub(super) enum Stage {
    /// Arenas are being written, or nothing is.
    Open,
    /// Tables and root are written; waiting for all writes.
    Written,
    /// Waiting for these syncs.
    Syncing(Vec<Ticket>),
}

/// What a call of [`PageFile::finish`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Call again after a completion.
    Pending,
    /// The image is durable under this mark.
    Done(PageFileMark),
}

impl PageFile {
    /// Ends a checkpoint after every arena's image was written; to be called again after completions until it is
    /// done. One sync, or none when nothing changed since the newest mark.
    ///
    /// # Errors
    /// `Order` while an arena is half written, or when a table would be longer than a slot (what stands in deltas is
    /// bounded so that it never is; see `fold`); `LogFailed` after a failed write or sync.
    pub fn finish(&mut self, disk: &mut dyn Disk) -> Result<Finish> {
        self.check_usable()?;
        if let Some(id) = self.writing.keys().next() {
            return Err(StorageError::Order { detail: format!("the image of pipeline {id} is only half written") });
        }
        if matches!(self.stage, Stage::Open) {
            if let (false, Some(mark)) = (self.changed, self.newest_mark()) {
                return Ok(Finish::Done(mark));
            }
            if !self.write_tables(disk)? {
                return Ok(Finish::Pending);
            }
        }
        if matches!(self.stage, Stage::Written) && self.writes_done() {
            self.submit_syncs(disk);
        }
        match &self.stage {
            Stage::Syncing(tickets) if tickets.is_empty() => {}
            _ => return Ok(Finish::Pending),
        }
        self.stage = Stage::Open;
        self.is_new = false;
        self.generation += 1;
        self.retained.extend(self.finishing.take());
        match self.newest_mark() {
            Some(mark) => Ok(Finish::Done(mark)),
            None => Err(StorageError::Order { detail: "an image was synced without a mark".into() }),
        }
    }

    /// `false`: the file must grow first.
    fn write_tables(&mut self, disk: &mut dyn Disk) -> Result<bool> {
        if self.extents.space.slots() == 0 {
            self.request_space(disk);
            return Ok(false);
        }
        let behind: Vec<ObjectId> =
            self.arenas.iter().filter(|(_, state)| state.sealed.is_none()).map(|(id, _)| *id).collect();
        for id in behind {
            if !self.write_table(disk, id)? {
                return Ok(false);
            }
        }
        let images: BTreeMap<ObjectId, Arc<ArenaImage>> =
            self.arenas.iter().filter_map(|(id, state)| Some((*id, Arc::clone(state.sealed.as_ref()?)))).collect();
        let row = |(id, image): (&ObjectId, &Arc<ArenaImage>)| ArenaRow {
            id: *id,
            offset: image.table_offset,
            len: image.table_len,
            crc: image.table_crc,
        };
        let rows: Vec<ArenaRow> = images.iter().map(row).collect();
        let root = encode_root(self.shard, self.generation, &rows);
        let room = SmallLen::of(root.len());
        let Some(root_offset) = room.and_then(|len| self.extents.take_small(len)) else {
            images.into_values().for_each(|image| ArenaImage::release(image, &mut self.extents));
            if room.is_none() {
                return Err(too_long(format!("the root of {} pipelines", rows.len())));
            }
            self.request_space(disk);
            return Ok(false);
        };
        let mark = PageFileMark {
            shard: self.shard,
            generation: self.generation,
            root_offset,
            root_len: root.len() as u32,
            root_crc: crc32c::crc32c(&root),
        };
        if self.is_new {
            self.emit_header(disk);
        }
        self.emit(disk, root_offset, root);
        self.flush(disk);
        self.finishing = Some(Retained { mark, images });
        self.changed = false;
        self.stage = Stage::Written;
        Ok(true)
    }

    fn write_table(&mut self, disk: &mut dyn Disk, id: ObjectId) -> Result<bool> {
        let Some(state) = self.arenas.get_mut(&id) else { return Ok(true) };
        let deltas: Vec<_> = state.deltas.values().map(|delta| delta.row).collect();
        let bytes = encode_table(id, &state.segments, &deltas);
        let room = SmallLen::of(bytes.len()).filter(|_| state.segments.len() + deltas.len() <= state.bounds.table_rows);
        let Some(room) = room else {
            let (segments, deltas) = (state.segments.len(), deltas.len());
            return Err(too_long(format!("the table of pipeline {id} with {segments} segments and {deltas} deltas")));
        };
        let Some(table_offset) = self.extents.take_small(room) else {
            self.request_space(disk);
            return Ok(false);
        };
        let image = ArenaImage {
            segments: state.segments.clone(),
            deltas,
            table_offset,
            table_len: bytes.len() as u32,
            table_crc: crc32c::crc32c(&bytes),
        };
        // The table was named when its space was taken; from now on the image names it.
        let named = image.name(&mut self.extents);
        debug_assert!(named, "an arena's newest state names impossible extents");
        self.extents.unname(table_offset);
        state.sealed = Some(Arc::new(image));
        self.emit(disk, table_offset, bytes);
        Ok(true)
    }

    fn submit_syncs(&mut self, disk: &mut dyn Disk) {
        let mut tickets = vec![disk.submit(DiskOp::Sync { file: self.file })];
        if self.is_new {
            for directory in self.path.ancestors().skip(1) {
                tickets.push(disk.submit(DiskOp::SyncDir { path: directory.to_owned() }));
            }
        }
        self.stage = Stage::Syncing(tickets);
    }
}

/// It would run into what lies behind its slot, so the checkpoint fails.
fn too_long(what: String) -> StorageError {
    StorageError::Order { detail: format!("{what} does not fit into a slot of the page file, so it is not written") }
}
