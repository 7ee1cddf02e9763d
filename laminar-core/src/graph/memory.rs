//! How much state a query may hold, and what happens when it holds as much.

use serde::{Deserialize, Serialize};

/// What happens when a query has reached its memory limit. No policy drops a row or a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MemoryPolicy {
    /// It stops with the reason.
    #[default]
    Fail,
    /// What feeds it waits until it holds less.
    Backpressure,
}

/// The memory limit of one query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MemorySpec {
    /// Bytes of state over all shards; none = the engine's default.
    pub limit: Option<u64>,
    /// What happens there.
    pub policy: MemoryPolicy,
}

impl MemoryPolicy {
    /// As the user writes it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Backpressure => "backpressure",
        }
    }
}
