//! Queries that spill: which are told to, and how they get on.
//!
//! Invariants: a query is told before it is full, each reactor by its share of what is held; it is told again when all
//! have answered and it has grown, so one that holds nothing that could be spilled costs no endless messages.

use std::collections::{BTreeMap, BTreeSet};

use super::core::Control;
use crate::engine::message::{Command, SpillNews};
use crate::engine::{spill_from, spill_to};
use crate::ids::{ObjectId, ReactorId};

/// A query that has spilled what it could is told again when it has grown by this part of its limit.
const GROWN_SHARE: u64 = 64;

/// Queries that hold as much as lets them spill.
#[derive(Default)]
pub(super) struct Spills(BTreeMap<ObjectId, Spill>);

#[derive(Default)]
struct Spill {
    /// Who has not answered.
    open: BTreeSet<ReactorId>,
    /// Whose disk takes nothing, and why.
    blocked: BTreeMap<ReactorId, String>,
    /// What was held when all had answered.
    left: Option<u64>,
}

impl Spills {
    /// What was told does not count any more.
    pub(super) fn forget(&mut self, object: ObjectId) {
        self.0.remove(&object);
    }
}

impl Control {
    /// Tells the reactors to spill where a query holds much of its limit.
    pub(super) fn spill_down(&mut self, object: ObjectId, held: u64, limit: u64) {
        let known = self.memory.spills.0.get(&object);
        let open = known.is_some_and(|spill| !spill.open.is_empty());
        if held < spill_from(limit) {
            if !open {
                self.memory.spills.forget(object);
            }
            return;
        }
        let left = known.and_then(|spill| spill.left);
        if open || left.is_some_and(|left| held < left + limit / GROWN_SHARE) {
            return;
        }
        let on = self.memory.held_on(object);
        for (reactor, bytes) in &on {
            let to = (u128::from(*bytes) * u128::from(spill_to(limit)) / u128::from(held.max(1))) as u64;
            if let Some(reactor) = self.reactors.get(usize::from(reactor.0)) {
                reactor.post(Command::Spill { pipeline: object, to });
            }
        }
        let open = on.into_iter().map(|(reactor, _)| reactor).collect();
        self.memory.spills.0.insert(object, Spill { open, ..Spill::default() });
    }

    /// A reactor tells how a query gets on.
    pub(super) fn spill_news(&mut self, object: ObjectId, reactor: ReactorId, news: SpillNews) {
        let held = self.memory.held(object);
        let Some(spill) = self.memory.spills.0.get_mut(&object) else { return };
        match news {
            SpillNews::Blocked(why) => drop(spill.blocked.insert(reactor, why)),
            SpillNews::Goes => drop(spill.blocked.remove(&reactor)),
            SpillNews::Over => {
                spill.blocked.remove(&reactor);
                spill.open.remove(&reactor);
                if spill.open.is_empty() {
                    spill.left = Some(held);
                }
            }
        }
        self.weigh(object);
        if self.memory.is_full(object) {
            // It waits for another reason now.
            self.press();
        }
    }

    /// What a query that spills and is full nevertheless waits for.
    pub(super) fn spill_reason(&self, object: ObjectId, raise: &str) -> String {
        let spill = self.memory.spills.0.get(&object);
        if self.store.is_none() {
            return format!("without a data directory there is nowhere to spill to; raise the limit ({raise})");
        }
        match spill.map(|spill| (spill.blocked.values().next(), spill.open.is_empty())) {
            Some((Some(why), _)) => format!(
                "the disk takes no more of it ({why}); it is tried again and goes on by itself when there is room; or \
                 raise the limit ({raise})"
            ),
            Some((None, false)) => "it is being spilled to disk and goes on by itself".to_owned(),
            _ => format!(
                "what is left cannot be spilled (what operators hold beside their tables until the end of an epoch or \
                 window); it goes on by itself when that is less, else raise the limit ({raise})"
            ),
        }
    }
}
