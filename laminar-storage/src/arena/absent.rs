//! What a restored arena has not read back yet.
//!
//! Invariant: a segment counts as missing until all of its bytes were read, verified and put in place; then never
//! again. One thread.

use super::error::ArenaError;
use crate::error::{Result, StorageError};
use std::cell::{Cell, RefCell};

/// Where the segments of an image come from.
pub(crate) trait SegmentSource: Send {
    /// Fills a segment, which is zeros or what a failed call left, with its verified bytes.
    ///
    /// # Errors
    /// `Disk`; `Rot` naming file and offset.
    fn read(&self, segment: usize, into: &mut [u8]) -> Result<()>;

    /// Says where in the file a structure lies that the arena refused.
    fn place(&self, error: ArenaError) -> StorageError;
}

/// The missing segments of one region.
pub(crate) struct Absent {
    /// Bytes of the region that are committed.
    pub(super) committed: Cell<usize>,
    missing: RefCell<Vec<bool>>,
    /// No segment below is missing.
    first: Cell<usize>,
    source: Box<dyn SegmentSource>,
    /// Why a segment could not be read.
    trouble: RefCell<Option<StorageError>>,
}

impl Absent {
    /// `missing`: which segments have bytes to be read.
    pub(crate) fn new(missing: Vec<bool>, source: Box<dyn SegmentSource>) -> Self {
        let trouble = RefCell::new(None);
        Self { committed: Cell::new(0), missing: RefCell::new(missing), first: Cell::new(0), source, trouble }
    }

    pub(crate) fn is_missing(&self, segment: usize) -> bool {
        self.missing.borrow().get(segment).copied().unwrap_or(false)
    }

    pub(crate) fn first_missing(&self) -> Option<usize> {
        let missing = self.missing.borrow();
        let first = missing.iter().skip(self.first.get()).position(|missing| *missing)? + self.first.get();
        self.first.set(first);
        Some(first)
    }

    pub(super) fn read(&self, segment: usize, into: &mut [u8]) -> Result<()> {
        if let Err(error) = self.source.read(segment, into) {
            self.trouble.replace(Some(error.clone()));
            return Err(error);
        }
        if let Some(missing) = self.missing.borrow_mut().get_mut(segment) {
            *missing = false;
        }
        Ok(())
    }

    pub(crate) fn trouble(&self) -> Option<StorageError> {
        self.trouble.borrow().clone()
    }

    pub(crate) fn place(&self, error: ArenaError) -> StorageError {
        self.source.place(error)
    }
}
