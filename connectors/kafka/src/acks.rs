//! Which frames are safe: a ledger of records on their way.
//!
//! Invariant: a frame is safe when it was sent whole and each of its records was acknowledged; what
//! is reported for a shard is always a prefix of its frames, each reported once.

use std::collections::{BTreeMap, VecDeque};

use laminar_core::ids::ShardId;

/// Identifies a frame on its way; travels with each of its records through librdkafka.
pub type Ticket = usize;

struct OnTheWay {
    ticket: Ticket,
    sequence: u64,
    /// Records not acknowledged yet.
    open: usize,
    /// Whether all records were handed to librdkafka.
    whole: bool,
}

/// Frames on their way, per shard in order.
#[derive(Default)]
pub struct Ledger {
    shards: BTreeMap<ShardId, VecDeque<OnTheWay>>,
    owner: BTreeMap<Ticket, ShardId>,
    next: Ticket,
}

impl Ledger {
    /// Opens a frame, or finds it when it is being sent in pieces.
    pub fn open(&mut self, shard: ShardId, sequence: u64) -> Ticket {
        let frames = self.shards.entry(shard).or_default();
        if let Some(last) = frames.back().filter(|last| last.sequence == sequence) {
            return last.ticket;
        }
        let ticket = self.next;
        self.next += 1;
        frames.push_back(OnTheWay { ticket, sequence, open: 0, whole: false });
        self.owner.insert(ticket, shard);
        ticket
    }

    /// One more record of the frame is on its way.
    pub fn sent(&mut self, ticket: Ticket) {
        self.with(ticket, |frame| frame.open += 1);
    }

    /// All records of the frame are on their way.
    pub fn whole(&mut self, ticket: Ticket) {
        self.with(ticket, |frame| frame.whole = true);
    }

    /// One record of the frame is safe.
    pub fn acknowledged(&mut self, ticket: Ticket) {
        self.with(ticket, |frame| {
            debug_assert!(frame.open > 0, "a record is acknowledged once");
            frame.open = frame.open.saturating_sub(1);
        });
    }

    /// Whether nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.owner.is_empty()
    }

    /// Appends, for each shard with news, the newest sequence of its safe prefix.
    pub fn safe(&mut self, into: &mut Vec<(ShardId, u64)>) {
        for (shard, frames) in &mut self.shards {
            let mut newest = None;
            while let Some(frame) = frames.pop_front_if(|frame| frame.whole && frame.open == 0) {
                self.owner.remove(&frame.ticket);
                newest = Some(frame.sequence);
            }
            into.extend(newest.map(|sequence| (*shard, sequence)));
        }
    }

    fn with(&mut self, ticket: Ticket, change: impl FnOnce(&mut OnTheWay)) {
        let frames = self.owner.get(&ticket).and_then(|shard| self.shards.get_mut(shard));
        // Tickets rise within a shard; a report for an unknown one belongs to a producer that was given up.
        if let Some(frames) = frames
            && let Ok(place) = frames.binary_search_by_key(&ticket, |frame| frame.ticket)
            && let Some(frame) = frames.get_mut(place)
        {
            change(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(3);

    fn safe(ledger: &mut Ledger) -> Vec<(ShardId, u64)> {
        let mut safe = Vec::new();
        ledger.safe(&mut safe);
        safe
    }

    #[test]
    fn a_frame_behind_an_open_one_is_not_reported() {
        let mut ledger = Ledger::default();
        let first = ledger.open(SHARD, 0);
        ledger.sent(first);
        ledger.whole(first);
        let second = ledger.open(SHARD, 1);
        ledger.sent(second);
        ledger.whole(second);
        ledger.acknowledged(second);
        assert_eq!(safe(&mut ledger), []);
        ledger.acknowledged(first);
        assert_eq!(safe(&mut ledger), [(SHARD, 1)]);
        assert_eq!(safe(&mut ledger), [], "each prefix is reported once");
        assert!(ledger.is_empty());
    }

    #[test]
    fn a_frame_sent_in_part_is_not_safe_even_when_all_its_records_are_acknowledged() {
        let mut ledger = Ledger::default();
        let ticket = ledger.open(SHARD, 7);
        ledger.sent(ticket);
        ledger.acknowledged(ticket);
        assert_eq!(safe(&mut ledger), []);
        assert_eq!(ledger.open(SHARD, 7), ticket, "the rest goes under the same ticket");
        ledger.whole(ticket);
        assert_eq!(safe(&mut ledger), [(SHARD, 7)]);
    }

    #[test]
    fn shards_do_not_wait_for_each_other() {
        let mut ledger = Ledger::default();
        let slow = ledger.open(ShardId(0), 0);
        ledger.sent(slow);
        ledger.whole(slow);
        let empty = ledger.open(ShardId(1), 0);
        ledger.whole(empty);
        assert_eq!(safe(&mut ledger), [(ShardId(1), 0)], "a frame without records is safe at once");
    }
}
