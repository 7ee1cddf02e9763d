//! The single-threaded driver: the same engines, control and tasks on virtual time, in an order
//! given by a seed. Tests and the simulation use it.
//!
//! Invariant: two runs with one seed and one sequence of calls do the same.

use std::sync::{Arc, Mutex, PoisonError};

use super::assemble::{Assembly, AssemblyParts, assemble};
use super::{
    Engine, EngineError, EngineHandle, EngineOptions, RecoveredCatalog, Reply, RestoreOptions, Restored, restore,
};
use crate::connector::Registry;
use crate::control::Control;
use crate::data::EventTime;
use crate::expr::ExprCompiler;
use crate::reactor::{Bell, Next, Now, Parker, Spawn, SpawnError, Task, Turn, Turning, Unpark};
use laminar_storage::disk::SimMachine;
use laminar_storage::log::DirectoryId;
use laminar_storage::manifest::PublisherOptions;

/// A task with what it waits for.
struct Waiting {
    task: Box<dyn Task>,
    parker: Arc<Parker>,
    due: Option<u64>,
    fresh: bool,
}

/// Collects tasks instead of starting threads.
#[derive(Default)]
struct Collected(Mutex<Vec<Waiting>>);

impl Spawn for Collected {
    fn spawn(&self, _name: String, parker: Arc<Parker>, task: Box<dyn Task>) -> Result<(), SpawnError> {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.push(Waiting { task, parker, due: None, fresh: true });
        Ok(())
    }
}

/// Nobody sleeps here.
struct Awake;

impl Unpark for Awake {
    fn unpark(&self) {}
}

/// See the file's invariant.
pub struct Driver {
    engines: Vec<Engine>,
    /// When each engine has something to do without a wake.
    engines_due: Vec<Option<u64>>,
    control: Control,
    control_due: Option<u64>,
    spawned: Arc<Collected>,
    tasks: Vec<Waiting>,
    handle: EngineHandle,
    micros: u64,
    /// How often time has moved.
    moves: u64,
    wall: i64,
    random: fastrand::Rng,
    started: std::sync::mpsc::Receiver<Result<(), EngineError>>,
}

/// So often may time move at once, and so far it must come on the average of more moves.
const FREE_MOVES: u64 = 10_000;
const MOVE_US: u64 = 10;

/// Rounds after which a driver that is still busy is taken for stuck.
const ROUNDS: usize = 1_000_000;

impl Driver {
    /// A driver of a fresh engine.
    pub fn new(options: EngineOptions, registry: Registry, compiler: Arc<dyn ExprCompiler>, seed: u64) -> Self {
        Self::with(options, registry, compiler, seed, None)
    }

    /// A driver of an engine on a simulated disk, as it was left there; its catalog runs again.
    ///
    /// # Errors
    /// What makes a start impossible.
    pub fn on_disk(
        options: EngineOptions,
        registry: Registry,
        compiler: Arc<dyn ExprCompiler>,
        seed: u64,
        machine: &SimMachine,
    ) -> Result<(Self, RecoveredCatalog), EngineError> {
        let restored = restore(
            &RestoreOptions {
                reactors: options.reactors,
                shards: options.shard_count(),
                state_bytes: options.state_bytes,
                request_keys: options.request_keys.max(1),
                progress: options.progress.clone(),
                fresh: DirectoryId(seed | 1),
                publisher: PublisherOptions { append_bytes: 1 << 16, reserve_bytes: 0 },
                volume_bytes: machine.volume_bytes(),
            },
            Box::new(machine.disk()),
        )?;
        let catalog = RecoveredCatalog::of(&restored.boot);
        let mut driver = Self::with(options, registry, compiler, seed, Some((restored, machine)));
        driver.settle_start()?;
        Ok((driver, catalog))
    }

    fn with(
        options: EngineOptions,
        registry: Registry,
        compiler: Arc<dyn ExprCompiler>,
        seed: u64,
        kept: Option<(Restored, &SimMachine)>,
    ) -> Self {
        let spawned = Arc::new(Collected::default());
        let bells = (0..options.reactors).map(|_| Arc::new(Bell::new(Arc::new(Awake)))).collect();
        let nowhere = SimMachine::new(seed);
        let (restored, machine) = kept.map_or((None, &nowhere), |(restored, machine)| (Some(restored), machine));
        let (send, started) = std::sync::mpsc::channel();
        let Assembly { engines, control, handle } = assemble(AssemblyParts {
            restored,
            ready: Reply::new(move |answer| drop(send.send(answer))),
            options,
            registry,
            compiler,
            spawn: spawned.clone(),
            bells,
            control: Arc::new(Awake),
        });
        let engines: Vec<Engine> = engines.into_iter().map(|engine| engine.grow(Box::new(machine.disk()))).collect();
        Self {
            engines_due: vec![None; engines.len()],
            engines,
            control,
            control_due: Some(0),
            spawned,
            tasks: Vec::new(),
            handle,
            micros: 0,
            moves: 0,
            started,
            wall: 1_700_000_000_000_000,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    fn settle_start(&mut self) -> Result<(), EngineError> {
        for _ in 0..60_000 {
            self.settle()?;
            if let Ok(answer) = self.started.try_recv() {
                return answer;
            }
            self.advance(10_000)?;
        }
        Err(EngineError::Internal("the engine did not start within ten virtual minutes".into()))
    }

    /// The handle of its engine.
    pub fn handle(&self) -> &EngineHandle {
        &self.handle
    }

    /// Its reactors' engines.
    #[cfg(test)]
    pub(super) fn engines(&mut self) -> &mut [Engine] {
        &mut self.engines
    }

    /// The present moment.
    pub fn now(&self) -> Now {
        Now { micros: self.micros, wall: EventTime(self.wall) }
    }

    /// Runs everything once, in a random order; tells whether something was done.
    pub fn round(&mut self) -> bool {
        let now = self.now();
        let mut busy = false;
        let mut order: Vec<usize> = (0..self.engines.len()).collect();
        self.random.shuffle(&mut order);
        let control_at = self.random.usize(0..=order.len());
        for (at, index) in order.into_iter().enumerate() {
            if at == control_at {
                busy |= self.step_control(now);
            }
            self.engines_due[index] = None;
            match self.engines[index].turn(now) {
                Turn::Busy => busy = true,
                Turn::Idle(due) => {
                    busy |= due.is_some_and(|due| due <= now.micros);
                    self.engines_due[index] = due;
                }
                Turn::Stopped => self.engines[index].close(),
            }
        }
        busy |= self.step_control(now);
        busy | self.step_tasks(now)
    }

    fn step_control(&mut self, now: Now) -> bool {
        match self.control.step(now) {
            Next::Again => true,
            Next::Wait(due) => {
                self.control_due = due;
                due.is_some_and(|due| due <= now.micros)
            }
            Next::Done => false,
        }
    }

    fn step_tasks(&mut self, now: Now) -> bool {
        self.tasks.append(&mut self.spawned.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut busy = false;
        self.tasks.retain_mut(|waiting| {
            let woken = waiting.parker.take();
            if !(waiting.fresh || woken || waiting.due.is_some_and(|due| due <= now.micros)) {
                return true;
            }
            waiting.fresh = false;
            busy = true;
            match waiting.task.step(now) {
                Next::Again => {
                    waiting.fresh = true;
                    true
                }
                Next::Wait(due) => {
                    waiting.due = due;
                    true
                }
                Next::Done => false,
            }
        });
        busy
    }

    /// Whether somebody who did nothing in the last round was woken since: the look of the shells before they sleep.
    fn is_woken(&mut self) -> bool {
        self.engines.iter_mut().any(Turning::has_work)
            || self.control.is_woken()
            || self.tasks.iter().any(|waiting| waiting.parker.is_woken())
            || !self.spawned.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Runs until nothing is left to do at the present moment.
    ///
    /// # Errors
    /// It does not come to rest.
    pub fn settle(&mut self) -> Result<(), EngineError> {
        for _ in 0..ROUNDS {
            if !self.round() && !self.is_woken() {
                return Ok(());
            }
        }
        Err(EngineError::Internal("the driver does not come to rest".into()))
    }

    /// The next moment at which something is due, at the latest `limit`, when everything is settled.
    pub fn next_due(&self, limit: u64) -> u64 {
        let engines = self.engines_due.iter().copied().flatten();
        let tasks = self.tasks.iter().filter_map(|task| task.due);
        let due = engines.chain(tasks).chain(self.control_due).filter(|due| *due > self.micros);
        due.min().unwrap_or(limit).min(limit)
    }

    /// Lets time be `micros`, with nothing due before it, and runs until nothing is left to do.
    ///
    /// # Errors
    /// It does not come to rest, or something that waits wants to be woken all the time.
    pub fn move_to(&mut self, micros: u64) -> Result<(), EngineError> {
        self.moves += 1;
        if self.moves > FREE_MOVES + micros / MOVE_US {
            return Err(EngineError::Internal("somebody who waits wants to be woken all the time".into()));
        }
        self.wall += micros.saturating_sub(self.micros) as i64;
        self.micros = self.micros.max(micros);
        self.settle()
    }

    /// Moves time and runs until nothing is left to do. Time goes from one moment at which something is due to the
    /// next, as the shells sleep: a moment that was not told is missed.
    ///
    /// # Errors
    /// It does not come to rest.
    pub fn advance(&mut self, micros: u64) -> Result<(), EngineError> {
        self.settle()?;
        let end = self.micros + micros;
        while self.micros < end {
            self.move_to(self.next_due(end))?;
        }
        Ok(())
    }

    /// Asks and runs until the answer is there.
    ///
    /// # Errors
    /// The answer's; or it does not come within ten virtual minutes.
    pub fn wait<T: Send + 'static>(&mut self, ask: impl FnOnce(&EngineHandle, Reply<T>)) -> Result<T, EngineError> {
        let (send, receive) = std::sync::mpsc::channel();
        ask(&self.handle, Reply::new(move |answer| drop(send.send(answer))));
        for _ in 0..60_000 {
            self.settle()?;
            if let Ok(answer) = receive.try_recv() {
                return answer;
            }
            self.advance(10_000)?;
        }
        Err(EngineError::Internal("no answer within ten virtual minutes".into()))
    }
}
