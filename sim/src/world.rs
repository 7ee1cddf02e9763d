//! A database on virtual time: SQL text and rows in, views out, restarts in between.
//!
//! Invariant: everything that is durable goes through the simulated disk; after a restart nothing but
//! that disk and the model broker is left of the world before.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use laminar_core::data::EventTime;
use laminar_core::engine::{
    AdvanceWatermark, Deployment, Driver, EngineHandle, Insert, Inserted, NewObject, OnConflict, ReadLevel, ReadObject,
    ReadRequest, ReadRows, Reply,
};
use laminar_core::graph::{MemoryPolicy, MemorySpec, ObjectSpec};
use laminar_core::ids::ObjectId;
use laminar_sql::catalog::{Catalog, CatalogRecord};
use laminar_sql::expression::DataFusionCompiler;
use laminar_sql::parse;
use laminar_sql::plan::{Planned, Planner, SessionSettings};
use laminar_storage::disk::{Schedule, SimMachine};

use crate::boot::{Ended, engine_options, recovered, registry, start};
use crate::broker::Broker;
use crate::error::SimError;

/// How long an answer may take, in microseconds of virtual time.
const ANSWER_LIMIT_US: u64 = 120_000_000;

/// Between two looks for an answer, in microseconds of virtual time.
const STEP_US: u64 = 10_000;

/// The volume that logs are cut for: segments of 2 MiB, the least there are, so that a start reads little.
const VOLUME_BYTES: u64 = 64 << 20;

/// How a world begins.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    /// Decides everything that is left open: the order of turns, what a power cut loses.
    pub seed: u64,
    /// Shards of the data directory; a power of two.
    pub shards: u16,
    /// Reactors of the first start.
    pub reactors: u16,
    /// Rows that a source delivers at once.
    pub batch_rows: usize,
    /// Distance of two checkpoints that nobody asks for, in virtual time.
    pub checkpoint_interval: Duration,
    /// Staged bytes at which a sink is full on a reactor.
    pub outbox_bytes: u64,
    /// Bytes that streams and views may hold in memory before they spill; none = they have the usual limit.
    pub spill_bytes: Option<u64>,
    /// Streams and views that have the usual limit nevertheless.
    pub in_memory: &'static [&'static str],
}

/// How a world ends before it starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// A clean stop with its last checkpoint.
    Stop,
    /// The process is killed; what it wrote can be read.
    Kill,
    /// The power is cut; what was not synced may be lost or torn.
    PowerCut,
}

/// See the file's invariant.
pub struct World {
    options: WorldOptions,
    machine: SimMachine,
    broker: Broker,
    driver: Driver,
    planner: Planner,
    catalog: Catalog,
    starts: u64,
    ended: Ended,
    /// Virtual time of the lives before this one.
    before: u64,
    /// Until when no file grows.
    full_until: Option<u64>,
}

impl World {
    /// A world with an empty disk.
    ///
    /// # Errors
    /// The engine does not start.
    pub fn new(options: WorldOptions) -> Result<Self, SimError> {
        let machine = SimMachine::new(options.seed).on_volume(VOLUME_BYTES);
        let broker = Broker::new(options.seed);
        let ended = Ended::default();
        let (driver, found) = start(&options, options.seed, &machine, &broker, &ended)?;
        let planner = Planner::new(Arc::new(registry(&broker)));
        let catalog = recovered(&found)?;
        Ok(Self { options, machine, broker, driver, planner, catalog, starts: 1, ended, before: 0, full_until: None })
    }

    /// A world without a disk: nothing is logged, and a restart finds nothing.
    pub fn in_memory(options: WorldOptions) -> Self {
        let broker = Broker::new(options.seed);
        let ended = Ended::default();
        let compiler = Arc::new(DataFusionCompiler::default());
        let driver = Driver::new(engine_options(&options, &ended), registry(&broker), compiler, options.seed);
        let machine = SimMachine::new(options.seed);
        let planner = Planner::new(Arc::new(registry(&broker)));
        Self {
            options,
            machine,
            broker,
            driver,
            planner,
            catalog: Catalog::new(),
            starts: 1,
            ended,
            before: 0,
            full_until: None,
        }
    }

    /// The catalog as it stands.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The machine with its disk.
    pub fn machine(&self) -> &SimMachine {
        &self.machine
    }

    /// The model broker.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// The engine's handle.
    pub fn handle(&self) -> &EngineHandle {
        self.driver.handle()
    }

    /// Virtual time since the beginning, over all lives, in microseconds.
    pub fn now(&self) -> u64 {
        self.before + self.driver.now().micros
    }

    /// Why the engine has ended by itself, if it has.
    pub fn ended(&self) -> Option<String> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets everything take a few turns in a random order; what is under way may stay so.
    pub fn rounds(&mut self, count: usize) {
        for _ in 0..count {
            if self.ended().is_none() {
                self.driver.round();
            }
        }
    }

    /// Asks and lets time pass until the answer is there.
    ///
    /// # Errors
    /// The answer's; the engine has ended; or no answer comes within virtual minutes.
    pub fn ask<T: Send + 'static>(&mut self, ask: impl FnOnce(&EngineHandle, Reply<T>)) -> Result<T, SimError> {
        let (send, receive) = std::sync::mpsc::channel();
        ask(self.driver.handle(), Reply::new(move |answer| drop(send.send(answer))));
        let limit = self.now() + ANSWER_LIMIT_US;
        loop {
            self.driver.settle()?;
            if let Ok(answer) = receive.try_recv() {
                return Ok(answer?);
            }
            if let Some(why) = self.ended() {
                return Err(SimError::Ended(why));
            }
            if self.now() > limit {
                return Err(SimError::Stuck);
            }
            self.advance(STEP_US)?;
        }
    }

    /// Runs a text of CREATE and DROP statements as one deployment: all or nothing, attached at one barrier.
    ///
    /// # Errors
    /// The planner or the engine refuses; nothing has changed then.
    pub fn define(&mut self, sql: &str) -> Result<(), SimError> {
        let mut catalog = self.catalog.clone();
        let mut deployment = Deployment::default();
        for statement in parse::parse(sql)? {
            let (objects, gone) = match self.planner.plan(&statement, &catalog, &SessionSettings::default(), &[])? {
                Planned::Create { objects, replaces, .. } => (objects, replaces),
                Planned::Drop { objects, .. } => (Vec::new(), objects),
                other => return Err(SimError::Misuse(format!("no definition: {other:?}"))),
            };
            for id in gone {
                catalog = catalog.remove(id)?;
                deployment.drop.push(id);
            }
            for mut entry in objects {
                let spills = self.options.spill_bytes.is_some() && !self.options.in_memory.contains(&entry.spec.name());
                if let (ObjectSpec::Pipeline(pipeline), true) = (&mut entry.spec, spills) {
                    pipeline.memory = MemorySpec { limit: self.options.spill_bytes, policy: MemoryPolicy::Spill };
                }
                let record = CatalogRecord::from_entry(&entry).to_json()?.into_bytes();
                deployment.add.push(NewObject { spec: entry.spec.clone(), record });
                catalog = catalog.add(entry)?;
            }
        }
        self.ask(|handle, reply| handle.deploy(deployment, reply))?;
        self.catalog = catalog;
        Ok(())
    }

    /// The schema of an object's rows.
    ///
    /// # Errors
    /// It does not exist.
    pub fn schema(&self, name: &str) -> Result<SchemaRef, SimError> {
        Ok(self.catalog.require(name)?.schema().columns.clone())
    }

    /// The number of an object.
    ///
    /// # Errors
    /// It does not exist.
    pub fn id(&self, name: &str) -> Result<ObjectId, SimError> {
        Ok(self.catalog.require(name)?.id())
    }

    /// Pushes rows into tables and push sources, one INSERT each, without waiting in between; then waits until all are acknowledged.
    ///
    /// # Errors
    /// One of them is refused.
    pub fn insert(&mut self, inserts: Vec<(&str, RecordBatch, OnConflict)>) -> Result<Vec<Inserted>, SimError> {
        let (send, receive) = std::sync::mpsc::channel();
        let mut answers: Vec<Option<Inserted>> = vec![None; inserts.len()];
        for (at, (name, rows, on_conflict)) in inserts.into_iter().enumerate() {
            let insert = Insert { object: self.id(name)?, rows: vec![rows], on_conflict, request: None };
            let send = send.clone();
            self.driver.handle().insert(insert, Reply::new(move |answer| drop(send.send((at, answer)))));
            if at % 2 == 1 {
                self.driver.round();
            }
        }
        let mut waited = 0;
        while answers.iter().any(Option::is_none) {
            self.driver.settle()?;
            while let Ok((at, answer)) = receive.try_recv() {
                answers[at] = Some(answer?);
            }
            self.driver.advance(1000)?;
            waited += 1;
            if waited > 100_000 {
                return Err(SimError::Misuse("an INSERT is not answered within virtual minutes".into()));
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// The rows of a table or view at one epoch that holds everything acknowledged before.
    ///
    /// # Errors
    /// It does not exist, or has failed.
    pub fn read(&mut self, name: &str) -> Result<Vec<RecordBatch>, SimError> {
        let mut rows = self.read_together(&[name])?;
        rows.objects.pop().ok_or_else(|| SimError::Misuse("a read without its object".into()))
    }

    /// The rows of several tables and views at one epoch that holds everything acknowledged before.
    ///
    /// # Errors
    /// One does not exist, or has failed.
    pub fn read_together(&mut self, names: &[&str]) -> Result<ReadRows, SimError> {
        let epoch = self.ask(|handle, reply| handle.flush(reply))?;
        let object = |name: &&str| Ok(ReadObject { object: self.id(name)?, columns: None });
        let objects = names.iter().map(object).collect::<Result<_, SimError>>()?;
        let request = ReadRequest { objects, level: ReadLevel::Consistent, after: Some(epoch) };
        self.ask(|handle, reply| handle.read(request, reply))
    }

    /// Moves the watermark of a push source.
    ///
    /// # Errors
    /// It does not exist.
    pub fn advance_watermark(&mut self, source: &str, to: EventTime) -> Result<(), SimError> {
        let advance = AdvanceWatermark { source: self.id(source)?, to };
        self.ask(|handle, reply| handle.advance_watermark(advance, reply))
    }

    /// Takes a checkpoint.
    ///
    /// # Errors
    /// It fails.
    pub fn checkpoint(&mut self) -> Result<(), SimError> {
        self.ask(|handle, reply| handle.checkpoint(reply))?;
        Ok(())
    }

    /// Lets virtual time pass; it stands still once the engine has ended.
    ///
    /// # Errors
    /// The engine does not come to rest.
    pub fn advance(&mut self, micros: u64) -> Result<(), SimError> {
        let end = self.now() + micros;
        if self.ended().is_none() {
            self.driver.settle()?;
        }
        while self.now() < end && self.ended().is_none() {
            let others = self.broker.next_event().into_iter().chain(self.full_until).filter(|at| *at > self.now());
            let next = self.before + self.driver.next_due(others.min().unwrap_or(end).min(end) - self.before);
            self.broker.tick(next);
            if self.full_until.is_some_and(|until| until <= next) {
                self.relieve_disk();
            }
            self.driver.move_to(next - self.before)?;
        }
        Ok(())
    }

    /// Ends the world and starts it again on what its disk holds.
    ///
    /// # Errors
    /// The stop fails, or the engine does not start.
    pub fn restart(&mut self, how: Restart, reactors: u16) -> Result<(), SimError> {
        if how == Restart::Stop {
            self.ask(|handle, reply| handle.shutdown(reply))?;
        }
        self.fall(how);
        self.options.reactors = reactors;
        self.start()
    }

    /// Ends the machine's life; the world stands still until [`World::start`].
    pub fn fall(&mut self, how: Restart) {
        self.starts += 1;
        let seed = self.seed();
        self.machine = match how {
            Restart::Stop | Restart::Kill => self.machine.kill(seed),
            Restart::PowerCut => self.machine.crash(seed),
        };
    }

    /// Starts the engine on the machine as it is.
    ///
    /// # Errors
    /// The engine does not start.
    pub fn start(&mut self) -> Result<(), SimError> {
        let before = self.now();
        let ended = Ended::default();
        let (driver, found) = start(&self.options, self.seed(), &self.machine, &self.broker, &ended)?;
        self.before = before;
        self.driver = driver;
        self.ended = ended;
        self.catalog = recovered(&found)?;
        Ok(())
    }

    /// The order in which operations of the disk take effect, for this life of the machine.
    pub fn set_schedule(&self, schedule: Schedule) {
        self.machine.set_schedule(schedule);
    }

    /// No file grows for so long, in virtual time.
    pub fn fill_disk(&mut self, micros: u64) {
        self.machine.set_capacity(self.machine.bytes());
        self.full_until = Some(self.now() + micros);
    }

    /// The disk has space again.
    pub fn relieve_disk(&mut self) {
        self.machine.set_capacity(u64::MAX);
        self.full_until = None;
    }

    /// Whether the disk is full.
    pub fn is_disk_full(&self) -> bool {
        self.full_until.is_some()
    }

    /// How many reactors the next start has.
    pub fn set_reactors(&mut self, reactors: u16) {
        self.options.reactors = reactors;
    }

    fn seed(&self) -> u64 {
        self.options.seed.wrapping_mul(0x9E37_79B9).wrapping_add(self.starts)
    }
}
