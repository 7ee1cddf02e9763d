//! The manifest: what belongs together. Checkpoints, the catalog, log positions.
//!
//! One file of framed records, appended and synced; a new file replaces it by rename.
//!
//! Invariant (C1): a record is appended only after everything it names is durable. At every instant
//! the file holds a complete checkpoint; at least two are kept once two were published.

mod catalog;
mod codec;
mod file;
mod publish;
mod record;
mod retain;
mod verify;

pub use catalog::{Catalog, CatalogChange, CatalogEntry, ObjectKind};
pub use publish::{Publisher, PublisherOptions};
pub use record::{Checkpoint, CheckpointDraft, Cursor, IslandState, OutboxMark, PageFileMark, WalMark};
pub use retain::Retention;
pub use verify::{ManifestFile, read};

#[cfg(test)]
mod tests;
