//! The raw memory of an arena: a reserved address range that is opened segment by segment.
//!
//! Not an allocator and not aware of what lies in the pages. The only file of the arena with
//! `unsafe`: everything above speaks of byte offsets and gets bounds-checked slices.
//! Invariant: bytes `0..committed` are mapped readable and writable, were zero when first opened,
//! and belong to this region alone; nothing outside them is ever touched.

use std::marker::PhantomData;
use std::ops::Deref;
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
    committed: usize,
}

/// A reserved range of addresses, readable and writable up to `committed`.
pub(crate) struct Region {
    span: Span,
    mapping: NonNull<libc::c_void>,
    mapping_bytes: usize,
    reserved: usize,
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

// SAFETY: the region owns its mapping exclusively (no other pointer to it exists outside `self` and its
// borrows), and all access goes through `&self`/`&mut self`; moving it to another thread moves that ownership.
unsafe impl Send for Region {}

impl Region {
    /// Reserves addresses for at least one and at most `bytes` bytes, rounded to segments; takes no memory. When the
    /// system refuses the size it tries halves.
    pub(crate) fn reserve(bytes: usize) -> std::io::Result<Self> {
        let mut reserved = bytes.max(SEGMENT_BYTES).next_multiple_of(SEGMENT_BYTES);
        loop {
            let mapping_bytes = reserved + SEGMENT_BYTES;
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
            return Ok(Self { span: Span { base, committed: 0 }, mapping, mapping_bytes, reserved });
        }
    }

    /// Opens the next segment, zeroed; `false` when the reserved range is used up.
    pub(crate) fn commit_segment(&mut self, sparse: bool) -> std::io::Result<bool> {
        if self.span.committed + SEGMENT_BYTES > self.reserved {
            return Ok(false);
        }
        // SAFETY: the range lies inside the mapping (checked above) and nothing refers to it yet.
        let failed = unsafe {
            let at = self.span.base.as_ptr().add(self.span.committed).cast();
            libc::mprotect(at, SEGMENT_BYTES, libc::PROT_READ | libc::PROT_WRITE) != 0
        };
        if failed {
            return Err(std::io::Error::last_os_error());
        }
        if !sparse && self.span.committed >= HUGE_FROM_SEGMENT * SEGMENT_BYTES {
            // SAFETY: as above; advice only, its failure changes nothing.
            unsafe {
                let at = self.span.base.as_ptr().add(self.span.committed).cast();
                libc::madvise(at, SEGMENT_BYTES, libc::MADV_HUGEPAGE);
            }
        }
        self.span.committed += SEGMENT_BYTES;
        Ok(true)
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
        assert!(
            offset <= self.committed && len <= self.committed - offset,
            "arena offset outside its committed segments: a slot or blob reference of another arena"
        );
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
        // SAFETY: the mapping is ours, whole, and no reference into it outlives `self`.
        unsafe {
            libc::munmap(self.mapping.as_ptr(), self.mapping_bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_committed_segment_is_zero_and_keeps_what_is_stored() {
        let mut region = Region::reserve(8 * SEGMENT_BYTES).unwrap();
        assert!(region.commit_segment(false).unwrap());
        assert!(region.bytes(0, SEGMENT_BYTES).iter().all(|byte| *byte == 0));
        region.bytes_mut(SEGMENT_BYTES - 8, 8).copy_from_slice(&7u64.to_le_bytes());
        assert_eq!(region.u64_at(SEGMENT_BYTES - 8), 7);
    }

    #[test]
    #[should_panic(expected = "outside its committed segments")]
    fn an_access_behind_the_committed_segments_is_stopped() {
        let mut region = Region::reserve(8 * SEGMENT_BYTES).unwrap();
        assert!(region.commit_segment(false).unwrap());
        region.bytes(SEGMENT_BYTES - 4, 8);
    }

    #[test]
    fn the_reserved_range_is_the_limit_of_growth() {
        let mut region = Region::reserve(2 * SEGMENT_BYTES).unwrap();
        assert!(region.commit_segment(false).unwrap());
        assert!(region.commit_segment(true).unwrap());
        assert!(!region.commit_segment(false).unwrap());
    }
}
