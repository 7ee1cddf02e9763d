//! Identifiers and positions that stand on disk.
//!
//! Invariant: each is a newtype, so that two numbers of different meaning never mix; their byte
//! form is little endian (docs/format.md).

use rkyv::{Archive, Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Archive, Serialize, Deserialize, serde::Serialize, serde::Deserialize, Clone, Copy, Debug, Default, PartialEq,
            Eq, Hash, PartialOrd, Ord,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

id!(
    /// Number of one life of the server process; made durable before anything else at start.
    Incarnation(u32)
);
id!(
    /// A contiguous range of key hashes, owned by one reactor.
    ShardId(u16)
);
id!(
    /// One reactor (core) of this process; not stable over restarts.
    ReactorId(u16)
);
id!(
    /// A catalog object (source, table, stream, view, sink); never reused.
    ObjectId(u64)
);
id!(
    /// One operator of a pipeline: a stable hash assigned at CREATE. State is addressed by it.
    OperatorId(u64)
);
id!(
    /// A set of queries connected through views or streams; barriers align per island. The value is
    /// the smallest [`ObjectId`] in it.
    IslandId(u64)
);
id!(
    /// Number of a published checkpoint; strictly increasing over the life of a data directory.
    CheckpointNumber(u64)
);
id!(
    /// Byte position in a log; strictly increasing within one incarnation.
    Lsn(u64)
);
id!(
    /// Byte position in the outbox of one sink and shard; strictly increasing over all incarnations.
    OutboxPosition(u64)
);

/// The interval between two barriers of an island. Ordered; a pair is never reused.
#[derive(
    Archive,
    Serialize,
    Deserialize,
    serde::Serialize,
    serde::Deserialize,
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
)]
pub struct Epoch {
    /// The process life that made the epoch.
    pub incarnation: Incarnation,
    /// Counts from 1 within the incarnation.
    pub number: u32,
}

impl Epoch {
    /// The epoch as one ordered integer, as shown to users (`laminar_epoch`).
    pub const fn as_u64(self) -> u64 {
        ((self.incarnation.0 as u64) << 32) | self.number as u64
    }

    /// The epoch from [`Epoch::as_u64`].
    pub const fn from_u64(value: u64) -> Self {
        Self { incarnation: Incarnation((value >> 32) as u32), number: value as u32 }
    }

    /// The next epoch of the same incarnation.
    pub const fn next(self) -> Self {
        Self { incarnation: self.incarnation, number: self.number + 1 }
    }
}

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.incarnation, self.number)
    }
}
