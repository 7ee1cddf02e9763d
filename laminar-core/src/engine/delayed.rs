//! Rows of clients that wait, before they are logged, for a sink or a query that they would feed.
//!
//! Invariants: what waits has not been accepted and is answered within [`PATIENCE_US`]; rows of one
//! object keep their order; what nobody waits for any more is not accepted, because its client was told
//! that it was cancelled, and may send it again.

use std::collections::VecDeque;
use std::sync::Arc;

use super::core::Engine;
use super::message::Chokes;
use super::reply::Reply;
use super::request::{Insert, Inserted};
use super::{EngineError, push::Push};
use crate::reactor::Now;

/// How long rows wait, in microseconds.
const PATIENCE_US: u64 = 10_000_000;

struct Waiting {
    until: u64,
    insert: Insert,
    reply: Reply<Inserted>,
}

/// See the file's invariants.
#[derive(Default)]
pub struct Delayed {
    choked: Arc<Chokes>,
    waiting: VecDeque<Waiting>,
    bytes: u64,
}

impl Delayed {
    /// When the first of them has waited long enough.
    pub fn deadline(&self) -> Option<u64> {
        self.waiting.front().map(|first| first.until)
    }
}

fn bytes(insert: &Insert) -> u64 {
    insert.rows.iter().map(|rows| rows.get_array_memory_size() as u64).sum()
}

impl Engine {
    /// From now on rows for these groups wait, and no others.
    pub(super) fn choke(&mut self, chokes: Arc<Chokes>) {
        self.delayed.choked = chokes;
    }

    fn choked(&self, insert: &Insert) -> Option<(&Push, &str)> {
        let push = self.pushes.iter().find(|push| push.object() == insert.object)?;
        self.delayed.choked.get(&push.plan.group).map(|by| (push, &**by))
    }

    /// Takes pushed rows, at once or when what they would feed has room and earlier rows of the object have been
    /// taken.
    pub(super) fn insert(&mut self, insert: Insert, reply: Reply<Inserted>, now: Now) {
        let earlier = self.delayed.waiting.iter().any(|waiting| waiting.insert.object == insert.object);
        let choked = self.choked(&insert).map(|(push, by)| (push.plan.source.name.clone(), by.to_owned()));
        let may_enter = choked.is_none() && !earlier;
        // A repetition brings no rows: it is answered as the first.
        if may_enter || !matches!(self.repeated(insert.object, insert.request), Ok(None)) {
            return self.take(insert, reply, now);
        }
        let (size, limit) = (bytes(&insert), self.limits.outbox_bytes);
        // One may always wait, however large it is: with room it would have been taken.
        let too_much = self.delayed.bytes > 0 && self.delayed.bytes + size > limit;
        if let Some((object, by)) = choked.filter(|_| too_much) {
            return reply.send(Err(EngineError::Crowded { object, waiting: self.delayed.bytes, limit, by }));
        }
        self.delayed.bytes += size;
        self.delayed.waiting.push_back(Waiting { until: now.micros + PATIENCE_US, insert, reply });
    }

    /// Takes what need not wait any more, refuses what has waited too long.
    pub(super) fn admit_delayed(&mut self, now: Now) -> bool {
        let mut busy = false;
        for waiting in std::mem::take(&mut self.delayed.waiting) {
            let closed = waiting.reply.is_closed();
            let choked = self.choked(&waiting.insert);
            if choked.is_some() && !closed && now.micros < waiting.until {
                self.delayed.waiting.push_back(waiting);
                continue;
            }
            let refusal = choked.map(refusal);
            self.delayed.bytes -= bytes(&waiting.insert);
            busy = true;
            match refusal {
                _ if closed => {}
                Some(refusal) => waiting.reply.send(Err(refusal)),
                None => self.take(waiting.insert, waiting.reply, now),
            }
        }
        busy
    }
}

fn refusal((push, by): (&Push, &str)) -> EngineError {
    let object = push.plan.source.name.clone();
    EngineError::Choked { object, seconds: PATIENCE_US / 1_000_000, by: by.to_owned() }
}
