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
    /// Its state goes on in a file; what feeds it waits only where that is too slow or impossible.
    Spill,
}

/// The memory limit of one query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MemorySpec {
    /// Bytes of state in memory over all shards; none = the engine's default.
    pub limit: Option<u64>,
    /// What happens there.
    pub policy: MemoryPolicy,
}

impl MemoryPolicy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Backpressure, Self::Fail, Self::Spill];

    /// Whether what feeds a query waits for it.
    pub const fn waits(self) -> bool {
        matches!(self, Self::Backpressure | Self::Spill)
    }

    /// As the user writes it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Backpressure => "backpressure",
            Self::Spill => "spill",
        }
    }
}
