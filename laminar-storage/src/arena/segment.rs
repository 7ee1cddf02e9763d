//! The raw memory of an arena: a reserved address range that is opened segment by segment.
//!
//! Not an allocator and not aware of what lies in the pages. The only file of the arena with
//! `unsafe`: everything above speaks of byte offsets and gets bounds-checked slices.
//! Invariants: bytes `0..committed` are mapped readable and writable, were zero when first opened,
//! and belong to this region alone; nothing outside them is ever touched. A segment's bytes are memory, or a range of
//! a scratch file that nobody else has and that was allocated before (see `spill`). A segment that is still absent
//! (see `absent`) is filled before the first reference into it is made; bytes below `ready` are present,
//! so that the one comparison of the bounds check tells both.

use super::absent::Absent;
use super::addresses::{ADDRESSES, Taken};
use crate::error::Result;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// The unit of dirty tracking and of a delta; one cache line.
pub const BLOCK_BYTES: usize = 64;
/// The unit of allocation; 64 blocks, so that one `u64` tracks it.
pub const PAGE_BYTES: usize = 4096;
/// The unit of growth and of a full image; one huge page.
pub const SEGMENT_BYTES: usize = 2 << 20;
/// Pages in a segment.
pub const SEGMENT_PAGES: usize = SEGMENT_BYTES / PAGE_BYTES;

/// Segments below this index stay on small pages, so that an idle arena costs a few of them.
const HUGE_FROM_SEGMENT: usize = 4;

/// The readable and writable part of a region. Only this file makes one, inside an owner or a borrow of it.
pub(crate) struct Span {
    base: NonNull<u8>,
    /// Everything below is committed and present.
    ready: usize,
    /// What is not, while a restored arena is being filled; owned by the region.
    absent: Option<NonNull<Absent>>,
}

/// A reserved range of addresses, readable and writable up to `committed`.
pub(crate) struct Region {
    span: Span,
    committed: usize,
    mapping: NonNull<libc::c_void>,
    mapping_bytes: usize,
    reserved: usize,
    /// Given back after the mapping.
    _taken: Taken,
}

/// A region borrowed for a loop of stores: by value, so that its two words stay in registers.
pub(crate) struct RegionView<'a> {
    span: Span,
    region: PhantomData<&'a mut Region>,
}

/// A region borrowed for reading, by value.
pub(crate) struct RegionRead<'a> {
    span: Span,
    region: PhantomData<&'a Region>,
}

// SAFETY: the region owns its mapping and what is absent of it exclusively (no other pointer to them exists
// outside `self` and its borrows), and all access goes through `&self`/`&mut self`; moving it to another thread
// moves that ownership, and `Absent` may be moved too.
unsafe impl Send for Region {}

impl Region {
    /// Reserves addresses for at least one and at most `bytes` bytes, rounded to segments; takes no memory. When the
    /// system refuses the size it tries halves; when arenas have taken too many it does not.
    pub(crate) fn reserve(bytes: usize) -> std::io::Result<Self> {
        let mut reserved = bytes.max(SEGMENT_BYTES).next_multiple_of(SEGMENT_BYTES);
        loop {
            let mapping_bytes = reserved + SEGMENT_BYTES;
            let taken = ADDRESSES.take(mapping_bytes as u64)?;
            // SAFETY: an anonymous mapping at an address of the kernel's choice overlaps nothing.
            let start = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    mapping_bytes,
                    libc::PROT_NONE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                    -1,
                    0,
                )
            };
            if start == libc::MAP_FAILED {
                let error = std::io::Error::last_os_error();
                if reserved <= 64 * SEGMENT_BYTES {
                    return Err(error);
                }
                reserved = (reserved / 2).next_multiple_of(SEGMENT_BYTES);
                continue;
            }
            let skip = start.align_offset(SEGMENT_BYTES);
            // SAFETY: `skip < SEGMENT_BYTES` and the mapping is `reserved + SEGMENT_BYTES` long, so
            // `base..base + reserved` lies inside it; a successful mmap is never null here.
            let (base, mapping) =
                unsafe { (NonNull::new_unchecked(start.cast::<u8>().add(skip)), NonNull::new_unchecked(start)) };
            let span = Span { base, ready: 0, absent: None };
            return Ok(Self { span, committed: 0, mapping, mapping_bytes, reserved, _taken: taken });
        }
    }

    /// Opens the next segment, zeroed; `false` when the reserved range is used up.
    pub(crate) fn commit_segment(&mut self, sparse: bool) -> std::io::Result<bool> {
        if self.committed + SEGMENT_BYTES > self.reserved {
            return Ok(false);
        }
        // SAFETY: the range lies inside the mapping (checked above) and nothing refers to it yet.
        let failed = unsafe {
            let at = self.span.base.as_ptr().add(self.committed).cast();
            libc::mprotect(at, SEGMENT_BYTES, libc::PROT_READ | libc::PROT_WRITE) != 0
        };
        if failed {
            return Err(std::io::Error::last_os_error());
        }
        if !sparse {
            self.want_huge(self.committed / SEGMENT_BYTES);
        }
        self.committed += SEGMENT_BYTES;
        // Nothing was missing behind the former end, so what is ready up to there goes on.
        let reaches = self.span.ready + SEGMENT_BYTES == self.committed;
        if let Some(absent) = self.absent() {
            absent.committed.set(self.committed);
        }
        if reaches {
            self.span.ready = self.committed;
        }
        Ok(true)
    }

    fn want_huge(&self, segment: usize) {
        if segment >= HUGE_FROM_SEGMENT {
            // SAFETY: the segment lies inside the mapping; advice only, its failure changes nothing.
            unsafe {
                let at = self.span.base.as_ptr().add(segment * SEGMENT_BYTES).cast();
                libc::madvise(at, SEGMENT_BYTES, libc::MADV_HUGEPAGE);
            }
        }
    }

    /// From now on the bytes of a segment are the range of a file at the same offset, which must have been allocated,
    /// must hold them, and must be changed by nobody else while it is mapped. The segment's memory is free.
    pub(crate) fn map_file(&mut self, segment: usize, file: BorrowedFd<'_>) -> std::io::Result<()> {
        self.map_over(segment, libc::MAP_SHARED, file.as_raw_fd(), segment * SEGMENT_BYTES)
    }

    /// Gives a segment memory again, zeroed.
    pub(crate) fn map_memory(&mut self, segment: usize) -> std::io::Result<()> {
        self.map_over(segment, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, -1, 0)?;
        self.want_huge(segment);
        Ok(())
    }

    /// Replaces what lies at a segment's addresses. After an error they are as before.
    fn map_over(&mut self, segment: usize, flags: libc::c_int, file: libc::c_int, from: usize) -> std::io::Result<()> {
        assert!((segment + 1) * SEGMENT_BYTES <= self.committed, "a segment that was never committed is replaced");
        // SAFETY: a committed segment of this region, by the assertion; `&mut self` excludes every reference into
        // it. What is put there is readable, writable, and as long; a file's range holds the same bytes (`map_file`).
        let at = unsafe { self.span.base.as_ptr().add(segment * SEGMENT_BYTES).cast::<libc::c_void>() };
        // SAFETY: as above.
        let mapped = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(at, SEGMENT_BYTES, access, flags | libc::MAP_FIXED, file, from as libc::off_t)
        };
        if mapped == at {
            return Ok(());
        }
        let error = std::io::Error::last_os_error();
        let mut pages = [0u8; SEGMENT_PAGES];
        // SAFETY: `pages` has a byte for each page of the range, of which nothing is read or written.
        let there = unsafe { libc::mincore(at, SEGMENT_BYTES, pages.as_mut_ptr()) } == 0;
        if !there {
            // The kernel looks for reasons to refuse before it unmaps. If it has found one later, the bytes are lost, and
            // another thread may get these addresses: nothing that could catch a panic may go on.
            eprintln!("the memory of a segment was lost when the system refused to replace it: {error}");
            std::process::abort();
        }
        Err(error)
    }

    /// Declares committed segments absent: each is filled when it is first touched or asked for. Before any use.
    pub(crate) fn expect(&mut self, absent: Absent) {
        self.forget_absent();
        absent.committed.set(self.committed);
        self.span.ready = 0;
        self.span.absent = Some(NonNull::from(Box::leak(Box::new(absent))));
    }

    /// What is absent, until it is forgotten.
    pub(crate) fn absent(&self) -> Option<&Absent> {
        // SAFETY: made by `expect` from a box that only `forget_absent` frees, which takes `&mut self`.
        self.span.absent.map(|absent| unsafe { absent.as_ref() })
    }

    /// Fills a segment if it is absent; whether it was.
    pub(crate) fn fill(&mut self, segment: usize) -> Result<bool> {
        let Some(absent) = self.absent().filter(|absent| absent.is_missing(segment)) else { return Ok(false) };
        self.span.fill(absent, segment)?;
        Ok(true)
    }

    /// Fills the next absent segment; `false` when there is none.
    pub(crate) fn fill_next(&mut self) -> Result<bool> {
        let Some(absent) = self.absent() else { return Ok(false) };
        let next = absent.first_missing();
        if let Some(segment) = next {
            self.span.fill(absent, segment)?;
        }
        let ready = absent.first_missing().map_or(self.committed, |segment| segment * SEGMENT_BYTES);
        self.span.ready = ready;
        Ok(next.is_some())
    }

    /// Nothing is absent any more, or all is given up.
    pub(crate) fn forget_absent(&mut self) {
        self.span.ready = self.committed;
        if let Some(absent) = self.span.absent.take() {
            // SAFETY: leaked by `expect`, taken away once; no borrow of it outlives `&mut self`.
            drop(unsafe { Box::from_raw(absent.as_ptr()) });
        }
    }

    /// The bytes at `offset`, to store into. Panics as [`Span::bytes`] does.
    #[inline(always)]
    pub(crate) fn bytes_mut(&mut self, offset: usize, len: usize) -> &mut [u8] {
        self.span.bytes_mut(offset, len)
    }

    /// Borrows the region for a loop of stores.
    #[inline(always)]
    pub(crate) fn view(&mut self) -> RegionView<'_> {
        RegionView { span: Span { ..self.span }, region: PhantomData }
    }

    /// Borrows the region for reading.
    #[inline(always)]
    pub(crate) fn read(&self) -> RegionRead<'_> {
        RegionRead { span: Span { ..self.span }, region: PhantomData }
    }
}

impl RegionView<'_> {
    /// The bytes at `offset`, to store into. Panics as [`Span::bytes`] does.
    #[inline(always)]
    pub(crate) fn bytes_mut(&mut self, offset: usize, len: usize) -> &mut [u8] {
        self.span.bytes_mut(offset, len)
    }

    /// `N` bytes at `offset`, to store into. Panics as [`Span::bytes`] does.
    #[inline(always)]
    pub(crate) fn array_mut<const N: usize>(&mut self, offset: usize) -> &mut [u8; N] {
        self.span.array_mut(offset)
    }

    /// Borrows the region for reading.
    #[inline(always)]
    pub(crate) fn read(&self) -> RegionRead<'_> {
        RegionRead { span: Span { ..self.span }, region: PhantomData }
    }
}

impl Deref for Region {
    type Target = Span;
    #[inline(always)]
    fn deref(&self) -> &Span {
        &self.span
    }
}

impl Deref for RegionView<'_> {
    type Target = Span;
    #[inline(always)]
    fn deref(&self) -> &Span {
        &self.span
    }
}

impl Deref for RegionRead<'_> {
    type Target = Span;
    #[inline(always)]
    fn deref(&self) -> &Span {
        &self.span
    }
}

impl Span {
    /// The bytes at `offset`. Panics outside the committed range: an offset comes only from this arena.
    #[inline(always)]
    pub(crate) fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        self.check(offset, len);
        // SAFETY: in bounds of initialised (zeroed) memory by `check`; `&self` excludes writers.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(offset), len) }
    }

    #[inline(always)]
    fn bytes_mut(&mut self, offset: usize, len: usize) -> &mut [u8] {
        self.check(offset, len);
        // SAFETY: in bounds of initialised memory by `check`; `&mut self` excludes every other access.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().add(offset), len) }
    }

    #[inline(always)]
    fn array_mut<const N: usize>(&mut self, offset: usize) -> &mut [u8; N] {
        self.check(offset, N);
        // SAFETY: in bounds by `check`; an array of bytes has alignment 1; `&mut self` excludes every other access.
        unsafe { &mut *self.base.as_ptr().add(offset).cast::<[u8; N]>() }
    }

    /// The block that starts at `offset`.
    #[inline(always)]
    pub(crate) fn block(&self, offset: usize) -> &[u8; BLOCK_BYTES] {
        self.check(offset, BLOCK_BYTES);
        // SAFETY: in bounds by `check`; an array of bytes has alignment 1; `&self` excludes writers.
        unsafe { &*self.base.as_ptr().add(offset).cast::<[u8; BLOCK_BYTES]>() }
    }

    /// The little-endian integer at `offset`.
    #[inline(always)]
    pub(crate) fn u64_at(&self, offset: usize) -> u64 {
        self.check(offset, 8);
        // SAFETY: in bounds by `check`; an unaligned read of plain bytes.
        u64::from_le(unsafe { self.base.as_ptr().add(offset).cast::<u64>().read_unaligned() })
    }

    /// The little-endian integer at `offset`.
    #[inline(always)]
    pub(crate) fn u32_at(&self, offset: usize) -> u32 {
        self.check(offset, 4);
        // SAFETY: in bounds by `check`; an unaligned read of plain bytes.
        u32::from_le(unsafe { self.base.as_ptr().add(offset).cast::<u32>().read_unaligned() })
    }

    /// Asks the processor to bring the line at `offset` near; any offset is harmless.
    #[inline(always)]
    pub(crate) fn prefetch(&self, offset: usize) {
        prefetch(self.base.as_ptr().wrapping_add(offset));
    }

    #[inline(always)]
    fn check(&self, offset: usize, len: usize) {
        if offset > self.ready || len > self.ready - offset {
            self.bring(offset, len);
        }
    }

    /// Fills what is absent of a range. Panics outside the committed range, and when it cannot be read back: there
    /// is no right answer then; `Absent::trouble` keeps the reason for whoever catches the panic.
    #[cold]
    #[inline(never)]
    fn bring(&self, offset: usize, len: usize) {
        // SAFETY: as in `Region::absent`; a borrow of the region lives as long as `self`.
        let absent = self.absent.map(|absent| unsafe { absent.as_ref() });
        let committed = absent.map_or(self.ready, |absent| absent.committed.get());
        assert!(
            offset <= committed && len <= committed - offset,
            "arena offset outside its committed segments: a slot or blob reference of another arena"
        );
        let Some(absent) = absent else { return };
        for segment in offset / SEGMENT_BYTES..(offset + len).div_ceil(SEGMENT_BYTES) {
            if absent.is_missing(segment) {
                let trouble = self.fill(absent, segment).err().map(|error| error.to_string());
                assert!(trouble.is_none(), "{}", trouble.unwrap_or_default());
            }
        }
    }

    fn fill(&self, absent: &Absent, segment: usize) -> Result<()> {
        assert!(
            (segment + 1) * SEGMENT_BYTES <= absent.committed.get(),
            "a segment that was never committed is absent"
        );
        // SAFETY: committed memory of this region. No reference into a missing segment exists: each is made after
        // `check`, which fills the segment first, and only one thread uses a region.
        let into =
            unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().add(segment * SEGMENT_BYTES), SEGMENT_BYTES) };
        absent.read(segment, into)
    }
}

/// Asks the processor to bring a line near. Any address is harmless.
#[inline(always)]
pub(crate) fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults and changes no memory, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Which of the first 16 bytes of a block equal `byte`, lowest bit first.
#[inline(always)]
pub(crate) fn equal_bytes(block: &[u8; BLOCK_BYTES], byte: u8) -> u32 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE2 is part of x86-64; the load reads 16 of the block's 64 bytes, unaligned.
    unsafe {
        use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8};
        let bytes = _mm_loadu_si128(block.as_ptr().cast());
        _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8))) as u32
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let mut found = 0;
        for (index, have) in block[..16].iter().enumerate() {
            found |= u32::from(*have == byte) << index;
        }
        found
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.forget_absent();
        // SAFETY: the mapping is ours, whole, and no reference into it outlives `self`.
        unsafe {
            libc::munmap(self.mapping.as_ptr(), self.mapping_bytes);
        }
    }
}
