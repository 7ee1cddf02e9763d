//! State arenas: the memory in which operators of one pipeline keep their state on one shard.
//!
//! An arena is made of 2 MiB segments of 4 KiB pages of 64-byte blocks (`segment`), handed out page by page
//! (`page`), with every store noted per block (`block_dirty`) so that a checkpoint freezes in O(segments).
//! Tables (`table`) are an extendible index (`index`) over a slab of entries (`entry`) with blobs
//! beside (`blob`). Everything is addressed by offsets, so an image can lie anywhere.
//! A restored arena is used at once: a segment is read back on its first touch or by the loader (`absent`,
//! `restore`), and what the heap side needs from the pages' content is gathered behind it (`sweep`).
//! Segments for which there shall be no memory lie in a scratch file, at the same addresses (`spill`).
//! Invariant: no store escapes the dirty bits, and nothing here reads or writes a file that survives; that is
//! `page_file`. The heap twin (`heap`) answers the same calls and exists to be compared with.

mod absent;
mod addresses;
mod batch;
mod blob;
mod block_dirty;
mod entry;
mod error;
mod fold;
pub mod heap;
mod index;
mod page;
mod record;
mod restore;
mod scan;
mod segment;
mod spill;
mod store;
mod sweep;
mod table;

#[cfg(test)]
pub(crate) mod tests;

pub use batch::KeyBatch;
pub use blob::{BlobRef, MAX_BLOB_BYTES};
pub use entry::{KeyShape, TableShape};
pub use error::ArenaError;
pub use fold::Folder;
pub use scan::ScanCursor;
pub use segment::{BLOCK_BYTES, PAGE_BYTES, SEGMENT_BYTES};
pub use store::{Arena, ArenaOptions, TableId};
pub use table::{Slot, TableKey};

pub(crate) use absent::SegmentSource;
pub(crate) use block_dirty::FoldRequest;
pub(crate) use segment::SEGMENT_PAGES;
