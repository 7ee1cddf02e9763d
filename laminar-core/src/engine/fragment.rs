//! A fragment on one reactor: its input queues, barrier alignment, and one chain per local shard.
//!
//! Invariants: a channel that has brought barrier N is not read again before all channels have
//! brought it; rows are taken only while the fragment's outputs have room; one message at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use super::chain::{Chain, ChainEnv, Outgoing, judged};
use super::kept_time;
use super::plan::FragmentPlan;
use super::route::SendRouter;
use super::shape::ChainShape;
use crate::data::Batch;
use crate::ids::{Epoch, ObjectId};
use crate::lane::{EdgeId, Mark};
use crate::operator::{Barrier, OperatorError};
use laminar_storage::arena::Arena;

/// One fragment of one pipeline; the same number on every reactor. Ascending numbers are a
/// topological order over all pipelines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FragmentId(pub u32);

impl FragmentId {
    /// The fragment as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One message in an input queue.
#[derive(Debug)]
pub enum Item {
    /// Rows for one local shard.
    Rows {
        /// Index of the local shard.
        slot: usize,
        /// The rows.
        batch: Batch,
        /// Whether taking this item frees a credit of the channel's edge.
        credit: bool,
    },
    /// Event time.
    Mark {
        /// Index of the local shard; none = all.
        slot: Option<usize>,
        /// The mark.
        mark: Mark,
    },
    /// The end of an epoch.
    Barrier(Barrier),
}

/// One sender into a leaf.
#[derive(Debug, Default)]
pub struct Channel {
    queue: VecDeque<Item>,
    /// The barrier it has brought and the others have not.
    reached: Option<Barrier>,
    /// Event time per local shard, as taken from the queue.
    marks: Vec<Mark>,
    /// Event time per local shard, as put into the queue.
    told: Vec<Mark>,
    /// Rows items in the queue.
    rows: usize,
}

/// A place where rows enter.
#[derive(Debug)]
pub struct LeafState {
    /// The edge, for an exchange.
    pub edge: Option<EdgeId>,
    /// One per sender.
    channels: Vec<Channel>,
    /// Not read until the snapshot of the relation has been put in front.
    held: bool,
    /// Per local shard: how far time had come when its splits were closed, to be opened anew.
    kept: Vec<Mark>,
}

/// What taking one message has done.
#[derive(Debug)]
pub enum Stepped {
    /// There was nothing to take.
    Nothing,
    /// Rows went through.
    Rows {
        /// How many.
        rows: usize,
        /// The edge and sender to pay a credit back to.
        credit: Option<(EdgeId, usize)>,
    },
    /// Event time moved.
    Marked,
    /// A channel has brought a barrier that others have not.
    Waiting,
    /// All channels have brought this barrier and it has passed the chains.
    Passed(Barrier),
}

/// See the file's invariants.
pub struct Fragment {
    /// Which.
    pub id: FragmentId,
    /// Whose.
    pub pipeline: ObjectId,
    /// The pipeline's name.
    pub name: Arc<str>,
    /// Its shape.
    pub shape: Arc<ChainShape>,
    /// One per local shard.
    pub chains: Vec<Chain>,
    /// Their state, one arena per local shard: a fragment's alone, so that a barrier freezes exactly
    /// what the fragment has seen.
    pub arenas: Vec<Arena>,
    /// Edges of the sends.
    pub edges: Vec<EdgeId>,
    /// Cuts the rows of the sends.
    pub routers: Vec<SendRouter>,
    /// What the sends were last told of event time.
    pub sent_marks: Vec<Mark>,
    /// Fragments and leaves of the hand-overs.
    pub hands: Vec<(FragmentId, usize)>,
    /// Columns of its output, if it has one.
    pub output_width: usize,
    /// Whether its state is written at checkpoints.
    pub durable: bool,
    /// Whether it has failed and waits to be removed.
    pub failed: bool,
    /// The epoch at whose end it joined; it takes part in later barriers.
    pub joined: Option<Epoch>,
    /// Bytes of its state in memory when they were last counted.
    pub counted: u64,
    /// The newest barrier that has passed.
    pub passed: Option<Barrier>,
    leaves: Vec<LeafState>,
    /// Leaves whose time is part of its state.
    keeps_time: Vec<usize>,
    next: (usize, usize),
}

/// Row messages a channel within a reactor may hold.
const CHANNEL_ROWS: usize = 4;

impl Fragment {
    /// A fragment that has not joined yet. `leaves` gives edge and number of channels of each leaf.
    pub fn new(
        pipeline: ObjectId,
        name: Arc<str>,
        plan: &FragmentPlan,
        (chains, arenas): (Vec<Chain>, Vec<Arena>),
        routers: Vec<SendRouter>,
        leaves: Vec<(Option<EdgeId>, usize)>,
    ) -> Self {
        let slots = chains.len();
        let channel =
            || Channel { marks: vec![Mark::UNKNOWN; slots], told: vec![Mark::UNKNOWN; slots], ..Channel::default() };
        let leaves = leaves
            .into_iter()
            .map(|(edge, senders)| LeafState {
                edge,
                channels: (0..senders).map(|_| channel()).collect(),
                held: false,
                kept: vec![Mark::UNKNOWN; slots],
            })
            .collect();
        Self {
            id: plan.id,
            pipeline,
            name,
            shape: plan.shape.clone(),
            chains,
            arenas,
            edges: plan.edges.clone(),
            sent_marks: vec![Mark::UNKNOWN; plan.edges.len()],
            routers,
            hands: plan.hands.clone(),
            output_width: plan.output_width,
            durable: false,
            failed: false,
            joined: None,
            counted: 0,
            passed: None,
            leaves,
            keeps_time: Vec::new(),
            next: (0, 0),
        }
    }

    /// Bytes of its state now: pages of its arenas and what operators hold beside them.
    pub fn state_bytes(&self) -> u64 {
        let arenas: u64 = self.arenas.iter().map(Arena::bytes_used).sum();
        arenas + self.chains.iter().map(Chain::heap_bytes).sum::<u64>()
    }

    /// Bytes of its state that lie in spill files.
    pub fn spilled_bytes(&self) -> u64 {
        self.arenas.iter().map(Arena::bytes_spilled).sum()
    }

    /// Tells a leaf with one channel the mark of a local shard, if that is news.
    pub fn put_mark(&mut self, leaf: usize, slot: usize, mark: Mark) {
        let LeafState { channels, kept, .. } = &mut self.leaves[leaf];
        let (channel, mark) = (&mut channels[0], mark.behind(kept[slot]));
        if channel.told[slot] != mark {
            channel.told[slot] = mark;
            channel.queue.push_back(Item::Mark { slot: Some(slot), mark });
        }
    }

    /// The splits behind a leaf are closed, to be opened anew: time goes on from where it is.
    pub fn close(&mut self, leaf: usize) {
        let LeafState { channels, kept, .. } = &mut self.leaves[leaf];
        *kept = channels[0].told.iter().map(|told| told.to_keep()).collect();
    }

    /// Keeps the time of leaves from now on; it goes on from what is kept.
    pub fn keep_time(&mut self, leaves: Vec<usize>) {
        for leaf in &leaves {
            self.leaves[*leaf].kept = self.arenas.iter().map(|arena| kept_time::kept(arena, *leaf)).collect();
        }
        self.keeps_time = leaves;
    }

    /// Tells the leaves whose time is kept how far it has come.
    pub fn tell_kept_time(&mut self) {
        for leaf in self.keeps_time.clone() {
            for slot in 0..self.chains.len() {
                self.put_mark(leaf, slot, Mark::UNKNOWN);
            }
        }
    }

    /// Event time of a vertex per local shard.
    pub fn marks_of(&self, vertex: usize) -> Vec<Mark> {
        self.chains.iter().map(|chain| chain.mark(vertex)).collect()
    }

    /// Adds a message to a channel.
    pub fn put(&mut self, leaf: usize, channel: usize, item: Item) {
        let channel = &mut self.leaves[leaf].channels[channel];
        channel.rows += usize::from(matches!(item, Item::Rows { .. }));
        channel.queue.push_back(item);
    }

    /// Puts snapshot rows before everything else of a held leaf and releases it.
    pub fn release(&mut self, leaf: usize, snapshot: Vec<(usize, Batch)>) {
        let leaf = &mut self.leaves[leaf];
        leaf.held = false;
        let channel = &mut leaf.channels[0];
        for (slot, batch) in snapshot.into_iter().rev() {
            channel.rows += 1;
            channel.queue.push_front(Item::Rows { slot, batch, credit: false });
        }
    }

    /// Holds a leaf until [`Fragment::release`].
    pub fn hold(&mut self, leaf: usize) {
        self.leaves[leaf].held = true;
    }

    /// Whether a channel within this reactor has no room for more rows.
    pub fn full(&self, leaf: usize) -> bool {
        self.leaves[leaf].channels[0].rows >= CHANNEL_ROWS
    }

    /// Whether some channel has a message that could be taken.
    pub fn ready(&self) -> bool {
        self.leaves
            .iter()
            .any(|leaf| !leaf.held && leaf.channels.iter().any(|c| c.reached.is_none() && !c.queue.is_empty()))
    }

    /// Takes one message, round robin over the channels.
    ///
    /// # Errors
    /// The operator's; the fragment must not be used after that.
    pub fn step(&mut self, out: &mut Vec<(usize, Outgoing)>) -> Result<Stepped, OperatorError> {
        let Some((leaf, channel)) = self.pick() else { return Ok(Stepped::Nothing) };
        let state = &mut self.leaves[leaf].channels[channel];
        let Some(item) = state.queue.pop_front() else { return Ok(Stepped::Nothing) };
        match item {
            Item::Rows { slot, batch, credit } => {
                state.rows -= 1;
                let credit = self.leaves[leaf].edge.filter(|_| credit).map(|edge| (edge, channel));
                let batch = judged(batch, self.others(leaf, channel, slot));
                let (vertex, rows) = (self.shape.leaves[leaf], batch.len());
                self.on_chain(slot, out, |chain, env| chain.rows(vertex, batch, env))?;
                Ok(Stepped::Rows { rows, credit })
            }
            Item::Mark { slot, mark } => {
                let slots = slot.map_or(0..self.chains.len(), |slot| slot..slot + 1);
                for slot in slots {
                    self.leaves[leaf].channels[channel].marks[slot] = mark;
                    let mark = Mark::over(self.leaves[leaf].channels.iter().map(|c| c.marks[slot]));
                    let vertex = self.shape.leaves[leaf];
                    self.on_chain(slot, out, |chain, env| chain.watermark(vertex, mark, env))?;
                }
                Ok(Stepped::Marked)
            }
            Item::Barrier(barrier) => {
                self.leaves[leaf].channels[channel].reached = Some(barrier);
                let aligned =
                    self.leaves.iter().all(|leaf| leaf.channels.iter().all(|channel| channel.reached == Some(barrier)));
                if !aligned {
                    return Ok(Stepped::Waiting);
                }
                for channel in self.leaves.iter_mut().flat_map(|leaf| &mut leaf.channels) {
                    channel.reached = None;
                }
                for slot in 0..self.chains.len() {
                    self.on_chain(slot, out, |chain, env| chain.barrier(barrier, env))?;
                }
                self.passed = Some(barrier);
                if barrier.checkpoint.is_some() && self.durable {
                    self.keep_times()?;
                    self.arenas.iter_mut().for_each(Arena::freeze);
                }
                Ok(Stepped::Passed(barrier))
            }
        }
    }

    fn keep_times(&mut self) -> Result<(), OperatorError> {
        for &leaf in &self.keeps_time {
            for (chain, arena) in self.chains.iter().zip(&mut self.arenas) {
                kept_time::keep(arena, leaf, chain.mark(self.shape.leaves[leaf]))?;
            }
        }
        Ok(())
    }

    /// Event time of a vertex over the local shards.
    pub fn mark(&self, vertex: usize) -> Mark {
        Mark::over(self.chains.iter().map(|chain| chain.mark(vertex)))
    }

    /// Event time of a vertex over the local shards but one.
    pub fn mark_beside(&self, vertex: usize, slot: usize) -> Mark {
        Mark::over(self.chains.iter().enumerate().filter(|(s, _)| *s != slot).map(|(_, chain)| chain.mark(vertex)))
    }

    fn others(&self, leaf: usize, channel: usize, slot: usize) -> Mark {
        let channels = self.leaves[leaf].channels.iter().enumerate();
        Mark::over(channels.filter(|(c, _)| *c != channel).map(|(_, c)| c.marks[slot]))
    }

    fn pick(&mut self) -> Option<(usize, usize)> {
        let total: usize = self.leaves.iter().map(|leaf| leaf.channels.len()).sum();
        for _ in 0..total {
            let (leaf, channel) = self.next;
            self.next = if channel + 1 < self.leaves[leaf].channels.len() {
                (leaf, channel + 1)
            } else {
                ((leaf + 1) % self.leaves.len(), 0)
            };
            let state = &self.leaves[leaf];
            if !state.held && state.channels[channel].reached.is_none() && !state.channels[channel].queue.is_empty() {
                return Some((leaf, channel));
            }
        }
        None
    }

    fn on_chain(
        &mut self,
        slot: usize,
        out: &mut Vec<(usize, Outgoing)>,
        with: impl FnOnce(&mut Chain, &mut ChainEnv<'_>) -> Result<(), OperatorError>,
    ) -> Result<(), OperatorError> {
        let mut left = Vec::new();
        let mut env = ChainEnv { shape: &self.shape, arena: &mut self.arenas[slot], out: &mut left };
        with(&mut self.chains[slot], &mut env)?;
        out.extend(left.into_iter().map(|outgoing| (slot, outgoing)));
        Ok(())
    }
}
