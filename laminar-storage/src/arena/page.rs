//! Pages of an arena: who owns which, and the tracked way to store into them.
//!
//! Every group of 256 segments begins with a *map segment*: an array of 16-byte descriptors, one per
//! page of the group. Segments, free pages and the descriptors' meaning are here; what a table keeps
//! in its pages is not.
//! Invariants: every store goes through `write`, so no changed block escapes a checkpoint; a page that
//! is handed out is zero; a page is free in memory exactly if its descriptor says so.

use super::block_dirty::BlockDirty;
use super::error::ArenaError;
use super::segment::{PAGE_BYTES, Region, SEGMENT_BYTES, SEGMENT_PAGES};
use super::spill::Spilled;
use crate::ids::ObjectId;

/// Bytes of a page descriptor.
pub(crate) const DESCRIPTOR_BYTES: usize = 16;
/// Pages whose descriptors fill one map segment.
pub(crate) const GROUP_PAGES: usize = SEGMENT_BYTES / DESCRIPTOR_BYTES;
/// Segments in a group; the first is its map.
pub(crate) const GROUP_SEGMENTS: usize = GROUP_PAGES / SEGMENT_PAGES;
/// Stands at offset 0 of every arena image.
pub(crate) const ARENA_MAGIC: &[u8; 8] = b"LDBARENA";
/// Version of the layout inside an arena.
pub(crate) const ARENA_VERSION: u32 = 1;

const WORDS: usize = SEGMENT_PAGES / 64;

/// What a page is used for; the number stands in the descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageKind {
    /// Nobody's.
    Free = 0,
    /// Table records; `word` is the ordinal among such pages.
    Tables = 1,
    /// An index bucket; `depth` bits of prefix in `word`.
    Bucket = 2,
    /// Entries of a table.
    Slab = 3,
    /// Small blobs of the size class `depth`.
    BlobSlab = 4,
    /// First page of a large blob; `word` pages.
    BlobRun = 5,
    /// A further page of a large blob.
    RunTail = 6,
}

impl PageKind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Free,
            1 => Self::Tables,
            2 => Self::Bucket,
            3 => Self::Slab,
            4 => Self::BlobSlab,
            5 => Self::BlobRun,
            6 => Self::RunTail,
            _ => return None,
        })
    }
}

/// One page's entry in the map segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) kind: PageKind,
    pub(crate) depth: u8,
    pub(crate) table: u32,
    pub(crate) word: u64,
}

impl Descriptor {
    fn decode(bytes: &[u8; DESCRIPTOR_BYTES]) -> Option<Self> {
        let [kind, depth, _, _, table @ .., a, b, c, d, e, f, g, h] = *bytes;
        Some(Self {
            kind: PageKind::from_byte(kind)?,
            depth,
            table: u32::from_le_bytes(table),
            word: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        })
    }

    fn encode(self) -> [u8; DESCRIPTOR_BYTES] {
        let mut bytes = [0; DESCRIPTOR_BYTES];
        bytes[0] = self.kind as u8;
        bytes[1] = self.depth;
        bytes[4..8].copy_from_slice(&self.table.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.word.to_le_bytes());
        bytes
    }
}

/// All pages of an arena.
pub(crate) struct Pages {
    id: ObjectId,
    limit: u64,
    pub(crate) region: Region,
    pub(crate) blocks: BlockDirty,
    pub(crate) spilled: Spilled,
    /// Per segment, per page: free.
    free: Vec<[u64; WORDS]>,
    /// Per segment, per page: free, but was in use before, so neither memory nor image is zero.
    stale: Vec<[u64; WORDS]>,
    free_count: Vec<u16>,
    /// No segment below has a free page.
    hint: usize,
    /// Where the last run was found; the search for the next begins there.
    run_hint: usize,
    used: u64,
}

impl Pages {
    /// An arena without pages; takes addresses only.
    pub(crate) fn new(id: ObjectId, limit: u64) -> Result<Self, ArenaError> {
        // Slots and blob references count 16-byte units in 32 bits.
        let reserve = limit.saturating_add(limit / 64).saturating_add(2 * SEGMENT_BYTES as u64).min(1 << 36);
        let region = Region::reserve(reserve as usize).map_err(system)?;
        Ok(Self {
            id,
            limit,
            region,
            blocks: BlockDirty::default(),
            spilled: Spilled::default(),
            free: Vec::new(),
            stale: Vec::new(),
            free_count: Vec::new(),
            hint: 0,
            run_hint: 0,
            used: 0,
        })
    }

    /// Writes the arena's header into a new arena.
    pub(crate) fn format(&mut self) -> Result<(), ArenaError> {
        self.add_segment()?;
        let mut header = [0u8; 24];
        header[..8].copy_from_slice(ARENA_MAGIC);
        header[8..12].copy_from_slice(&ARENA_VERSION.to_le_bytes());
        header[16..24].copy_from_slice(&self.id.0.to_le_bytes());
        self.write(0, header.len()).copy_from_slice(&header);
        Ok(())
    }

    pub(crate) fn id(&self) -> ObjectId {
        self.id
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes of pages in use.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.used * PAGE_BYTES as u64
    }

    /// Pages in use in a segment; none of a map segment, whose pages are nobody's.
    pub(crate) fn used_in(&self, segment: usize) -> usize {
        if is_map_segment(segment) { 0 } else { SEGMENT_PAGES - usize::from(self.free_count[segment]) }
    }

    pub(crate) fn segments(&self) -> usize {
        self.free.len()
    }

    /// Number of pages in committed segments.
    pub(crate) fn page_count(&self) -> usize {
        self.free.len() * SEGMENT_PAGES
    }

    /// Opens the next segment, all of its pages free (a map segment has none).
    pub(crate) fn add_segment(&mut self) -> Result<(), ArenaError> {
        let is_map = self.free.len().is_multiple_of(GROUP_SEGMENTS);
        if !self.region.commit_segment(is_map).map_err(system)? {
            return Err(self.over_limit(SEGMENT_BYTES as u64));
        }
        self.blocks.add_segment();
        self.spilled.add_segment();
        self.free.push([if is_map { 0 } else { u64::MAX }; WORDS]);
        self.stale.push([0; WORDS]);
        self.free_count.push(if is_map { 0 } else { SEGMENT_PAGES as u16 });
        Ok(())
    }

    /// The bytes at `offset`, to store into; notes the change first.
    #[inline]
    pub(crate) fn write(&mut self, offset: usize, len: usize) -> &mut [u8] {
        let (mut at, end) = (offset, offset + len);
        while at < end {
            let page = at / PAGE_BYTES;
            let stop = end.min((page + 1) * PAGE_BYTES);
            let (first, last) = (at % PAGE_BYTES / 64, (stop - 1) % PAGE_BYTES / 64);
            let mask = (u64::MAX << first) & (u64::MAX >> (63 - last));
            self.blocks.mark(&self.region, page, mask);
            at = stop;
        }
        self.region.bytes_mut(offset, len)
    }

    /// Notes a coming store to a value at `offset`, whose blocks are `blocks` shifted to its first.
    #[inline(always)]
    pub(crate) fn mark_value(&mut self, offset: usize, blocks: u64) {
        self.blocks.mark(&self.region, offset / PAGE_BYTES, blocks << (offset % PAGE_BYTES / 64));
    }

    /// Hands out one zeroed page. The caller's table is in the descriptor.
    pub(crate) fn allocate(&mut self, descriptor: Descriptor) -> Result<u32, ArenaError> {
        self.check_limit(1)?;
        while self.hint < self.free.len() && self.free_count[self.hint] == 0 {
            self.hint += 1;
        }
        while self.hint >= self.free.len() || self.free_count[self.hint] == 0 {
            self.add_segment()?;
            self.hint = self.free.len() - 1;
        }
        let segment = self.hint;
        let word = self.free[segment].iter().position(|word| *word != 0).unwrap_or(0);
        let bit = self.free[segment][word].trailing_zeros() as usize;
        let page = segment * SEGMENT_PAGES + word * 64 + bit;
        self.take(page);
        self.describe(page, descriptor);
        Ok(page as u32)
    }

    /// Hands out `count` adjacent pages within one group; the first carries `descriptor`, the others are run tails.
    pub(crate) fn allocate_run(&mut self, count: usize, descriptor: Descriptor) -> Result<u32, ArenaError> {
        self.check_limit(count as u64)?;
        if count == 1 {
            return self.allocate(descriptor);
        }
        let found = self.find_run(self.run_hint, count).or_else(|| self.find_run(self.hint, count));
        let first = match found {
            Some(first) => first,
            None => self.grow_run(count)?,
        };
        self.run_hint = first / SEGMENT_PAGES;
        for page in first..first + count {
            self.take(page);
            self.describe(page, Descriptor { kind: PageKind::RunTail, depth: 0, table: descriptor.table, word: 0 });
        }
        self.describe(first, descriptor);
        Ok(first as u32)
    }

    fn find_run(&self, from_segment: usize, count: usize) -> Option<usize> {
        let mut run = 0;
        for segment in from_segment..self.free.len() {
            if self.free_count[segment] == 0 {
                run = 0;
                continue;
            }
            for page in segment * SEGMENT_PAGES..(segment + 1) * SEGMENT_PAGES {
                run = if self.is_free(page) { run + 1 } else { 0 };
                if run == count {
                    return Some(page + 1 - count);
                }
            }
        }
        None
    }

    fn grow_run(&mut self, count: usize) -> Result<usize, ArenaError> {
        loop {
            self.add_segment()?;
            // Map segments have no free page, so a run never crosses one; only the end can have grown.
            let end = self.page_count();
            let mut first = end;
            while first > 0 && end - first < count && self.is_free(first - 1) {
                first -= 1;
            }
            if end - first == count {
                return Ok(first);
            }
        }
    }

    pub(crate) fn is_free(&self, page: usize) -> bool {
        let at = page % SEGMENT_PAGES;
        self.free[page / SEGMENT_PAGES][at / 64] >> (at % 64) & 1 == 1
    }

    fn take(&mut self, page: usize) {
        let (segment, at) = (page / SEGMENT_PAGES, page % SEGMENT_PAGES);
        let bit = 1u64 << (at % 64);
        self.free[segment][at / 64] &= !bit;
        self.free_count[segment] -= 1;
        self.used += 1;
        self.spilled.took(segment);
        if self.stale[segment][at / 64] & bit != 0 {
            self.stale[segment][at / 64] &= !bit;
            self.write(page * PAGE_BYTES, PAGE_BYTES).fill(0);
        }
    }

    /// Takes `count` adjacent pages back. Their changes need not be written any more.
    pub(crate) fn release(&mut self, first: u32, count: usize) {
        for page in first as usize..first as usize + count {
            let (segment, at) = (page / SEGMENT_PAGES, page % SEGMENT_PAGES);
            self.describe(page, Descriptor { kind: PageKind::Free, depth: 0, table: 0, word: 0 });
            self.free[segment][at / 64] |= 1 << (at % 64);
            self.stale[segment][at / 64] |= 1 << (at % 64);
            self.free_count[segment] += 1;
            self.used -= 1;
            self.spilled.gave(segment, usize::from(self.free_count[segment]) == SEGMENT_PAGES);
            self.blocks.forget(page);
            self.hint = self.hint.min(segment);
        }
    }

    pub(crate) fn descriptor(&self, page: usize) -> Option<Descriptor> {
        Descriptor::decode(self.region.bytes(descriptor_offset(page), DESCRIPTOR_BYTES).first_chunk()?)
    }

    /// The pages of a segment with their descriptors, `None` where one names no kind.
    pub(crate) fn descriptors(&self, segment: usize) -> impl Iterator<Item = (usize, Option<Descriptor>)> + '_ {
        let first = segment * SEGMENT_PAGES;
        let (all, _) = self.region.bytes(descriptor_offset(first), SEGMENT_PAGES * DESCRIPTOR_BYTES).as_chunks();
        all.iter().enumerate().map(move |(at, bytes)| (first + at, Descriptor::decode(bytes)))
    }

    /// Brings a descriptor near that will be read soon; any page is harmless.
    pub(crate) fn prefetch_descriptor(&self, page: usize) {
        self.region.prefetch(descriptor_offset(page));
    }

    pub(crate) fn describe(&mut self, page: usize, descriptor: Descriptor) {
        self.write(descriptor_offset(page), DESCRIPTOR_BYTES).copy_from_slice(&descriptor.encode());
    }

    /// Of an image: reads from the descriptors which pages are free. Of a free page in a segment that has bytes in
    /// the image nothing is known without reading it, so it counts as one that is not zero. `each` hears of every page,
    /// in order, and says what is wrong with it.
    pub(crate) fn adopt_descriptors(
        &mut self,
        has_bytes: &[bool],
        mut each: impl FnMut(usize, Descriptor) -> Result<(), &'static str>,
    ) -> Result<(), ArenaError> {
        for segment in (0..self.segments()).filter(|segment| !segment.is_multiple_of(GROUP_SEGMENTS)) {
            let mut free = [0u64; WORDS];
            for (page, descriptor) in self.descriptors(segment) {
                let Some(descriptor) = descriptor else {
                    return Err(self.damaged(descriptor_offset(page), "unknown page kind"));
                };
                free[page % SEGMENT_PAGES / 64] |= u64::from(descriptor.kind == PageKind::Free) << (page % 64);
                each(page, descriptor).map_err(|what| self.damaged(page * PAGE_BYTES, what))?;
            }
            let count = free.iter().map(|word| word.count_ones() as u16).sum::<u16>();
            self.used += SEGMENT_PAGES as u64 - u64::from(count);
            self.free[segment] = free;
            self.free_count[segment] = count;
            if has_bytes[segment] {
                self.stale[segment] = free;
            }
        }
        Ok(())
    }

    pub(crate) fn damaged(&self, offset: usize, what: &'static str) -> ArenaError {
        ArenaError::Damaged { arena: self.id, offset, what }
    }

    fn check_limit(&self, pages: u64) -> Result<(), ArenaError> {
        let wanted = pages * PAGE_BYTES as u64;
        if self.used_bytes() + wanted > self.limit { Err(self.over_limit(wanted)) } else { Ok(()) }
    }

    fn over_limit(&self, wanted: u64) -> ArenaError {
        ArenaError::MemoryLimit { arena: self.id, limit: self.limit, used: self.used_bytes(), wanted }
    }
}

/// Whether a page lies in a map segment.
pub(crate) fn is_map_page(page: usize) -> bool {
    is_map_segment(page / SEGMENT_PAGES)
}

/// Whether a segment is the map of its group.
pub(crate) fn is_map_segment(segment: usize) -> bool {
    segment.is_multiple_of(GROUP_SEGMENTS)
}

fn descriptor_offset(page: usize) -> usize {
    page / GROUP_PAGES * (GROUP_SEGMENTS * SEGMENT_BYTES) + page % GROUP_PAGES * DESCRIPTOR_BYTES
}

fn system(error: std::io::Error) -> ArenaError {
    ArenaError::System { message: error.to_string() }
}
