//! Puts engines, control and their mailboxes together; the shells and the driver then run them.
//!
//! Invariant: nothing here starts a thread or reads a clock; an engine is made on its own thread, from
//! a seed that can travel there.

use std::sync::Arc;

use super::core::{EngineLimits, EngineParts};
use super::lanes::{Lanes, mesh};
use super::message::{Command, ControlLetter};
use super::{Boot, Engine, EngineHandle, EngineOptions, ReactorDisk, ReactorPlan, Reply, Restored, StartPhase};
use crate::connector::Registry;
use crate::control::{Control, ControlParts};
use crate::epoch::{Coordinator, Pace};
use crate::expr::ExprCompiler;
use crate::ids::{CheckpointNumber, Incarnation, ReactorId};
use crate::reactor::{Bell, Mailbox, Spawn, Unpark};
use crate::shard::ShardMap;

/// What the parts are made from.
pub struct AssemblyParts {
    /// Options.
    pub options: EngineOptions,
    /// Connectors and formats.
    pub registry: Registry,
    /// Compiles expressions.
    pub compiler: Arc<dyn ExprCompiler>,
    /// Starts connectors and appliers.
    pub spawn: Arc<dyn Spawn>,
    /// The bell of each reactor.
    pub bells: Vec<Arc<Bell>>,
    /// Ends the sleep of the control thread.
    pub control: Arc<dyn Unpark>,
    /// What was found on disk; none = nothing is kept.
    pub restored: Option<Restored>,
    /// Answered when the objects of the catalog run again.
    pub ready: Reply<()>,
}

/// An engine that nobody turns yet.
pub struct Assembly {
    /// One per reactor.
    pub engines: Vec<EngineSeed>,
    /// The control thread's state machine.
    pub control: Control,
    /// For clients.
    pub handle: EngineHandle,
}

/// What one engine is made from; travels to its thread.
pub struct EngineSeed {
    me: ReactorId,
    shards: ShardMap,
    registry: Registry,
    compiler: Arc<dyn ExprCompiler>,
    limits: EngineLimits,
    inbox: Arc<Mailbox<Command>>,
    control: Arc<Mailbox<ControlLetter>>,
    lanes: Lanes,
    plan: Option<ReactorPlan>,
}

impl EngineSeed {
    /// Makes the engine and opens what it keeps on `disk`. Where that fails the engine is stopped and
    /// the control thread knows why.
    pub fn grow(self, disk: ReactorDisk) -> Engine {
        let opened = match self.plan {
            None => Ok((None, Vec::new())),
            Some(plan) => plan.open(disk).map(|(store, arenas)| (Some(store), arenas)),
        };
        let (store, restored, refused) = match opened {
            Ok((store, restored)) => (store, restored, None),
            Err(error) => (None, Vec::new(), Some(error)),
        };
        let mut engine = Engine::new(EngineParts {
            me: self.me,
            shards: self.shards,
            registry: self.registry,
            compiler: self.compiler,
            limits: self.limits,
            inbox: self.inbox,
            control: self.control,
            lanes: self.lanes,
            store,
            restored,
        });
        if let Some(error) = refused {
            engine.refuse(error);
        }
        engine
    }
}

/// Puts the parts together.
pub fn assemble(parts: AssemblyParts) -> Assembly {
    let AssemblyParts { options, registry, compiler, spawn, bells, control, restored, ready } = parts;
    let count = bells.len() as u16;
    let inboxes: Vec<Arc<Mailbox<Command>>> =
        bells.iter().map(|bell| Arc::new(Mailbox::new(bell.clone() as Arc<dyn Unpark>))).collect();
    let letters = Arc::new(Mailbox::new(control));
    let limits = EngineLimits {
        batch_rows: options.batch_rows,
        batch_bytes: options.batch_bytes,
        state_bytes: options.state_bytes,
        outbox_bytes: options.outbox_bytes,
        request_keys: options.request_keys.max(1),
    };
    let (shards, store, boot, plans) = match restored {
        None => (ShardMap::new(options.shard_count(), count), None, Boot::default(), Vec::new()),
        Some(restored) => {
            let bytes = restored.state_bytes;
            options.progress.enter(StartPhase::LoadingState, bytes);
            (restored.shards, Some(restored.control), restored.boot, restored.reactors)
        }
    };
    let mut plans = plans.into_iter();
    let engines = mesh(&bells)
        .into_iter()
        .enumerate()
        .map(|(me, lanes)| EngineSeed {
            me: ReactorId(me as u16),
            shards,
            registry: registry.clone(),
            compiler: compiler.clone(),
            limits,
            inbox: inboxes[me].clone(),
            control: letters.clone(),
            lanes,
            plan: plans.next(),
        })
        .collect();
    let pace = Pace {
        epoch_interval: options.epoch_interval.as_micros() as u64,
        checkpoint_interval: store.as_ref().map(|_| options.checkpoint_interval.as_micros() as u64),
        epoch_timeout: options.epoch_timeout.as_micros() as u64,
    };
    let ids = (0..count).map(ReactorId).collect();
    let incarnation = store.as_ref().map_or(Incarnation(1), |store| store.incarnation);
    // Frames carry the number of their checkpoint before it is published, so it is given with the barrier.
    let newest = store.as_ref().map_or(0, |store| store.publisher.next_number().0 - 1);
    let newest = CheckpointNumber(newest);
    let coordinator = Coordinator::new(incarnation, newest, ids, pace).without_checkpoints();
    let control = Control::new(ControlParts {
        options,
        registry,
        spawn,
        mailbox: letters.clone(),
        reactors: inboxes.clone(),
        bells,
        shards,
        coordinator,
        store,
        boot,
        ready,
    });
    let handle = EngineHandle::new(letters, inboxes, shards);
    Assembly { engines, control, handle }
}
