//! Memory for writes that a device takes as it is.
//!
//! Invariant: the content begins at a page's beginning.

use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};

use memmap2::{Advice, MmapMut};

const PAGE: usize = 4096;
const LEAST_BYTES: usize = 16 * PAGE;
/// What the kernel backs with one piece of memory, where it may: a device takes that as one, not page by page.
const HUGE_PAGE: usize = 2 << 20;
/// From here on that is worth a whole huge page.
const LARGE_BYTES: usize = HUGE_PAGE / 4;

/// Bytes that grow at their end, in memory that a write needs not copy. Made to be used again.
pub struct IoBuffer {
    map: MmapMut,
    /// Where the content begins; room for as much behind its end is not used.
    start: usize,
    capacity: usize,
    len: usize,
}

impl IoBuffer {
    /// An empty buffer with room for so many bytes at least.
    pub fn with_capacity(bytes: usize) -> Self {
        let unit = if bytes >= LARGE_BYTES { HUGE_PAGE } else { PAGE };
        let capacity = bytes.max(LEAST_BYTES).next_multiple_of(unit);
        // Not every kernel lets a mapping begin with a huge page by itself. What is not touched takes no memory.
        let mapped = if unit == HUGE_PAGE { capacity + HUGE_PAGE } else { capacity };
        let Ok(map) = MmapMut::map_anon(mapped) else {
            handle_alloc_error(Layout::from_size_align(mapped, PAGE).unwrap_or(Layout::new::<u8>()))
        };
        if unit == HUGE_PAGE {
            // A kernel without huge pages gives small ones.
            let _ = map.advise(Advice::HugePage);
        }
        let start = map.as_ptr().align_offset(unit);
        Self { map, start, capacity, len: 0 }
    }

    /// Bytes for which there is room.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    #[inline]
    fn room(&mut self) -> &mut [u8] {
        &mut self.map[self.start..self.start + self.capacity]
    }

    /// Takes the content away, and leaves the room.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Adds bytes at the end.
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if end > self.capacity {
            self.grow(end);
        }
        let at = self.len;
        self.room()[at..end].copy_from_slice(bytes);
        self.len = end;
    }

    /// Adds zeros at the end, until it is so long.
    pub fn pad(&mut self, len: usize) {
        if len > self.capacity {
            self.grow(len);
        }
        let at = self.len;
        if len > at {
            self.room()[at..len].fill(0);
            self.len = len;
        }
    }

    #[cold]
    fn grow(&mut self, least: usize) {
        let mut larger = Self::with_capacity(least.max(2 * self.capacity));
        larger.extend_from_slice(self);
        *self = larger;
    }
}

impl From<&[u8]> for IoBuffer {
    fn from(bytes: &[u8]) -> Self {
        let mut buffer = Self::with_capacity(bytes.len());
        buffer.extend_from_slice(bytes);
        buffer
    }
}

impl Deref for IoBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map[self.start..self.start + self.len]
    }
}

impl DerefMut for IoBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        &mut self.room()[..len]
    }
}

impl fmt::Debug for IoBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IoBuffer of {} bytes", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_was_added_however_it_grows() {
        let mut buffer = IoBuffer::with_capacity(10);
        let mut expected = Vec::new();
        for n in 0..40_000_u32 {
            buffer.extend_from_slice(&n.to_le_bytes()[..n as usize % 5]);
            expected.extend_from_slice(&n.to_le_bytes()[..n as usize % 5]);
        }
        assert_eq!(&*buffer, expected);
        assert!(expected.len() > LEAST_BYTES, "it has grown");
        buffer.extend_from_slice(&vec![7; 3 * HUGE_PAGE]);
        expected.resize(expected.len() + 3 * HUGE_PAGE, 7);
        assert_eq!(&*buffer, expected);
        assert_eq!(buffer.as_ptr().addr() % HUGE_PAGE, 0);
        assert_eq!(IoBuffer::with_capacity(1).as_ptr().addr() % PAGE, 0);
    }

    #[test]
    fn what_was_in_it_before_does_not_shine_through() {
        let mut buffer = IoBuffer::with_capacity(10);
        buffer.extend_from_slice(&[9; 5000]);
        let room = buffer.capacity();
        buffer.clear();
        buffer.extend_from_slice(b"abc");
        buffer.pad(6);
        assert_eq!((&*buffer, buffer.capacity()), (&b"abc\0\0\0"[..], room));
        buffer.pad(room + 1);
        assert!(buffer[3..].iter().all(|byte| *byte == 0));
    }
}
