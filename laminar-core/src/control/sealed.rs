//! What an exactly-once sink has staged and not committed, and what may go into the next commit.
//!
//! Invariants: a frame is offered only when every shard has sealed the checkpoint that it belongs to;
//! a commit holds, for its checkpoint, exactly the frames that belong to it or to older ones and are
//! not committed; frames of a shard keep their order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::connector::Frame;
use crate::engine::Staged;
use crate::ids::{CheckpointNumber, ShardId};

/// Bytes after which no further checkpoint joins a commit: a long outage does not end in one transaction
/// that no target takes in time.
const COMMIT_BYTES: u64 = 32 << 20;

/// One shard's part.
#[derive(Default)]
struct Part {
    /// With the bytes of each.
    frames: VecDeque<(Arc<Frame>, u64)>,
    /// Ascending: checkpoint and the first frame that is younger.
    seals: VecDeque<(CheckpointNumber, u64)>,
}

impl Part {
    /// The first frame that is younger than a checkpoint.
    fn end(&self, checkpoint: CheckpointNumber) -> u64 {
        self.seals.iter().rev().find(|(sealed, _)| *sealed <= checkpoint).map_or(0, |(_, end)| *end)
    }
}

/// See the file's invariants.
pub struct Sealed {
    shards: usize,
    parts: BTreeMap<ShardId, Part>,
}

/// The next commit.
pub struct NextCommit {
    /// The marker.
    pub checkpoint: CheckpointNumber,
    /// The rows, at least one.
    pub frames: Vec<Arc<Frame>>,
}

impl Sealed {
    /// Nothing staged; so many shards seal each checkpoint.
    pub fn new(shards: u16) -> Self {
        Self { shards: usize::from(shards), parts: BTreeMap::new() }
    }

    /// Takes what a stage has said.
    pub fn take(&mut self, staged: Staged) {
        match staged {
            Staged::Frame(frame) => {
                let bytes = bytes(&frame);
                self.parts.entry(frame.shard).or_default().frames.push_back((frame, bytes));
            }
            Staged::Sealed { shard, checkpoint, end } => {
                let seals = &mut self.parts.entry(shard).or_default().seals;
                seals.pop_back_if(|(sealed, _)| *sealed >= checkpoint);
                seals.push_back((checkpoint, end));
            }
        }
    }

    /// The target holds everything up to a checkpoint: forgets it and returns the last frame of each
    /// shard that had some.
    pub fn committed(&mut self, checkpoint: CheckpointNumber) -> Vec<(ShardId, u64)> {
        let mut done = Vec::new();
        for (shard, part) in &mut self.parts {
            let end = part.end(checkpoint);
            let mut last = None;
            while let Some((frame, _)) = part.frames.pop_front_if(|(frame, _)| frame.sequence < end) {
                last = Some(frame.sequence);
            }
            done.extend(last.map(|sequence| (*shard, sequence)));
            // The newest seal stays: it says how far the shard is.
            while part.seals.len() > 1 && part.seals[1].0 <= checkpoint {
                part.seals.pop_front();
            }
        }
        done
    }

    /// What may be committed now; checkpoints without rows need no commit and are passed over.
    pub fn next(&mut self) -> Option<NextCommit> {
        if self.parts.len() < self.shards {
            return None;
        }
        let complete = self.parts.values().map(|part| part.seals.back().map(|seal| seal.0)).min()??;
        let numbers: BTreeSet<CheckpointNumber> = self
            .parts
            .values()
            .flat_map(|part| part.seals.iter().map(|seal| seal.0))
            .filter(|number| *number <= complete)
            .collect();
        let mut counts = vec![0; self.parts.len()];
        let mut chosen: Option<(CheckpointNumber, Vec<usize>)> = None;
        let mut total = 0;
        for number in numbers {
            for (part, count) in self.parts.values().zip(&mut counts) {
                let end = part.end(number);
                let more = part.frames.iter().skip(*count).take_while(|(frame, _)| frame.sequence < end);
                for (_, bytes) in more {
                    *count += 1;
                    total += bytes;
                }
            }
            if total > COMMIT_BYTES && chosen.as_ref().is_some_and(|(_, counts)| counts.iter().any(|count| *count > 0))
            {
                break;
            }
            chosen = Some((number, counts.clone()));
        }
        let (checkpoint, counts) = chosen?;
        let of = |(part, count): (&Part, usize)| -> Vec<Arc<Frame>> {
            part.frames.iter().take(count).map(|(frame, _)| frame.clone()).collect()
        };
        let frames: Vec<Arc<Frame>> = self.parts.values().zip(counts).flat_map(of).collect();
        if frames.is_empty() {
            self.committed(checkpoint);
            return None;
        }
        Some(NextCommit { checkpoint, frames })
    }
}

fn bytes(frame: &Frame) -> u64 {
    let part = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len) as u64;
    frame.records.iter().map(|record| part(&record.key) + part(&record.value)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::FrameRecord;

    const TWO: u16 = 2;

    fn frame(shard: u16, sequence: u64, bytes: usize) -> Staged {
        let record = FrameRecord { key: None, value: Some(vec![0; bytes]), timestamp_ms: None };
        Staged::Frame(Arc::new(Frame { shard: ShardId(shard), sequence, records: vec![record] }))
    }

    fn seal(shard: u16, checkpoint: u64, end: u64) -> Staged {
        Staged::Sealed { shard: ShardId(shard), checkpoint: CheckpointNumber(checkpoint), end }
    }

    fn sealed(staged: Vec<Staged>) -> Sealed {
        let mut sealed = Sealed::new(TWO);
        staged.into_iter().for_each(|staged| sealed.take(staged));
        sealed
    }

    fn next(sealed: &mut Sealed) -> Option<(u64, Vec<(u16, u64)>)> {
        let next = sealed.next()?;
        Some((next.checkpoint.0, next.frames.iter().map(|frame| (frame.shard.0, frame.sequence)).collect()))
    }

    #[test]
    fn nothing_leaves_before_every_shard_has_sealed() {
        let mut sealed = sealed(vec![frame(0, 0, 1), frame(0, 1, 1), seal(0, 5, 1)]);
        assert_eq!(next(&mut sealed), None);
        sealed.take(seal(1, 5, 0));
        assert_eq!(next(&mut sealed), Some((5, vec![(0, 0)])), "the frame behind the barrier stays");
        assert_eq!(sealed.committed(CheckpointNumber(5)), [(ShardId(0), 0)]);
        assert_eq!(next(&mut sealed), None);
    }

    #[test]
    fn a_shard_that_lags_holds_back_only_what_is_younger() {
        let mut sealed = sealed(vec![frame(0, 0, 1), seal(0, 5, 1), frame(0, 1, 1), seal(0, 6, 2), seal(1, 5, 0)]);
        assert_eq!(next(&mut sealed), Some((5, vec![(0, 0)])));
        sealed.take(seal(1, 6, 0));
        assert_eq!(next(&mut sealed), Some((6, vec![(0, 0), (0, 1)])), "what waits goes in one commit");
    }

    #[test]
    fn a_long_outage_ends_in_commits_of_limited_size() {
        let large = COMMIT_BYTES as usize / 2 + 1;
        let mut sealed = sealed(vec![frame(0, 0, large), seal(0, 5, 1), seal(1, 5, 0)]);
        for staged in [frame(1, 0, large), seal(0, 6, 1), seal(1, 6, 1)] {
            sealed.take(staged);
        }
        assert_eq!(next(&mut sealed), Some((5, vec![(0, 0)])));
        sealed.committed(CheckpointNumber(5));
        assert_eq!(next(&mut sealed), Some((6, vec![(1, 0)])));
    }

    #[test]
    fn found_frames_that_the_marker_covers_are_acknowledged_and_the_rest_is_sent() {
        let found = vec![
            frame(0, 0, 1),
            seal(0, 3, 1),
            frame(0, 1, 1),
            seal(0, 5, 2),
            seal(0, 7, 2),
            frame(1, 0, 1),
            seal(1, 4, 1),
            seal(1, 7, 1),
        ];
        let mut sealed = sealed(found);
        assert_eq!(sealed.committed(CheckpointNumber(4)), [(ShardId(0), 0), (ShardId(1), 0)]);
        assert_eq!(next(&mut sealed), Some((7, vec![(0, 1)])));
    }

    #[test]
    fn seals_without_rows_are_forgotten() {
        let mut sealed = sealed(Vec::new());
        for checkpoint in 1..100 {
            sealed.take(seal(0, checkpoint, 0));
            sealed.take(seal(1, checkpoint, 0));
            assert_eq!(next(&mut sealed), None);
            assert!(sealed.parts.values().all(|part| part.seals.len() == 1));
        }
    }

    #[test]
    fn a_marker_between_two_checkpoints_covers_the_older_one_only() {
        let mut sealed = sealed(vec![frame(0, 0, 1), seal(0, 5, 1), frame(0, 1, 1), seal(0, 9, 2), seal(1, 9, 0)]);
        assert_eq!(sealed.committed(CheckpointNumber(8)), [(ShardId(0), 0)]);
        assert_eq!(next(&mut sealed), Some((9, vec![(0, 1)])));
    }
}
