//! Memory limits of queries: what the reactors tell of their state is summed here and compared.
//!
//! Invariants: a limit counts all shards together; at it no row and no group is dropped: what feeds the query
//! waits, or the query stops; whatever does not feed a query does not notice its limit.

use std::collections::BTreeMap;

use super::boot::BootStep;
use super::core::Control;
use super::spill::Spills;
use crate::data::EventTime;
use crate::engine::status::{MemoryStatus, ObjectKind, ObjectState};
use crate::engine::{EngineError, Reply, SPARE_SHARE, arena_bytes, spill_from};
use crate::epoch::Wanted;
use crate::graph::{MemoryPolicy, MemorySpec, ObjectSpec};
use crate::ids::{ObjectId, ReactorId};
use crate::quote::quoted_if_needed;

/// What queries hold, and which of them hold as much as they may.
#[derive(Default)]
pub(super) struct Memory {
    held: BTreeMap<ObjectId, BTreeMap<ReactorId, u64>>,
    /// Since when.
    full: BTreeMap<ObjectId, EventTime>,
    /// Of queries with other options than they were built with in this life: those.
    built_with: BTreeMap<ObjectId, MemorySpec>,
    /// Queries that are being spilled.
    pub(super) spills: Spills,
}

impl Memory {
    /// Bytes of a query on all reactors, as far as they have told.
    pub(super) fn held(&self, object: ObjectId) -> u64 {
        self.held.get(&object).map_or(0, |on| on.values().sum())
    }

    /// Bytes of a query by reactor, as far as they have told.
    pub(super) fn held_on(&self, object: ObjectId) -> Vec<(ReactorId, u64)> {
        self.held.get(&object).into_iter().flatten().map(|(reactor, bytes)| (*reactor, *bytes)).collect()
    }

    /// Whether others wait for its sake.
    pub(super) fn is_full(&self, object: ObjectId) -> bool {
        self.full.contains_key(&object)
    }

    /// Queries for whose sake others wait.
    pub(super) fn full(&self) -> impl Iterator<Item = ObjectId> + '_ {
        self.full.keys().copied()
    }
}

impl Control {
    /// A reactor tells what a query holds there.
    pub(super) fn holds(&mut self, object: ObjectId, reactor: ReactorId, bytes: u64) {
        self.memory.held.entry(object).or_default().insert(reactor, bytes);
        self.weigh(object);
    }

    /// Compares everything with its limit; to be called when a deployment has joined.
    pub(super) fn weigh_all(&mut self) {
        let entries = &self.catalog.entries;
        self.memory.held.retain(|object, _| entries.contains_key(object));
        for object in self.memory.held.keys().copied().collect::<Vec<_>>() {
            self.weigh(object);
        }
    }

    /// Objects that are gone hold nothing.
    pub(super) fn forget_memory(&mut self, gone: &[ObjectId]) {
        self.memory.held.retain(|object, _| !gone.contains(object));
        self.memory.full.retain(|object, _| !gone.contains(object));
        self.memory.built_with.retain(|object, _| !gone.contains(object));
        gone.iter().for_each(|object| self.memory.spills.forget(*object));
    }

    /// Compares what a query holds with its limit, and does what its policy says.
    pub(super) fn weigh(&mut self, object: ObjectId) {
        let joining = self.deploying.as_ref().is_some_and(|flight| flight.holds(object));
        let Some(entry) = self.catalog.entries.get(&object).filter(|_| !joining) else { return };
        let (Some(memory), rests) = (entry.spec.memory(), entry.rests()) else { return };
        let (held, limit) = (self.memory.held(object), self.limit_of(memory));
        let waits = memory.policy.waits();
        let was_full = self.memory.is_full(object);
        // What rests takes nothing; yet time may free what it holds.
        let bound = if was_full { spill_from(limit) } else { limit };
        let is_full = waits && (was_full || !rests) && held >= bound;
        if is_full != was_full {
            if is_full {
                self.memory.full.insert(object, self.now.wall);
            } else {
                self.memory.full.remove(&object);
            }
            self.press();
        }
        if !waits && !rests && held >= limit {
            self.stop_at_limit(object, held, limit);
        }
        if memory.policy == MemoryPolicy::Spill {
            self.spill_down(object, held, limit);
        }
    }

    pub(super) fn limit_of(&self, memory: MemorySpec) -> u64 {
        memory.limit.unwrap_or(self.options.state_bytes)
    }

    /// How a query stands to its limit.
    pub(super) fn memory_status(&self, object: ObjectId) -> Option<MemoryStatus> {
        let memory = self.catalog.entries.get(&object)?.spec.memory()?;
        let full_since = self.memory.full.get(&object).copied();
        Some(MemoryStatus { limit: self.limit_of(memory), policy: memory.policy, full_since })
    }

    /// A query whose policy is to fail holds as much as it may: it rests in its place until it is resumed, or
    /// ends where the past of what it reads is not kept.
    fn stop_at_limit(&mut self, object: ObjectId, held: u64, limit: u64) {
        let Some(entry) = self.catalog.entries.get(&object) else { return };
        let name = entry.spec.name().to_owned();
        let connected = |id: &ObjectId| {
            let read = self.catalog.entries.get(id);
            read.is_some_and(|read| matches!(&read.spec, ObjectSpec::Source(source) if source.connector.is_some()))
        };
        if !entry.reads().iter().all(connected) {
            let next = "it has stopped for good, because the past of what it reads is not kept: DROP it, and create \
                        it with a higher memory_limit, with less to keep, or with memory_policy = 'backpressure' or 'spill'";
            return self.failed(object, &EngineError::MemoryLimit { name, held, limit, next: next.to_owned() });
        }
        let quoted = quoted_if_needed(&name);
        let next = format!(
            "it has stopped and keeps its state and its place: {} and RESUME {quoted} let it go on without a loss, \
             DROP ends it",
            raise(&name, entry.kind())
        );
        let error = EngineError::MemoryLimit { name, held, limit, next };
        self.end_followers(object, &error.to_string());
        if let Some(entry) = self.catalog.entries.get_mut(&object) {
            entry.state = ObjectState::Stopped(error.to_string());
        }
        // On a full disk the restart finds out by itself.
        let _ = self.record_states(&[object]);
        if !self.catalog.entries.get(&object).is_some_and(|entry| self.catalog.is_parted(entry)) {
            self.part(object, Reply::ignored());
        }
        if self.store.is_some() && matches!(self.boot, BootStep::Ready) {
            self.coordinator.want(Wanted::Checkpoint);
        }
    }

    /// Whether a query that has stopped may go on.
    pub(super) fn has_room(&self, object: ObjectId) -> Result<(), EngineError> {
        let Some(entry) = self.catalog.entries.get(&object) else { return Err(EngineError::NoSuchObject(object)) };
        let Some(memory) = entry.spec.memory() else { return Ok(()) };
        let (held, limit) = (self.memory.held(object), self.limit_of(memory));
        if held < limit || memory.policy.waits() {
            return Ok(());
        }
        let name = entry.spec.name().to_owned();
        let next = format!("raise the limit first: {}", raise(&name, entry.kind()));
        Err(EngineError::MemoryLimit { name, held, limit, next })
    }

    /// Whether a shard of a running query could hold as much as a limit allows: it has its addresses since it was built.
    fn has_addresses(&self, object: ObjectId, memory: MemorySpec) -> Result<(), EngineError> {
        let Some(entry) = self.catalog.entries.get(&object) else { return Ok(()) };
        let Some(now) = entry.spec.memory() else { return Ok(()) };
        let built_with = self.memory.built_with.get(&object).copied().unwrap_or(now);
        let (built_with, policy) = (self.limit_of(built_with), built_with.policy);
        let (wanted, given) = (self.limit_of(memory), arena_bytes(built_with, policy));
        if wanted <= given || arena_bytes(wanted, memory.policy) <= given {
            return Ok(());
        }
        let reason = format!(
            "cannot have memory_limit = {wanted} bytes while it runs: with its limit of {built_with} bytes at the last \
             start or CREATE a shard of it got addresses for {given}; set at most these, restart the server, then raise \
             the limit further"
        );
        Err(EngineError::Unsupported { name: entry.spec.name().to_owned(), reason })
    }

    /// Gives a query another limit.
    pub(super) fn set_limit(&mut self, object: ObjectId, memory: MemorySpec, record: Vec<u8>, reply: Reply<()>) {
        if let Err(error) = self.has_addresses(object, memory) {
            return reply.send(Err(error));
        }
        let Some(entry) = self.catalog.entries.get_mut(&object) else {
            return reply.send(Err(EngineError::NoSuchObject(object)));
        };
        let ObjectSpec::Pipeline(pipeline) = &mut entry.spec else {
            let (name, reason) = (entry.spec.name().to_owned(), "is no stream or view".to_owned());
            return reply.send(Err(EngineError::Unsupported { name, reason }));
        };
        let before = (std::mem::replace(&mut pipeline.memory, memory), std::mem::replace(&mut entry.record, record));
        if let Err(error) = self.record_states(&[object]) {
            if let Some(entry) = self.catalog.entries.get_mut(&object) {
                entry.record = before.1;
                if let ObjectSpec::Pipeline(pipeline) = &mut entry.spec {
                    pipeline.memory = before.0;
                }
            }
            return reply.send(Err(error));
        }
        self.memory.built_with.entry(object).or_insert(before.0);
        // A little more room is enough, because somebody asked for it.
        if self.memory.held(object) < self.limit_of(memory) {
            self.memory.full.remove(&object);
        }
        self.spill_no_further(object, self.memory.held(object), memory);
        self.weigh(object);
        // What waits is told the limit that counts now.
        self.press();
        reply.send(Ok(()));
    }

    /// Why an object waits for a query that is full, and what to do.
    pub(super) fn full_reason(&self, object: ObjectId, full: ObjectId) -> Option<String> {
        let entry = self.catalog.entries.get(&full)?;
        let (name, limit) = (entry.spec.name(), self.limit_of(entry.spec.memory()?));
        let raise = raise(name, entry.kind());
        if object == full && entry.spec.memory()?.policy == MemoryPolicy::Spill {
            return Some(format!(
                "what it holds in memory has reached memory_limit = {limit} bytes; what feeds it waits until one part \
                 in {SPARE_SHARE} is free: {}",
                self.spill_reason(object, &raise)
            ));
        }
        Some(if object == full {
            format!(
                "its state has reached memory_limit = {limit} bytes; what feeds it waits until one part in \
                 {SPARE_SHARE} is free: windows that close and rows that expire free it, so let time go on (ADVANCE \
                 WATERMARK, IDLE AFTER), or raise the limit ({raise}), or DROP it"
            )
        } else {
            format!(
                "{name}, which it feeds, has reached memory_limit = {limit} bytes (EXPLAIN WATERMARK {} tells more)",
                quoted_if_needed(name)
            )
        })
    }
}

/// The statement that raises a limit.
fn raise(name: &str, kind: ObjectKind) -> String {
    let name = quoted_if_needed(name);
    match kind {
        ObjectKind::Stream => format!("ALTER STREAM {name} SET (memory_limit = '…')"),
        ObjectKind::View => format!("ALTER MATERIALIZED VIEW {name} SET (memory_limit = '…')"),
        _ => "state.memory_limit in the configuration".to_owned(),
    }
}
