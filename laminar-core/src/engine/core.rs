//! One reactor's engine: a synchronous state machine that its shell turns.
//!
//! A turn goes through inbox, lanes, splits, chains, reads and completions once, then returns.
//! Invariants: nothing here blocks, reads a clock or spawns; every message is handled to its end
//! before the next; a chain that fails takes only its pipeline with it.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::delayed::Delayed;
use super::feed::{GroupId, User};
use super::fragment::{Fragment, FragmentId};
use super::lanes::Lanes;
use super::memory::Held;
use super::message::{Command, ControlLetter, Cursor, Event};
use super::plan::{AttachPlan, HoldPlan};
use super::push::{Push, Pushed};
use super::read::ReadJob;
use super::route::Link;
use super::spill::Spilling;
use super::split::Split;
use super::stage::Stage;
use super::store::Store;
use super::subscribe::Subscription;
use super::{EngineError, panic_words};
use crate::connector::Registry;
use crate::expr::ExprCompiler;
use crate::ids::{Epoch, ObjectId, ReactorId, ShardId};
use crate::lane::Mark;
use crate::operator::Barrier;
use crate::reactor::{LONG_TURNS_US, Mailbox, Now, STALL_US, Turn, Turning};
use crate::shard::ShardMap;
use laminar_storage::arena::Arena;

/// Sizes an engine works with.
#[derive(Clone, Copy, Debug)]
pub struct EngineLimits {
    /// Records a split may deliver at once.
    pub batch_rows: usize,
    /// Bytes a split may deliver at once.
    pub batch_bytes: usize,
    /// Memory limit of a query that declares none, over all shards, in bytes.
    pub state_bytes: u64,
    /// Staged bytes at which a sink is full on a reactor.
    pub outbox_bytes: u64,
    /// Idempotency keys that a table or push source knows.
    pub request_keys: u64,
}

/// What an engine is made of.
pub struct EngineParts {
    /// Its reactor.
    pub me: ReactorId,
    /// All shards.
    pub shards: ShardMap,
    /// Connectors and formats.
    pub registry: Registry,
    /// Compiles expressions.
    pub compiler: Arc<dyn ExprCompiler>,
    /// Sizes.
    pub limits: EngineLimits,
    /// Its commands.
    pub inbox: Arc<Mailbox<Command>>,
    /// Where its events go.
    pub control: Arc<Mailbox<ControlLetter>>,
    /// Its lane ends.
    pub lanes: Lanes,
    /// Its disk; none = nothing is kept.
    pub store: Option<Store>,
    /// State of the checkpoint, by local shard.
    pub restored: Vec<(usize, Arena)>,
}

/// The splits of one group on this reactor.
pub(super) struct Group {
    pub(super) id: GroupId,
    pub(super) users: Vec<User>,
    /// Whether all splits that exist are here.
    pub(super) assigned: bool,
    /// Whether splits have come since time was last told.
    pub(super) unsettled: bool,
    /// What was last told, per local shard.
    pub(super) marks: Vec<Mark>,
}

/// A barrier on its way through this reactor.
pub(super) struct Flight {
    pub(super) barrier: Barrier,
    pub(super) remaining: usize,
    pub(super) cursors: Vec<Cursor>,
    /// How far the log had entered when the barrier came.
    pub(super) entered: u64,
}

/// Whether the end is near.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// It is not.
    No,
    /// The next checkpoint is the last.
    Asked,
    /// This epoch's barrier is the last that counts.
    At(Epoch),
}

/// A plan that has been built and has not joined.
pub(super) struct PendingPlan {
    pub(super) plan: Arc<AttachPlan>,
    pub(super) activated: bool,
}

/// See the file's invariants.
pub struct Engine {
    pub(super) me: ReactorId,
    pub(super) shards: ShardMap,
    pub(super) slots: Vec<ShardId>,
    pub(super) registry: Registry,
    pub(super) compiler: Arc<dyn ExprCompiler>,
    pub(super) limits: EngineLimits,
    pub(super) inbox: Arc<Mailbox<Command>>,
    pub(super) letters: VecDeque<Command>,
    pub(super) control: Arc<Mailbox<ControlLetter>>,
    pub(super) lanes: Lanes,
    pub(super) fragments: Vec<Option<Box<Fragment>>>,
    /// Per fragment: who reads its output.
    pub(super) links: Vec<Vec<Link>>,
    /// Per edge: fragment and leaf that receive it.
    pub(super) receivers: Vec<Option<(FragmentId, usize)>>,
    /// State of the checkpoint that no pipeline has taken yet.
    pub(super) restored: Vec<(usize, Arena)>,
    /// Whether some of the restored state may not be read back yet.
    pub(super) loading: bool,
    /// Its disk; none = nothing is kept.
    pub(super) store: Option<Store>,
    pub(super) groups: Vec<Group>,
    pub(super) splits: Vec<Split>,
    pub(super) pushes: Vec<Push>,
    /// Pushed rows that are checked and have not entered a chain, in order.
    pub(super) pushed: VecDeque<Pushed>,
    pub(super) closing: Closing,
    /// Sinks whose targets get the last checkpoint's rows before the end.
    pub(super) drain: Option<Vec<ObjectId>>,
    /// Rows of clients that wait for a sink.
    pub(super) delayed: Delayed,
    /// Bytes of state by query.
    pub(super) held: BTreeMap<ObjectId, Held>,
    /// Queries that are to hold less; the first is next.
    pub(super) spilling: VecDeque<Spilling>,
    pub(super) stages: Vec<Stage>,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) reads: VecDeque<ReadJob>,
    pub(super) pending: Vec<PendingPlan>,
    /// Pipelines that are paused at the next barrier.
    pub(super) holds: Vec<Arc<HoldPlan>>,
    pub(super) flight: Option<Flight>,
    pub(super) last_barrier: Epoch,
    pub(super) announced: Epoch,
    pub(super) flowing: bool,
    /// Position in the log up to which rows have entered the chains.
    pub(super) entered_lsn: u64,
    /// Positions of the splits at the checkpoint that is being written.
    pub(super) checkpoint_cursors: Vec<Cursor>,
    pub(super) turns: u64,
    /// Longer than each of [`LONG_TURNS_US`].
    pub(super) turns_over: [u64; LONG_TURNS_US.len()],
    pub(super) stall_in: Option<String>,
    pub(super) rows_unread: u64,
    pub(super) doing: Option<FragmentId>,
    stopped: bool,
    closed: bool,
    next_split: usize,
}

impl Engine {
    /// An engine without objects.
    pub fn new(parts: EngineParts) -> Self {
        let EngineParts { me, shards, registry, compiler, limits, inbox, control, lanes, store, restored } = parts;
        Self {
            me,
            slots: shards.shards_of(me).collect(),
            shards,
            registry,
            compiler,
            limits,
            inbox,
            letters: VecDeque::new(),
            control,
            lanes,
            fragments: Vec::new(),
            links: Vec::new(),
            receivers: Vec::new(),
            loading: !restored.is_empty(),
            restored,
            store,
            groups: Vec::new(),
            splits: Vec::new(),
            pushes: Vec::new(),
            pushed: VecDeque::new(),
            closing: Closing::No,
            drain: None,
            delayed: Delayed::default(),
            held: BTreeMap::new(),
            spilling: VecDeque::new(),
            stages: Vec::new(),
            subscriptions: Vec::new(),
            reads: VecDeque::new(),
            pending: Vec::new(),
            holds: Vec::new(),
            flight: None,
            last_barrier: Epoch::default(),
            announced: Epoch::default(),
            flowing: false,
            entered_lsn: 0,
            checkpoint_cursors: Vec::new(),
            turns: 0,
            turns_over: [0; LONG_TURNS_US.len()],
            stall_in: None,
            rows_unread: 0,
            doing: None,
            stopped: false,
            closed: false,
            next_split: 0,
        }
    }

    fn commands(&mut self, now: Now) -> bool {
        let mut letters = std::mem::take(&mut self.letters);
        self.inbox.take(&mut letters);
        let busy = !letters.is_empty();
        for command in letters.drain(..) {
            self.command(command, now);
        }
        self.letters = letters;
        busy
    }

    fn command(&mut self, command: Command, now: Now) {
        match command {
            Command::Attach(plan) => self.attach(&plan, now),
            Command::Activate(number) => {
                for pending in self.pending.iter_mut().filter(|pending| pending.plan.number == number) {
                    pending.activated = true;
                }
            }
            Command::Detach(plan) => self.detach(&plan),
            Command::Hold(plan) => self.holds.push(plan),
            Command::Barrier(barrier) => self.begin_barrier(barrier),
            Command::Announce(epoch) => self.announce(epoch),
            Command::Splits { group, spec, splits } => self.add_splits(group, &spec, splits, now),
            Command::Insert(insert, reply) => self.insert(insert, reply, now),
            Command::Replay { object, record, entered } => self.replay(object, &record, entered, now),
            Command::Read { read, objects } => self.begin_read(read, objects),
            Command::Subscribe { id, fragment, snapshot } => self.subscribe(id, fragment, snapshot),
            Command::Unsubscribe(id) => self.subscriptions.retain(|subscription| subscription.id != id),
            Command::Advance(advance) => self.advance_watermark(advance, now),
            Command::Choke(chokes) => self.choke(chokes),
            Command::Spill { pipeline, to } => self.spill(pipeline, to),
            Command::Closing => self.closing = Closing::Asked,
            Command::Drain(sinks) => self.drain = Some(sinks),
            Command::Acknowledged { sink, shard, sequence } => self.acknowledged(sink, shard, sequence),
            Command::Published(note) => self.published(&note),
            Command::Status(id) => self.report_status(id, now),
            Command::Shutdown => self.stopped = true,
        }
    }

    /// The index of the next split to poll; round robin over turns.
    pub(super) fn rotate_splits(&mut self) -> usize {
        self.next_split = (self.next_split + 1) % self.splits.len().max(1);
        self.next_split
    }

    /// Ends after this turn.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    /// Sends an event to the control thread.
    pub(super) fn tell(&self, event: Event) {
        self.control.post(ControlLetter::Event(event));
    }

    /// Notes that data flows, so that a barrier will follow.
    pub(super) fn flows(&mut self) {
        if !self.flowing {
            self.flowing = true;
            self.tell(Event::DataFlows);
        }
    }

    /// The local index of a shard.
    pub(super) fn slot_of(&self, shard: ShardId) -> Option<usize> {
        self.slots.iter().position(|slot| *slot == shard)
    }

    /// A fragment that is here.
    pub(super) fn fragment(&mut self, id: FragmentId) -> Option<&mut Fragment> {
        self.fragments.get_mut(id.index())?.as_deref_mut()
    }

    fn one_turn(&mut self, now: Now) -> Turn {
        if self.stopped {
            return Turn::Stopped;
        }
        self.turns += 1;
        let mut busy = self.commands(now);
        busy |= self.receive();
        busy |= self.pump_store(now);
        busy |= self.poll_splits(now);
        busy |= self.admit_delayed(now);
        busy |= self.enter_pushed(now);
        self.tell_time(now);
        busy |= self.run_fragments();
        busy |= self.run_reads();
        busy |= self.spill_step(now);
        self.tell_pressure();
        busy |= self.pump_store(now);
        busy |= self.load_ahead();
        self.lanes.flush();
        if self.stopped {
            return Turn::Stopped;
        }
        if busy || self.has_work() { Turn::Busy } else { Turn::Idle(self.deadline(now)) }
    }
}

impl Turning for Engine {
    /// A panic outside of a pipeline leaves nothing that could go on: the engine ends with its words. (One is that
    /// restored state cannot be read where it is needed.)
    fn turn(&mut self, now: Now) -> Turn {
        catch_unwind(AssertUnwindSafe(|| self.one_turn(now))).unwrap_or_else(|panic| {
            self.store_failed(EngineError::Internal(format!("panic of a reactor: {}", panic_words(&*panic))));
            Turn::Stopped
        })
    }

    fn has_work(&mut self) -> bool {
        let has_work = self.inbox.waiting()
            || self.lanes.busy()
            || self.split_ready()
            || !self.reads.is_empty()
            || self.store_has_news();
        has_work && !self.closed
    }

    fn close(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.close_store();
        self.control.post(ControlLetter::Event(Event::Stopped(self.me)));
    }

    fn took_long(&mut self, micros: u64) {
        for (count, limit) in self.turns_over.iter_mut().zip(LONG_TURNS_US) {
            *count += u64::from(micros > limit);
        }
        if micros <= STALL_US {
            return;
        }
        self.stall_in = self
            .doing
            .and_then(|id| self.fragments.get(id.index()).and_then(Option::as_ref))
            .map(|fragment| format!("{} (fragment {})", fragment.name, fragment.id.0));
    }
}
