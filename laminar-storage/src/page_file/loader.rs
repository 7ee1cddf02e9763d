//! From a mark back to arenas that can be used at once: tables, heads of deltas and map segments are read; all
//! else on first touch or by the loader (`source`), so that a restart does not take longer with more state.
//!
//! Invariants: every byte is verified before its first use; a checksum or structure that does not fit is an error
//! naming file and offset, never a wrong row.

use super::delta::{DeltaPage, HEADER_BYTES, decode, head_bytes};
use super::file::{PageFile, Retained};
use super::image::{ArenaImage, ArenaState};
use super::layout::{DeltaRow, FILE_VERSION, SLOT_BYTES, UNIT_BYTES, decode_header, decode_root, decode_table};
use super::mark::PageFileMark;
use super::slot::units;
use super::source::ImageSource;
use crate::arena::{Arena, ArenaOptions, PAGE_BYTES, SEGMENT_BYTES};
use crate::disk::Disk;
use crate::error::{Result, StorageError};
use crate::ids::{ObjectId, ShardId};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

impl PageFile {
    /// Opens the file of a shard. `marks`: what retained manifests name, oldest first; the last is the state to
    /// go on from, the others keep their space. Reads tables only.
    ///
    /// # Errors
    /// `Missing`, `Foreign`, `Version`, `Disk`; `Rot` or `Malformed` when the last mark does not verify. An older mark
    /// that does not verify is left out; see [`PageFile::retains`].
    pub fn open(disk: &mut dyn Disk, path: &Path, shard: ShardId, marks: &[PageFileMark]) -> Result<Self> {
        let name = || path.display().to_string();
        let file = disk.open(path).map_err(|error| match error.kind {
            crate::disk::DiskErrorKind::NotFound => {
                StorageError::Missing { file: name(), detail: format!("the page file of shard {shard} is gone") }
            }
            _ => StorageError::disk("open a page file")(error),
        })?;
        let mut this = Self::empty(path, file, shard);
        match this.read_marks(disk, marks) {
            Ok(()) => Ok(this),
            Err(error) => {
                this.close(disk);
                Err(error)
            }
        }
    }

    fn read_marks(&mut self, disk: &mut dyn Disk, marks: &[PageFileMark]) -> Result<()> {
        self.check_header(disk)?;
        let len = disk.len(self.file).map_err(StorageError::disk("measure a page file"))?;
        self.extents.space.grow(len / SLOT_BYTES);
        for (at, mark) in marks.iter().enumerate() {
            if self.retains(mark) {
                continue;
            }
            match self.read_mark(disk, mark) {
                Ok(retained) => self.retained.push(retained),
                // A read that failed says nothing about the bytes: the mark is not given up for it.
                Err(error) if at + 1 == marks.len() || matches!(error, StorageError::Disk { .. }) => return Err(error),
                Err(_) => {}
            }
        }
        // A generation that was begun and not published is not used again.
        self.generation = marks.iter().map(|mark| mark.generation).max().unwrap_or(0) + 2;
        Ok(())
    }

    /// Opens the file and reads every arena of the last mark back, whole.
    ///
    /// # Errors
    /// As [`PageFile::open`], [`PageFile::load_arena`] and [`Arena::load_step`].
    pub fn load(
        disk: &mut dyn Disk,
        path: &Path,
        shard: ShardId,
        marks: &[PageFileMark],
        options: impl FnMut(ObjectId) -> ArenaOptions,
    ) -> Result<(Self, Vec<Arena>)> {
        let (this, mut arenas) = Self::restore(disk, path, shard, marks, options)?;
        for arena in &mut arenas {
            while arena.load_step()? {}
        }
        Ok((this, arenas))
    }

    /// Opens the file and restores every arena of the last mark: each can be used at once, and is read back on first
    /// touch and by [`Arena::load_step`].
    ///
    /// # Errors
    /// As [`PageFile::open`] and [`PageFile::load_arena`].
    pub fn restore(
        disk: &mut dyn Disk,
        path: &Path,
        shard: ShardId,
        marks: &[PageFileMark],
        mut options: impl FnMut(ObjectId) -> ArenaOptions,
    ) -> Result<(Self, Vec<Arena>)> {
        let mut this = Self::open(disk, path, shard, marks)?;
        let ids = this.marked_arenas();
        let mut arenas = Vec::with_capacity(ids.len());
        for id in ids {
            arenas.push(this.load_arena(disk, options(id))?);
        }
        Ok((this, arenas))
    }

    /// Arenas that the newest mark names.
    pub fn marked_arenas(&self) -> Vec<ObjectId> {
        self.retained.last().map(|retained| retained.images.keys().copied().collect()).unwrap_or_default()
    }

    /// Bytes of the images that the newest mark names.
    pub fn marked_bytes(&self) -> u64 {
        let images = self.retained.last().into_iter().flat_map(|retained| retained.images.values());
        images.map(|image| image.bytes()).sum()
    }

    /// Whether a mark is kept: what it names can be loaded and is not overwritten.
    pub fn retains(&self, mark: &PageFileMark) -> bool {
        self.retained.iter().any(|retained| retained.mark == *mark)
    }

    /// Restores an arena as the newest mark names it; whatever was written of it since is forgotten.
    ///
    /// # Errors
    /// `Missing` when the mark does not name it, `Rot`, `Malformed`, `Disk`, `Arena` when memory is refused.
    pub fn load_arena(&mut self, disk: &mut dyn Disk, options: ArenaOptions) -> Result<Arena> {
        let id = options.id;
        let found = self.retained.last().and_then(|retained| retained.images.get(&id)).cloned();
        let Some(image) = found else {
            let detail = format!("the newest checkpoint holds no state of pipeline {id}");
            return Err(StorageError::Missing { file: self.path.display().to_string(), detail });
        };
        let (mut arena, mut state) = self.read_arena(disk, options, &image)?;
        if let Some(write) = self.writing.remove(&id) {
            write.discard(&mut self.extents);
        }
        if let Some(old) = self.arenas.remove(&id) {
            let is_newest = old.sealed.as_ref().is_some_and(|sealed| Arc::ptr_eq(sealed, &image));
            self.changed |= !is_newest;
            old.release(&mut self.extents);
        }
        super::fold::plan(&state, &mut arena);
        state.sealed = Some(image);
        self.arenas.insert(id, state);
        self.settle();
        Ok(arena)
    }

    fn read_arena(
        &mut self,
        disk: &mut dyn Disk,
        options: ArenaOptions,
        image: &ArenaImage,
    ) -> Result<(Arena, ArenaState)> {
        let id = options.id;
        let mut state = ArenaState::default();
        state.grow(image.segments.len());
        state.segments.clone_from(&image.segments);
        for row in image.segments.iter().filter(|row| row.offset != 0) {
            self.extents.name(row.offset, SLOT_BYTES);
        }
        let (mut heads, mut deltas) = (Vec::new(), Vec::new());
        for row in &image.deltas {
            let pages = self.read_head(disk, id, row)?;
            let segment_of = |page: &DeltaPage| image.segments.get(page.page as usize / (SEGMENT_BYTES / PAGE_BYTES));
            if pages.iter().any(|page| segment_of(page).is_none()) {
                return Err(self.malformed(row.offset, "a delta names a page outside its arena".into()));
            }
            let applies = |page: &&DeltaPage| segment_of(page).is_some_and(|row_of| row_of.generation < row.generation);
            let living: Vec<(u32, u64)> = pages.iter().filter(applies).map(|page| (page.page, page.mask)).collect();
            self.extents.name(row.offset, units(row.len as usize));
            deltas.push((*row, living));
            heads.push((row.offset, pages));
        }
        let first = state.add_deltas(&deltas, &mut self.extents);
        let heads: Vec<_> = (first..).zip(heads).map(|(number, (offset, pages))| (number, offset, pages)).collect();
        let path = self.path.display().to_string();
        let reader = disk.reader(self.file).map_err(StorageError::disk("read a page file"))?;
        let source = ImageSource::new(reader, path, id, &state, &heads);
        let has_bytes = source.has_bytes();
        Ok((Arena::restore(options, &has_bytes, Box::new(source))?, state))
    }

    /// The pages of a delta.
    fn read_head(&self, disk: &mut dyn Disk, arena: ObjectId, row: &DeltaRow) -> Result<Vec<DeltaPage>> {
        let no_delta =
            || self.malformed(row.offset, format!("no delta of pipeline {arena} of generation {}", row.generation));
        if (row.len as usize) < HEADER_BYTES {
            return Err(no_delta());
        }
        let mut header = [0; HEADER_BYTES];
        self.read_exact(disk, row.offset, &mut header)?;
        // Not verified yet: a count that is wrong leads to a head that is not.
        let bytes = head_bytes(&header, row.len as usize).unwrap_or(HEADER_BYTES);
        let head = self.read_checked(disk, row.offset, bytes as u32, row.crc, "the head of a delta")?;
        decode(&head, row.len as usize, arena, row.generation).ok_or_else(no_delta)
    }

    fn check_header(&self, disk: &mut dyn Disk) -> Result<()> {
        let mut bytes = [0; 32];
        self.read_exact(disk, 0, &mut bytes)?;
        let (version, shard) = decode_header(&bytes).map_err(|what| self.rot(0, what.into()))?;
        let file = || self.path.display().to_string();
        if version != FILE_VERSION {
            return Err(StorageError::Version { file: file(), found: version, supported: FILE_VERSION });
        }
        if shard != self.shard {
            let detail = format!("it is the page file of shard {shard}, not of shard {}", self.shard);
            return Err(StorageError::Foreign { file: file(), detail });
        }
        Ok(())
    }

    fn read_mark(&mut self, disk: &mut dyn Disk, mark: &PageFileMark) -> Result<Retained> {
        if mark.shard != self.shard {
            let detail = format!("the checkpoint names shard {} here", mark.shard);
            return Err(StorageError::Foreign { file: self.path.display().to_string(), detail });
        }
        let mut images = BTreeMap::new();
        match self.read_images(disk, mark, &mut images) {
            Ok(()) => Ok(Retained { mark: *mark, images }),
            Err(error) => {
                // What it has named so far is nobody's.
                images.into_values().for_each(|image| ArenaImage::release(image, &mut self.extents));
                self.settle();
                Err(error)
            }
        }
    }

    /// Reads and names what a mark names.
    fn read_images(
        &mut self,
        disk: &mut dyn Disk,
        mark: &PageFileMark,
        images: &mut BTreeMap<ObjectId, Arc<ArenaImage>>,
    ) -> Result<()> {
        let root = self.read_checked(disk, mark.root_offset, mark.root_len, mark.root_crc, "a root")?;
        let rows = decode_root(&root, mark.shard, mark.generation)
            .ok_or_else(|| self.malformed(mark.root_offset, format!("no root of generation {}", mark.generation)))?;
        for row in rows {
            let known = self.retained.iter().filter_map(|retained| retained.images.get(&row.id));
            let same = known.into_iter().find(|image| image.table_offset == row.offset && image.table_crc == row.crc);
            if let Some(image) = same {
                images.insert(row.id, Arc::clone(image));
                continue;
            }
            let table = self.read_checked(disk, row.offset, row.len, row.crc, "an arena table")?;
            let (segments, deltas) = decode_table(&table, row.id)
                .ok_or_else(|| self.malformed(row.offset, format!("no table of pipeline {}", row.id)))?;
            let image =
                ArenaImage { segments, deltas, table_offset: row.offset, table_len: row.len, table_crc: row.crc };
            if !image.name(&mut self.extents) {
                return Err(self.malformed(row.offset, "the table names space that is not the arena's".into()));
            }
            images.insert(row.id, Arc::new(image));
        }
        if !self.extents.name(mark.root_offset, units(mark.root_len as usize)) {
            return Err(self.malformed(mark.root_offset, "the root lies in space that is not its own".into()));
        }
        Ok(())
    }

    fn read_checked(&self, disk: &mut dyn Disk, offset: u64, len: u32, crc: u32, what: &str) -> Result<Vec<u8>> {
        if u64::from(len) > SLOT_BYTES || !offset.is_multiple_of(UNIT_BYTES) {
            return Err(self.malformed(offset, format!("{what} of {len} bytes cannot lie here")));
        }
        let mut bytes = vec![0; len as usize];
        self.read_exact(disk, offset, &mut bytes)?;
        if crc32c::crc32c(&bytes) != crc {
            return Err(self.rot(offset, format!("{what} of {len} bytes fails its checksum")));
        }
        Ok(bytes)
    }

    fn read_exact(&self, disk: &mut dyn Disk, offset: u64, into: &mut [u8]) -> Result<()> {
        let got = disk.read_at(self.file, offset, into).map_err(StorageError::disk("read a page file"))?;
        if got < into.len() {
            let detail = format!("the file ends {} bytes too early", into.len() - got);
            return Err(self.rot(offset + got as u64, detail));
        }
        Ok(())
    }

    fn rot(&self, offset: u64, detail: String) -> StorageError {
        StorageError::Rot { file: self.path.display().to_string(), offset, detail }
    }

    fn malformed(&self, offset: u64, detail: String) -> StorageError {
        StorageError::Malformed { file: self.path.display().to_string(), offset, detail }
    }
}
