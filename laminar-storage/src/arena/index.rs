//! The hash index of one table: extendible hashing, a page per bucket.
//!
//! A bucket is 64 chunks of one cache line: 12 tags of 8 bits, a count of entries that had to pass on,
//! 12 slots. The directory maps a prefix of the hash to a bucket and lives on the heap; each bucket's
//! prefix stands in its page descriptor, so the directory is rebuilt without reading the buckets.
//! Invariants: an entry lies in the first chunk of its probe order that had room, and every chunk before
//! counts it (a count of 255 stays for ever); a full bucket splits alone; slots never change.
//!
//! The 12 highest bits of the hash choose the shard and are the same all over an arena's neighbours, so
//! the prefix is taken from the bits below: `order(hash)` is the hash rotated left by 12.

use super::entry::SLOT_BYTES;
use super::error::ArenaError;
use super::page::{Descriptor, PageKind, Pages};
use super::segment::{BLOCK_BYTES, PAGE_BYTES, equal_bytes};

/// Slots in a chunk.
pub(crate) const CHUNK_SLOTS: usize = 12;
/// Chunks in a bucket.
pub(crate) const CHUNKS: usize = PAGE_BYTES / BLOCK_BYTES;
const OVERFLOW_AT: usize = 12;
const SLOTS_AT: usize = 16;
/// An insert that must look at more chunks than this splits the bucket (it is about 5/6 full then).
const SPLIT_AFTER_CHUNKS: usize = 4;

/// Bits of prefix beyond which tags would repeat it.
const MAX_DEPTH: u8 = 36;

/// Position of a hash in the scan order of every table.
#[inline(always)]
pub(crate) fn order(hash: u64) -> u64 {
    hash.rotate_left(12)
}

#[inline(always)]
pub(crate) fn tag(hash: u64) -> u8 {
    ((hash >> 6) as u8).max(1)
}

/// Bits set for the slots of the chunk whose tag is `tag` (0: empty slots).
#[inline(always)]
pub(crate) fn matches(chunk: &[u8; BLOCK_BYTES], tag: u8) -> u32 {
    equal_bytes(chunk, tag) & 0xfff
}

#[inline(always)]
pub(crate) fn slot_in(chunk: &[u8; BLOCK_BYTES], index: usize) -> u32 {
    let at = SLOTS_AT + 4 * index;
    u32::from_le_bytes([chunk[at], chunk[at + 1], chunk[at + 2], chunk[at + 3]])
}

/// The chunks of a bucket in the order in which a hash probes them.
#[derive(Clone, Copy)]
pub(crate) struct Probe {
    page: usize,
    chunk: usize,
    step: usize,
}

impl Probe {
    #[inline(always)]
    fn new(page: u32, hash: u64) -> Self {
        Self { page: page as usize, chunk: hash as usize % CHUNKS, step: (2 * tag(hash) as usize + 1) % CHUNKS }
    }

    #[inline(always)]
    pub(crate) fn offset(&self) -> usize {
        self.page * PAGE_BYTES + self.chunk * BLOCK_BYTES
    }

    #[inline(always)]
    pub(crate) fn advance(&mut self) {
        self.chunk = (self.chunk + self.step) % CHUNKS;
    }
}

/// Whether an entry of this chunk's probe order may lie further on.
#[inline(always)]
pub(crate) fn passed_on(chunk: &[u8; BLOCK_BYTES]) -> bool {
    chunk[OVERFLOW_AT] != 0
}

/// The directory of one table and its operations on buckets.
pub(crate) struct Index {
    /// Bucket page per prefix of `depth` bits.
    directory: Vec<u32>,
    depth: u8,
    buckets: usize,
}

impl Index {
    /// An index with one empty bucket.
    pub(crate) fn create(pages: &mut Pages, table: u32) -> Result<(Self, u32), ArenaError> {
        let page = pages.allocate(Descriptor { kind: PageKind::Bucket, depth: 0, table, word: 0 })?;
        Ok((Self { directory: vec![page], depth: 0, buckets: 1 }, page))
    }

    /// The index from its buckets' (page, depth, prefix).
    pub(crate) fn from_buckets(pages: &Pages, buckets: &[(u32, u8, u64)]) -> Result<Self, ArenaError> {
        let depth = buckets.iter().map(|bucket| bucket.1).max().unwrap_or(0);
        let wrong = |page: u32, what| Err(pages.damaged(page as usize * PAGE_BYTES, what));
        if depth > MAX_DEPTH || 1usize << depth > 2 * (32 * buckets.len() + 2048) {
            return wrong(0, "an index is deeper than its buckets explain");
        }
        let mut directory = vec![0u32; 1 << depth];
        for (page, own, prefix) in buckets {
            let span = 1usize << (depth - own);
            if *prefix >= 1u64 << own {
                return wrong(*page, "bucket prefix longer than its depth");
            }
            for cell in &mut directory[*prefix as usize * span..(*prefix as usize + 1) * span] {
                if std::mem::replace(cell, *page) != 0 {
                    return wrong(*page, "two buckets share a hash prefix");
                }
            }
        }
        if directory.contains(&0) {
            return wrong(0, "a hash prefix has no bucket");
        }
        Ok(Self { directory, depth, buckets: buckets.len() })
    }

    #[inline(always)]
    fn cell(&self, hash: u64) -> usize {
        // Two shifts, so that depth 0 needs no branch.
        (order(hash) >> 1 >> (63 - self.depth)) as usize
    }

    /// Where to look for a hash.
    #[inline(always)]
    pub(crate) fn probe(&self, hash: u64) -> Probe {
        Probe::new(self.directory[self.cell(hash)], hash)
    }

    /// Puts a slot that is not in the index. The hash of every entry stands first in it. Pages of
    /// new buckets are pushed to `owned`.
    pub(crate) fn insert(
        &mut self,
        pages: &mut Pages,
        table: u32,
        hash: u64,
        slot: u32,
        owned: &mut Vec<u32>,
    ) -> Result<(), ArenaError> {
        loop {
            let start = self.probe(hash);
            let mut at = start;
            let mut free = None;
            let mut passed = 0;
            while passed < CHUNKS {
                let empty = matches(pages.region.block(at.offset()), 0);
                if empty != 0 {
                    free = Some(empty.trailing_zeros() as usize);
                    break;
                }
                at.advance();
                passed += 1;
            }
            let crowded = passed >= SPLIT_AFTER_CHUNKS;
            match free {
                Some(index) if !crowded || !self.may_split(pages, hash) => {
                    count_passing(pages, start, passed);
                    put(pages, at, index, tag(hash), slot);
                    return Ok(());
                }
                None if !self.may_split(pages, hash) => {
                    let prefix = order(hash) >> (64 - self.depth.max(1));
                    return Err(ArenaError::IndexSkew { keys: CHUNKS * CHUNK_SLOTS, prefix });
                }
                _ => owned.push(self.split(pages, table, hash)?),
            }
        }
    }

    /// A split that needs a directory out of all proportion to the buckets means crafted hashes.
    fn may_split(&self, pages: &Pages, hash: u64) -> bool {
        let page = self.directory[self.cell(hash)] as usize;
        let own = pages.descriptor(page).map_or(u8::MAX, |descriptor| descriptor.depth);
        own < self.depth || (self.depth < MAX_DEPTH && self.directory.len() <= 32 * self.buckets + 2048)
    }

    fn split(&mut self, pages: &mut Pages, table: u32, hash: u64) -> Result<u32, ArenaError> {
        let cell = self.cell(hash);
        let old = self.directory[cell];
        let Some(Descriptor { depth: own, word: prefix, .. }) = pages.descriptor(old as usize) else {
            return Err(pages.damaged(old as usize * PAGE_BYTES, "unknown page kind"));
        };
        let next = Descriptor { kind: PageKind::Bucket, depth: own + 1, table, word: prefix << 1 | 1 };
        let new = pages.allocate(next)?;
        pages.describe(old as usize, Descriptor { word: prefix << 1, ..next });
        let mut slots = [0u32; CHUNKS * CHUNK_SLOTS];
        let mut count = 0;
        for chunk in 0..CHUNKS {
            let bytes = pages.region.block(old as usize * PAGE_BYTES + chunk * BLOCK_BYTES);
            for index in 0..CHUNK_SLOTS {
                if bytes[index] != 0 {
                    slots[count] = slot_in(bytes, index);
                    pages.region.prefetch(slots[count] as usize * SLOT_BYTES);
                    count += 1;
                }
            }
        }
        let mut halves = [[0u8; PAGE_BYTES]; 2];
        for slot in &slots[..count] {
            let hash = pages.region.u64_at(*slot as usize * SLOT_BYTES);
            let upper = (order(hash) >> (63 - own)) & 1;
            place(&mut halves[upper as usize], hash, *slot);
        }
        pages.write(old as usize * PAGE_BYTES, PAGE_BYTES).copy_from_slice(&halves[0]);
        pages.write(new as usize * PAGE_BYTES, PAGE_BYTES).copy_from_slice(&halves[1]);
        if own == self.depth {
            self.directory = self.directory.iter().flat_map(|page| [*page, *page]).collect();
            self.depth += 1;
        }
        let span = 1usize << (self.depth - own - 1);
        let first = (prefix << 1 | 1) as usize * span;
        self.directory[first..first + span].fill(new);
        self.buckets += 1;
        Ok(new)
    }

    /// Takes the slot of `hash` at `index` of the chunk at `at` out of the index.
    pub(crate) fn remove(&self, pages: &mut Pages, hash: u64, at: Probe, index: usize) {
        let mut passed = self.probe(hash);
        while passed.chunk != at.chunk {
            let offset = passed.offset() + OVERFLOW_AT;
            let count = pages.region.bytes(offset, 1)[0];
            if count != u8::MAX {
                pages.write(offset, 1)[0] = count.saturating_sub(1);
            }
            passed.advance();
        }
        put(pages, at, index, 0, 0);
    }

    /// The bucket that holds the scan position, and the first position behind it (`None`: it is the last).
    pub(crate) fn bucket_at(&self, pages: &Pages, position: u64) -> (u32, Option<u64>) {
        let cell = (position >> 1 >> (63 - self.depth)) as usize;
        let page = self.directory[cell];
        let (own, prefix) = pages.descriptor(page as usize).map_or((0, 0), |found| (found.depth, found.word));
        let next = if own == 0 || prefix + 1 == 1u64 << own { None } else { Some((prefix + 1) << (64 - own)) };
        (page, next)
    }
}

fn count_passing(pages: &mut Pages, mut at: Probe, chunks: usize) {
    for _ in 0..chunks {
        let overflow = &mut pages.write(at.offset() + OVERFLOW_AT, 1)[0];
        *overflow = overflow.saturating_add(1);
        at.advance();
    }
}

fn put(pages: &mut Pages, at: Probe, index: usize, tag: u8, slot: u32) {
    let chunk = pages.write(at.offset(), BLOCK_BYTES);
    chunk[index] = tag;
    chunk[SLOTS_AT + 4 * index..SLOTS_AT + 4 * index + 4].copy_from_slice(&slot.to_le_bytes());
}

/// Puts a slot into a bucket that is being built; half of a full one always has room.
fn place(bucket: &mut [u8; PAGE_BYTES], hash: u64, slot: u32) {
    let mut probe = Probe::new(0, hash);
    for _ in 0..CHUNKS {
        let chunk = &mut bucket[probe.offset()..probe.offset() + BLOCK_BYTES];
        if let Some(index) = chunk[..CHUNK_SLOTS].iter().position(|tag| *tag == 0) {
            chunk[index] = tag(hash);
            chunk[SLOTS_AT + 4 * index..SLOTS_AT + 4 * index + 4].copy_from_slice(&slot.to_le_bytes());
            return;
        }
        chunk[OVERFLOW_AT] = chunk[OVERFLOW_AT].saturating_add(1);
        probe.advance();
    }
}
