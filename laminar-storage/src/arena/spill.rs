//! Segments whose bytes lie in a scratch file instead of memory.
//!
//! A spilled segment keeps its addresses: behind them lies the range of the file at the same offset. The kernel writes
//! its pages out, drops them where memory is wanted and reads them back when they are touched; index, entries, dirty
//! bits and checkpoints do not notice. What must survive is in the page file, as ever.
//! Invariants: a range is allocated before it is mapped, so that no store meets a full disk; a segment goes back to
//! memory only when none of its pages is in use and no frozen image reads it; map segments stay in memory.

use super::page::{Pages, is_map_segment};
use super::segment::{PAGE_BYTES, SEGMENT_BYTES, SEGMENT_PAGES};
use super::store::Arena;
use crate::disk::{Disk, DiskError, DiskErrorKind, DiskResult, Scratch};
use std::collections::VecDeque;

/// Segments that go back to memory in one step.
const RECLAIMED_AT_ONCE: usize = 16;

/// Which segments of an arena are spilled, and to where.
#[derive(Default)]
pub(crate) struct Spilled {
    /// Made when the first segment is spilled.
    file: Option<Box<dyn Scratch>>,
    segments: Vec<bool>,
    /// Pages in use in spilled segments.
    used: u64,
    /// All segments below are spilled, or maps.
    first: usize,
    /// Spilled segments whose last page was given back; some may be in use again.
    emptied: VecDeque<usize>,
}

impl Spilled {
    /// One more segment, in memory.
    pub(super) fn add_segment(&mut self) {
        self.segments.push(false);
    }

    /// A page of a segment is in use now.
    pub(super) fn took(&mut self, segment: usize) {
        self.used += u64::from(self.segments[segment]);
    }

    /// A page of a segment is free now; `empty` when it was the last in use.
    pub(super) fn gave(&mut self, segment: usize, empty: bool) {
        if self.segments[segment] {
            self.used -= 1;
            if empty {
                self.emptied.push_back(segment);
            }
        }
    }

    fn file(&mut self, disk: &mut dyn Disk) -> DiskResult<&mut dyn Scratch> {
        let file = match self.file.take() {
            Some(file) => file,
            None => disk.scratch()?,
        };
        Ok(self.file.insert(file).as_mut())
    }
}

impl Arena {
    /// Bytes of pages in use that lie in the scratch file: of those in [`Arena::bytes_used`] that hold no memory for
    /// good.
    pub fn bytes_spilled(&self) -> u64 {
        self.pages.spilled.used * PAGE_BYTES as u64
    }

    /// Bytes of pages in use that the next [`Arena::spill`] moves; 0 when nothing is left to spill. Costs at most
    /// O(segments in memory).
    pub fn spillable(&self) -> u64 {
        self.pages.fullest().map_or(0, |segment| (self.pages.used_in(segment) * PAGE_BYTES) as u64)
    }

    /// Spills the segment with the most pages in use; one that was not read back yet is read into the file when it is.
    /// Returns the bytes of [`Arena::spillable`].
    ///
    /// # Errors
    /// `NoSpace`; `Io`, also when the system refuses to map. The segment stays in memory then.
    pub fn spill(&mut self, disk: &mut dyn Disk) -> DiskResult<u64> {
        let Some(segment) = self.pages.fullest() else { return Ok(0) };
        self.pages.spill(segment, disk)?;
        Ok((self.pages.used_in(segment) * PAGE_BYTES) as u64)
    }

    /// Whether all that the kernel has written of spilled segments has arrived. Where it has not, it may drop its pages
    /// all the same, and what is read then are not the bytes that were stored: nothing that was read of the arena
    /// before this call may be kept.
    ///
    /// # Errors
    /// `Io`: some of it was lost since the last call.
    pub fn check_spilled(&self) -> DiskResult<()> {
        self.pages.spilled.file.as_ref().map_or(Ok(()), |file| file.check())
    }

    /// Lets segments that were spilled and have no page in use any more be memory again, some at a time.
    pub fn reclaim(&mut self) {
        if !self.pages.spilled.emptied.is_empty() && !self.is_frozen() {
            self.pages.reclaim();
        }
    }
}

impl Pages {
    /// The segment in memory with the most pages in use: the lowest of several.
    fn fullest(&self) -> Option<usize> {
        let mut found = (0, None);
        for segment in (self.spilled.first..self.segments()).filter(|segment| !self.spilled.segments[*segment]) {
            let used = self.used_in(segment);
            if used > found.0 {
                found = (used, Some(segment));
            }
            if used == SEGMENT_PAGES {
                break;
            }
        }
        found.1
    }

    fn spill(&mut self, segment: usize, disk: &mut dyn Disk) -> DiskResult<()> {
        let missing = self.region.absent().is_some_and(|absent| absent.is_missing(segment));
        let (at, len) = (segment * SEGMENT_BYTES, SEGMENT_BYTES);
        let file = self.spilled.file(disk)?;
        file.allocate(at as u64, len as u64)?;
        let moved = match missing {
            // The range holds zeros, as the segment does until it is read back.
            true => Ok(()),
            false => file.write(at as u64, self.region.bytes(at, len)),
        };
        let moved = moved.and_then(|()| self.region.map_file(segment, file.file()).map_err(refused));
        if let Err(error) = moved {
            file.free(at as u64, len as u64);
            return Err(error);
        }
        self.spilled.segments[segment] = true;
        self.spilled.used += self.used_in(segment) as u64;
        let passed = |at: &usize| self.spilled.segments[*at] || is_map_segment(*at);
        self.spilled.first = (self.spilled.first..self.segments()).find(|at| !passed(at)).unwrap_or(self.segments());
        Ok(())
    }

    fn reclaim(&mut self) {
        for _ in 0..RECLAIMED_AT_ONCE.min(self.spilled.emptied.len()) {
            let Some(segment) = self.spilled.emptied.pop_front() else { return };
            // What is in use again or was taken back already stays as it is.
            if !self.spilled.segments[segment] || self.used_in(segment) > 0 {
                continue;
            }
            if self.region.absent().is_some_and(|absent| absent.is_missing(segment)) {
                // It cannot be replaced before it was read back.
                self.spilled.emptied.push_back(segment);
                continue;
            }
            // Free pages count as changed from zero, whatever they hold. If the system refuses, the file stays there.
            if self.region.map_memory(segment).is_ok() {
                self.spilled.segments[segment] = false;
                self.spilled.first = self.spilled.first.min(segment);
                if let Some(file) = self.spilled.file.as_deref_mut() {
                    file.free((segment * SEGMENT_BYTES) as u64, SEGMENT_BYTES as u64);
                }
            }
        }
    }
}

fn refused(error: std::io::Error) -> DiskError {
    let message = format!("map a range of a scratch file: {error} (vm.max_map_count may be too low)");
    DiskError { kind: DiskErrorKind::Io, message }
}
