//! The records of the manifest as plain data.
//!
//! Invariant: a checkpoint names everything that recovery needs besides the catalog; nothing in it
//! depends on an earlier record.

use crate::ids::{CheckpointNumber, Epoch, Incarnation, IslandId, Lsn, ObjectId, OutboxPosition, ShardId};
use crate::wal::WalLog;

/// A published checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Its number: (incarnation, count) in one integer, strictly increasing.
    pub number: CheckpointNumber,
    /// The process life that published it.
    pub incarnation: Incarnation,
    /// The catalog's version when it was published.
    pub catalog_version: u64,
    /// Older checkpoints whose files are still complete, oldest first.
    pub retained: Vec<CheckpointNumber>,
    /// Everything else.
    pub draft: CheckpointDraft,
}

/// The part of a checkpoint that the engine fills in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointDraft {
    /// Number of shards of the data directory.
    pub shard_count: u32,
    /// The islands, by id.
    pub islands: Vec<IslandState>,
    /// How far each WAL log is contained in the state.
    pub wal: Vec<WalMark>,
}

/// What a checkpoint holds of one island.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IslandState {
    /// The island.
    pub island: IslandId,
    /// The epoch that the state is of; older than the checkpoint for a detached island.
    pub epoch: Epoch,
    /// Where its cursors stand, by split.
    pub cursors: Vec<Cursor>,
    /// Its state in the page file of each shard.
    pub pages: Vec<PageFileMark>,
    /// Its sinks' outboxes.
    pub outboxes: Vec<OutboxMark>,
}

/// One cursor's position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The split's stable name.
    pub split: String,
    /// The position, in the reader's own encoding.
    pub position: Vec<u8>,
}

/// Where a checkpoint's state stands in a page file; the bytes are the page file's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageFileMark {
    /// The shard.
    pub shard: ShardId,
    /// The page file's description of the state.
    pub bytes: Vec<u8>,
}

/// What an outbox holds for a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxMark {
    /// The sink.
    pub sink: ObjectId,
    /// The shard.
    pub shard: ShardId,
    /// Frames up to here belong to this checkpoint.
    pub position: OutboxPosition,
    /// The target had acknowledged the frames before this position.
    pub acknowledged: OutboxPosition,
}

/// How far one WAL log is contained in the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalMark {
    /// The log.
    pub log: WalLog,
    /// Where a finished log ends; `None` while it was being written.
    pub end: Option<Lsn>,
    /// Records of shards that are not listed below are replayed from here.
    pub floor: Lsn,
    /// Records of these shards are replayed from here.
    pub shards: Vec<(ShardId, Lsn)>,
}

impl WalMark {
    /// Replay of this shard begins here.
    pub fn replay_from(&self, shard: ShardId) -> Lsn {
        self.shards.iter().find(|(listed, _)| *listed == shard).map_or(self.floor, |(_, lsn)| *lsn)
    }

    /// Nothing before this position is needed.
    pub fn lowest(&self) -> Lsn {
        self.shards.iter().map(|(_, lsn)| *lsn).fold(self.floor, Lsn::min)
    }

    /// Everything before this position was durable when the checkpoint was published.
    pub fn known_durable(&self) -> Lsn {
        let contained = self.shards.iter().map(|(_, lsn)| *lsn).fold(self.floor, Lsn::max);
        self.end.map_or(contained, |end| end.max(contained))
    }
}

impl Checkpoint {
    /// Bytes in the outboxes that no target had acknowledged.
    pub fn staged_bytes(&self) -> u64 {
        self.outboxes().map(|mark| mark.position.0.saturating_sub(mark.acknowledged.0)).sum()
    }

    /// The mark of a WAL log.
    pub fn wal_mark(&self, log: WalLog) -> Option<&WalMark> {
        self.draft.wal.iter().find(|mark| mark.log == log)
    }

    /// The marks of all outboxes.
    pub fn outboxes(&self) -> impl Iterator<Item = &OutboxMark> {
        self.draft.islands.iter().flat_map(|island| &island.outboxes)
    }

    /// The state of one island.
    pub fn island(&self, island: IslandId) -> Option<&IslandState> {
        self.draft.islands.iter().find(|state| state.island == island)
    }
}
