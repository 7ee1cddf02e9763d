//! The page file of a shard: images of its arenas, shadow-paged.
//!
//! A checkpoint writes what changed: blocks as deltas, a segment whole to a free slot when much of it
//! changed. Then the arenas' tables, one root, one sync; the result is a [`PageFileMark`], which the manifest keeps.
//! Checksums form a tree: mark → root → arena table → segment, or head of a delta → blocks of a page. The bytes are described in docs/format.md.
//! Invariants: nothing that a retained mark names is overwritten; nothing is used before its checksum was
//! verified; every write goes to space that was allocated before.

mod delta;
mod extent;
mod file;
mod finish;
mod fold;
mod image;
mod layout;
mod loader;
mod mark;
mod rows;
mod slot;
mod source;
mod write;

#[cfg(test)]
mod tests;

pub use file::PageFile;
pub use finish::Finish;
pub use mark::{MARK_BYTES, PageFileMark};
pub use write::WriteStep;
