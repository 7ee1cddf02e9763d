//! What can go wrong in an arena; never a dropped row, always the limit and the value.

use crate::ids::ObjectId;

/// A refused arena operation. The arena stays usable; of a batch, the rows before the refused one
/// were applied.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ArenaError {
    /// The pipeline's state on a shard has filled its addresses (user; retry never).
    #[error(
        "LDB-2101: state of pipeline {arena} on this shard has filled its addresses: {used} of {limit} bytes in use, \
         {wanted} more wanted; after a restart a shard has twice the memory_limit of now, with memory_policy = 'spill' 16 \
         times as much, and 64 GiB at most; or shorten what the query keeps"
    )]
    MemoryLimit {
        /// The pipeline.
        arena: ObjectId,
        /// The limit in bytes.
        limit: u64,
        /// Bytes in use.
        used: u64,
        /// Bytes that were asked for.
        wanted: u64,
    },
    /// A value or key is larger than may be kept (user; retry never).
    #[error("LDB-2102: a value of {len} bytes exceeds state.max_value = {limit} bytes; raise it or shorten the value")]
    ValueTooLarge {
        /// Its length.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// The operating system refused memory (external; retry after restart).
    #[error("LDB-2103: the operating system refused memory for state: {message}")]
    System {
        /// The system's words.
        message: String,
    },
    /// A table identifier of a dropped table or another arena (internal).
    #[error("LDB-2104: no such state table: it was dropped or belongs to another arena")]
    UnknownTable,
    /// A table was opened with another shape than it was created with (internal).
    #[error("LDB-2105: state table of operator {operator} has shape {found}, the operator expects {expected}")]
    ShapeMismatch {
        /// Which operator.
        operator: u64,
        /// The shape on disk.
        found: String,
        /// The shape asked for.
        expected: String,
    },
    /// A shape that no page can hold (internal).
    #[error("LDB-2106: a state entry of {len} bytes does not fit a page of {limit} bytes; keep the value in a blob")]
    EntryTooLarge {
        /// Bytes of an entry.
        len: usize,
        /// Bytes of a page.
        limit: usize,
    },
    /// A key of another width than the table's fixed width (internal).
    #[error("LDB-2107: a key of {len} bytes does not fit a state table of {width}-byte keys")]
    KeyWidth {
        /// Its length.
        len: usize,
        /// The table's width.
        width: usize,
    },
    /// So many keys share a hash prefix that the index cannot tell them apart (external: crafted keys; retry never).
    #[error(
        "LDB-2108: more than {keys} keys of one state table share the hash prefix {prefix:#x}; \
         the keys look crafted, add a column to the key"
    )]
    IndexSkew {
        /// Keys in the full bucket.
        keys: usize,
        /// The shared prefix.
        prefix: u64,
    },
    /// Bytes of an image that no arena could have written (external: damaged disk; retry never).
    #[error("LDB-2109: state image of pipeline {arena} is damaged at arena offset {offset:#x}: {what}")]
    Damaged {
        /// The pipeline.
        arena: ObjectId,
        /// Offset in the arena.
        offset: usize,
        /// What is wrong.
        what: &'static str,
    },
}

impl ArenaError {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::MemoryLimit { .. } => "LDB-2101",
            Self::ValueTooLarge { .. } => "LDB-2102",
            Self::System { .. } => "LDB-2103",
            Self::UnknownTable => "LDB-2104",
            Self::ShapeMismatch { .. } => "LDB-2105",
            Self::EntryTooLarge { .. } => "LDB-2106",
            Self::KeyWidth { .. } => "LDB-2107",
            Self::IndexSkew { .. } => "LDB-2108",
            Self::Damaged { .. } => "LDB-2109",
        }
    }
}
