//! Puts engines, control and their mailboxes together; the shells and the driver then run them.
//!
//! Invariant: nothing here starts a thread or reads a clock.

use std::sync::Arc;

use super::core::{EngineLimits, EngineParts};
use super::lanes::mesh;
use super::message::Command;
use super::{Engine, EngineHandle, EngineOptions};
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
    /// Ends the sleep of each reactor.
    pub reactors: Vec<Arc<dyn Unpark>>,
    /// Ends the sleep of the control thread.
    pub control: Arc<dyn Unpark>,
}

/// An engine that nobody turns yet.
pub struct Assembly {
    /// One per reactor.
    pub engines: Vec<Engine>,
    /// The bell of each reactor.
    pub bells: Vec<Arc<Bell>>,
    /// The control thread's state machine.
    pub control: Control,
    /// For clients.
    pub handle: EngineHandle,
}

/// Puts the parts together.
pub fn assemble(parts: AssemblyParts) -> Assembly {
    let AssemblyParts { options, registry, compiler, spawn, reactors, control } = parts;
    let count = reactors.len() as u16;
    let shards = ShardMap::new(options.shard_count(), count);
    let bells: Vec<Arc<Bell>> = reactors.into_iter().map(|unpark| Arc::new(Bell::new(unpark))).collect();
    let inboxes: Vec<Arc<Mailbox<Command>>> =
        bells.iter().map(|bell| Arc::new(Mailbox::new(bell.clone() as Arc<dyn Unpark>))).collect();
    let letters = Arc::new(Mailbox::new(control));
    let limits = EngineLimits {
        batch_rows: options.batch_rows,
        batch_bytes: options.batch_bytes,
        state_bytes: options.state_bytes,
        outbox_bytes: options.outbox_bytes,
    };
    let engines = mesh(&bells)
        .into_iter()
        .enumerate()
        .map(|(me, lanes)| {
            Engine::new(EngineParts {
                me: ReactorId(me as u16),
                shards,
                registry: registry.clone(),
                compiler: compiler.clone(),
                limits,
                inbox: inboxes[me].clone(),
                control: letters.clone(),
                lanes,
            })
        })
        .collect();
    let pace = Pace {
        epoch_interval: options.epoch_interval.as_micros() as u64,
        checkpoint_interval: options.data_dir.as_ref().map(|_| options.checkpoint_interval.as_micros() as u64),
        epoch_timeout: options.epoch_timeout.as_micros() as u64,
    };
    let ids = (0..count).map(ReactorId).collect();
    let coordinator = Coordinator::new(Incarnation(1), CheckpointNumber(0), ids, pace);
    let control = Control::new(ControlParts {
        options,
        registry,
        spawn,
        mailbox: letters.clone(),
        reactors: inboxes.clone(),
        bells: bells.clone(),
        shards,
        coordinator,
    });
    let handle = EngineHandle::new(letters, inboxes, shards);
    Assembly { engines, bells, control, handle }
}
