//! A database on virtual time: SQL text and rows in, views out, restarts in between.
//!
//! Invariant: everything that is durable goes through the simulated disk; after a restart nothing but
//! that disk is left of the world before.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use laminar_core::connector::Registry;
use laminar_core::data::EventTime;
use laminar_core::engine::{
    AdvanceWatermark, Deployment, Driver, EngineError, EngineOptions, Insert, Inserted, NewObject, OnConflict,
    ReadLevel, ReadObject, ReadRequest, RecoveredCatalog, Reply,
};
use laminar_core::ids::ObjectId;
use laminar_sql::catalog::{Catalog, CatalogRecord};
use laminar_sql::expression::DataFusionCompiler;
use laminar_sql::parse;
use laminar_sql::plan::{Planned, Planner, SessionSettings};
use laminar_storage::disk::SimMachine;

use crate::error::SimError;

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
    driver: Driver,
    planner: Planner,
    catalog: Catalog,
    starts: u64,
}

impl World {
    /// A world with an empty disk.
    ///
    /// # Errors
    /// The engine does not start.
    pub fn new(options: WorldOptions) -> Result<Self, SimError> {
        let machine = SimMachine::new(options.seed);
        let (driver, found) = start(&options, options.seed, &machine)?;
        let planner = Planner::new(Arc::new(Registry::default()));
        let catalog = recovered(&found)?;
        Ok(Self { options, machine, driver, planner, catalog, starts: 1 })
    }

    /// A world without a disk: nothing is logged, and a restart finds nothing.
    pub fn in_memory(options: WorldOptions) -> Self {
        let compiler = Arc::new(DataFusionCompiler::default());
        let driver = Driver::new(engine_options(&options), Registry::default(), compiler, options.seed);
        let machine = SimMachine::new(options.seed);
        let planner = Planner::new(Arc::new(Registry::default()));
        Self { options, machine, driver, planner, catalog: Catalog::new(), starts: 1 }
    }

    /// The catalog as it stands.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The machine with its disk.
    pub fn machine(&self) -> &SimMachine {
        &self.machine
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
            for entry in objects {
                let record = CatalogRecord::from_entry(&entry).to_json()?.into_bytes();
                deployment.add.push(NewObject { spec: entry.spec.clone(), record });
                catalog = catalog.add(entry)?;
            }
        }
        self.driver.wait(|handle, reply| handle.deploy(deployment, reply))?;
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

    fn id(&self, name: &str) -> Result<ObjectId, SimError> {
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
            let insert = Insert { object: self.id(name)?, rows: vec![rows], on_conflict };
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
        let epoch = self.driver.wait(|handle, reply| handle.flush(reply))?;
        let request = ReadRequest {
            objects: vec![ReadObject { object: self.id(name)?, columns: None }],
            level: ReadLevel::Consistent,
            after: Some(epoch),
        };
        let mut rows = self.driver.wait(|handle, reply| handle.read(request, reply))?;
        rows.objects.pop().ok_or_else(|| SimError::Misuse("a read without its object".into()))
    }

    /// Moves the watermark of a push source.
    ///
    /// # Errors
    /// It does not exist.
    pub fn advance_watermark(&mut self, source: &str, to: EventTime) -> Result<(), SimError> {
        let advance = AdvanceWatermark { source: self.id(source)?, to };
        Ok(self.driver.wait(|handle, reply| handle.advance_watermark(advance, reply))?)
    }

    /// Takes a checkpoint.
    ///
    /// # Errors
    /// It fails.
    pub fn checkpoint(&mut self) -> Result<(), SimError> {
        self.driver.wait(|handle, reply| handle.checkpoint(reply))?;
        Ok(())
    }

    /// Lets virtual time pass.
    ///
    /// # Errors
    /// The engine does not come to rest.
    pub fn advance(&mut self, micros: u64) -> Result<(), SimError> {
        Ok(self.driver.advance(micros)?)
    }

    /// Ends the world and starts it again on what its disk holds.
    ///
    /// # Errors
    /// The stop fails, or the engine does not start.
    pub fn restart(&mut self, how: Restart, reactors: u16) -> Result<(), SimError> {
        if how == Restart::Stop {
            self.driver.wait(|handle, reply| handle.shutdown(reply))?;
        }
        self.starts += 1;
        let seed = self.options.seed.wrapping_mul(0x9E37_79B9).wrapping_add(self.starts);
        self.machine = match how {
            Restart::Stop | Restart::Kill => self.machine.kill(seed),
            Restart::PowerCut => self.machine.crash(seed),
        };
        self.options.reactors = reactors;
        let (driver, found) = start(&self.options, seed, &self.machine)?;
        self.driver = driver;
        self.catalog = recovered(&found)?;
        Ok(())
    }
}

fn engine_options(options: &WorldOptions) -> EngineOptions {
    EngineOptions {
        reactors: options.reactors,
        shards: Some(options.shards),
        batch_rows: options.batch_rows,
        checkpoint_interval: options.checkpoint_interval,
        ..EngineOptions::default()
    }
}

fn start(options: &WorldOptions, seed: u64, machine: &SimMachine) -> Result<(Driver, RecoveredCatalog), EngineError> {
    let compiler = Arc::new(DataFusionCompiler::default());
    Driver::on_disk(engine_options(options), Registry::default(), compiler, seed, machine)
}

fn recovered(found: &RecoveredCatalog) -> Result<Catalog, SimError> {
    let read = |bytes: &Vec<u8>| {
        let text = std::str::from_utf8(bytes).map_err(|e| SimError::Misuse(e.to_string()))?;
        Ok(CatalogRecord::from_json(text)?)
    };
    let records = found.records.iter().map(read).collect::<Result<Vec<_>, SimError>>()?;
    Ok(Catalog::from_records(records)?.with_next_id(found.next_id))
}
