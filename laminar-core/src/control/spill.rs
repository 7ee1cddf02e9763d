//! Queries that spill: which are told to, and how they get on.
//!
//! Invariants: a query is told before it is full, each reactor by its share of what is held; it is told again when no
//! reactor has more to do and it holds too much nevertheless. A reactor speaks only of changes, so that ends.

use std::collections::BTreeMap;

use super::core::Control;
use crate::engine::message::{Command, SpillNews};
use crate::engine::{spill_from, spill_to};
use crate::graph::{MemoryPolicy, MemorySpec};
use crate::ids::{ObjectId, ReactorId};

/// Queries that were told to spill: how each reactor gets on that has not done it.
#[derive(Default)]
pub(super) struct Spills(BTreeMap<ObjectId, BTreeMap<ReactorId, SpillNews>>);

impl Spills {
    /// What was told does not count any more.
    pub(super) fn forget(&mut self, object: ObjectId) {
        self.0.remove(&object);
    }

    fn of(&self, object: ObjectId) -> impl Iterator<Item = &SpillNews> {
        self.0.get(&object).into_iter().flat_map(BTreeMap::values)
    }
}

/// Of what may stay in all, the part of one that holds so many bytes of all that is held.
fn share(bytes: u64, most: u64, held: u64) -> u64 {
    (u128::from(bytes) * u128::from(most) / u128::from(held.max(1))).try_into().unwrap_or(u64::MAX)
}

impl Control {
    /// Tells the reactors to spill where a query holds much of its limit.
    pub(super) fn spill_down(&mut self, object: ObjectId, held: u64, limit: u64) {
        let at_work = self.memory.spills.of(object).any(|news| *news != SpillNews::Empty);
        if held < spill_from(limit) || at_work {
            return;
        }
        for (reactor, bytes) in self.memory.held_on(object).into_iter().filter(|(_, bytes)| *bytes > 0) {
            self.tell_to_spill(object, reactor, share(bytes, spill_to(limit), held));
            // One that has nothing to spill says so once.
            self.memory.spills.0.entry(object).or_default().entry(reactor).or_insert(SpillNews::Goes);
        }
    }

    /// The limit or the policy of a query is another one now: reactors that are at work for the former one are told
    /// how much may stay, which may be all.
    pub(super) fn spill_no_further(&mut self, object: ObjectId, held: u64, memory: MemorySpec) {
        let most = if memory.policy == MemoryPolicy::Spill { spill_to(self.limit_of(memory)) } else { u64::MAX };
        for (reactor, bytes) in self.memory.held_on(object) {
            if self.memory.spills.0.get(&object).is_some_and(|on| on.contains_key(&reactor)) {
                self.tell_to_spill(object, reactor, share(bytes, most, held));
            }
        }
    }

    fn tell_to_spill(&self, pipeline: ObjectId, reactor: ReactorId, to: u64) {
        if let Some(mailbox) = self.reactors.get(usize::from(reactor.0)) {
            mailbox.post(Command::Spill { pipeline, to });
        }
    }

    /// A reactor tells how a query gets on.
    pub(super) fn spill_news(&mut self, object: ObjectId, reactor: ReactorId, news: SpillNews) {
        let Some(on) = self.memory.spills.0.get_mut(&object) else { return };
        if news == SpillNews::Done {
            on.remove(&reactor);
        } else {
            on.insert(reactor, news);
        }
        self.weigh(object);
        if self.memory.is_full(object) {
            // It waits for another reason now.
            self.press();
        }
    }

    /// What a query that spills and is full nevertheless waits for.
    pub(super) fn spill_reason(&self, object: ObjectId, raise: &str) -> String {
        if self.store.is_none() {
            return format!("without a data directory there is nowhere to spill to; raise the limit ({raise})");
        }
        let blocked = self.memory.spills.of(object).find_map(|news| match news {
            SpillNews::Blocked(why) => Some(why),
            _ => None,
        });
        if let Some(why) = blocked {
            return format!(
                "the disk takes no more of it ({why}); it is tried again and goes on by itself when there is room; or \
                 raise the limit ({raise})"
            );
        }
        if self.memory.spills.of(object).any(|news| *news == SpillNews::Goes) {
            return "it is being spilled to disk and goes on by itself".to_owned();
        }
        format!(
            "what is left cannot be spilled (what operators hold beside their tables until the end of an epoch or \
             window); it goes on by itself when that is less, else raise the limit ({raise})"
        )
    }
}
