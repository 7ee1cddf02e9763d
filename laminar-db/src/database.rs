//! The database: one engine, one catalog, many sessions.
//!
//! Invariant: the catalog in memory is what the manifest holds: it changes only after the engine has
//! answered that the change is durable, and only under the deployment lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use laminar_core::connector::Registry;
use laminar_core::engine::{self, EngineError, EngineHandle, EngineOptions, Reply};
use laminar_core::ids::{CheckpointNumber, Epoch, ObjectId};
use laminar_core::reactor;
use laminar_sql::adhoc::Stop;
use laminar_sql::catalog::{Catalog, CatalogRecord};
use laminar_sql::expression::DataFusionCompiler;
use laminar_sql::plan::Planner;
use serde::Serialize;
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore, watch};

use crate::ask::ask;
use crate::error::{DbError, Notice};
use crate::options::{Backend, DatabaseOptions};
use crate::session::Session;
use crate::statement::Statements;
use crate::status::Status;
use crate::subscription::Subscriptions;
use crate::{deploy, status};

/// Statements that are planned at once; planning is CPU work on a blocking thread.
const PLANNING_AT_ONCE: usize = 4;

/// A database that is open. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    pub(crate) inner: Arc<Inner>,
}

/// Held by the one who plans and makes a change of the catalog.
pub(crate) type Deploying = OwnedMutexGuard<()>;

pub(crate) struct Inner {
    pub engine: EngineHandle,
    pub planner: Planner,
    pub options: DatabaseOptions,
    /// Held while the catalog changes.
    deploying: Arc<Mutex<()>>,
    pub planning: Semaphore,
    /// The newest epoch that holds an acknowledged write of any session.
    last_write: AtomicU64,
    failure: watch::Receiver<Option<EngineError>>,
    pub subscriptions: Arc<Subscriptions>,
    pub statements: Arc<Statements>,
    catalog: RwLock<Catalog>,
}

/// A published checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CheckpointInfo {
    /// Its number.
    pub checkpoint: u64,
}

impl Database {
    /// Opens a data directory, creating it if needed, and recovers what it holds.
    ///
    /// # Errors
    /// Another process has it, it does not verify, or the reactors cannot start.
    pub async fn open(options: DatabaseOptions, registry: Registry) -> Result<Self, DbError> {
        let planner = Planner::new(Arc::new(registry.clone()));
        let (fails, failure) = watch::channel(None);
        let on_fatal = Arc::new(move |error: &EngineError| drop(fails.send_replace(Some(error.clone()))));
        let engine_options = EngineOptions { on_fatal: Some(on_fatal), ..engine_options(&options) };
        let started = tokio::task::spawn_blocking(move || {
            engine::start(engine_options, registry, Arc::new(DataFusionCompiler::default()))
        });
        let (engine, recovered) = started.await.map_err(|e| panicked(&e))??;
        let catalog = recovered_catalog(&recovered.records, recovered.next_id)?;
        let inner = Inner {
            engine,
            planner,
            options,
            deploying: Arc::default(),
            planning: Semaphore::new(PLANNING_AT_ONCE),
            last_write: AtomicU64::new(0),
            failure,
            subscriptions: Arc::default(),
            statements: Arc::default(),
            catalog: RwLock::new(catalog),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A session for a user.
    pub fn session(&self, user: &str) -> Session {
        Session::new(self.inner.clone(), user)
    }

    /// Brings the objects of a script into being, all or nothing. Idempotent: what exists with the same
    /// definition is kept.
    ///
    /// # Errors
    /// A statement that is refused, one that is no CREATE, or an object that exists with another definition.
    pub async fn deploy(&self, script: &str) -> Result<Vec<Notice>, DbError> {
        deploy::script(&self.inner, script).await
    }

    /// Plans a script against this binary's connectors without a data directory.
    ///
    /// # Errors
    /// As [`Database::deploy`].
    pub async fn check(registry: Registry, script: &str) -> Result<(), DbError> {
        let planner = Planner::new(Arc::new(registry));
        let script = script.to_owned();
        let planned =
            tokio::task::spawn_blocking(move || deploy::plan_script(&planner, &Catalog::new(), &script).map(drop));
        planned.await.map_err(|e| panicked(&e))?
    }

    /// How everything is.
    ///
    /// # Errors
    /// The database is stopping.
    pub async fn status(&self) -> Result<Status, DbError> {
        status::read(&self.inner).await
    }

    /// Takes a checkpoint; when it answers, everything before is durable.
    ///
    /// # Errors
    /// The database is stopping, or there is no room.
    pub async fn checkpoint(&self) -> Result<CheckpointInfo, DbError> {
        let CheckpointNumber(checkpoint) = ask(|reply| self.inner.engine.checkpoint(reply)).await?;
        Ok(CheckpointInfo { checkpoint })
    }

    /// Stops a stream or view for a while: it reads no source, keeps its state and its place, and answers reads.
    ///
    /// # Errors
    /// It does not exist, or reads nothing that a connector delivers.
    pub async fn pause(&self, name: &str) -> Result<(), DbError> {
        let id = self.inner.catalog().require(name)?.id();
        self.inner.pause(id).await
    }

    /// Lets a paused stream or view go on where it was.
    ///
    /// # Errors
    /// It does not exist.
    pub async fn resume(&self, name: &str) -> Result<(), DbError> {
        let id = self.inner.catalog().require(name)?.id();
        self.inner.resume(id).await
    }

    /// Waits until durable storage has failed, and tells how: from then on nothing is taken any more, and
    /// only a new start can know what the disk holds.
    pub async fn failed(&self) -> DbError {
        let mut failure = self.inner.failure.clone();
        let seen = failure.wait_for(Option::is_some).await.ok().and_then(|error| error.clone());
        match seen {
            Some(error) => error.into(),
            // The engine has ended in order and cannot fail any more.
            None => std::future::pending().await,
        }
    }

    /// Takes a last checkpoint and stops everything.
    ///
    /// # Errors
    /// The last checkpoint failed; what was acknowledged is durable all the same.
    pub async fn shutdown(&self) -> Result<(), DbError> {
        ask(|reply| self.inner.engine.shutdown(reply)).await
    }
}

impl Inner {
    /// The catalog now.
    pub fn catalog(&self) -> Catalog {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The deployment lock.
    pub async fn deploying(&self) -> Deploying {
        self.deploying.clone().lock_owned().await
    }

    /// Asks the engine for a change and shows the catalog with it as soon as it is durable. A caller that goes away
    /// before the answer changes nothing of that: the engine does not know of it, and the catalog must follow.
    ///
    /// # Errors
    /// The engine refuses; nothing has changed then.
    pub async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        deploying: Deploying,
        catalog: Catalog,
        request: impl FnOnce(&EngineHandle, Reply<T>) + Send + 'static,
    ) -> Result<T, DbError> {
        let inner = self.clone();
        let changing = tokio::spawn(async move {
            let answer = ask(|reply| request(&inner.engine, reply)).await?;
            *inner.catalog.write().unwrap_or_else(PoisonError::into_inner) = catalog;
            drop(deploying);
            Ok(answer)
        });
        changing.await.map_err(|e| panicked(&e))?
    }

    /// Takes note of an acknowledged write, so that later reads of any session see it.
    pub fn wrote(&self, epoch: Epoch) {
        self.last_write.fetch_max(epoch.as_u64(), Ordering::AcqRel);
    }

    /// The newest acknowledged write.
    pub fn last_write(&self) -> Option<Epoch> {
        Some(self.last_write.load(Ordering::Acquire)).filter(|e| *e > 0).map(Epoch::from_u64)
    }

    /// Runs planning on a blocking thread, a bounded number at once.
    pub async fn plan<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Planner) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let _permit = self.planning.acquire().await.map_err(|_| DbError::stopped())?;
        let stop = Stop::default();
        let _wanted = stop.on_drop();
        let planner = self.planner.until(stop);
        tokio::task::spawn_blocking(move || work(&planner)).await.map_err(|e| panicked(&e))?
    }

    pub async fn pause(&self, id: ObjectId) -> Result<(), DbError> {
        ask(|reply| self.engine.pause(id, reply)).await
    }

    pub async fn resume(&self, id: ObjectId) -> Result<(), DbError> {
        ask(|reply| self.engine.resume(id, reply)).await
    }
}

fn engine_options(options: &DatabaseOptions) -> EngineOptions {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let reactors = u16::try_from(options.reactors.unwrap_or(cores)).unwrap_or(u16::MAX).max(1);
    EngineOptions {
        data_dir: Some(options.data_dir.clone()),
        reactors,
        backend: match options.backend {
            Backend::Glommio => reactor::Backend::Glommio,
            Backend::Thread => reactor::Backend::Thread,
        },
        shards: options.shard_count,
        epoch_interval: options.epoch_interval,
        checkpoint_interval: options.checkpoint_interval,
        state_bytes: options.memory_limit,
        // A stage that is full at nothing would never drain.
        outbox_bytes: (options.sink_limit / u64::from(reactors)).max(1),
        request_keys: options.idempotency_keys,
        progress: options.progress.clone(),
        ..EngineOptions::default()
    }
}

fn recovered_catalog(records: &[Vec<u8>], next_id: ObjectId) -> Result<Catalog, DbError> {
    let read = |bytes: &Vec<u8>| {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| DbError::new("LDB-4003", "XX001", "a catalog record of the manifest is not UTF-8"))?;
        CatalogRecord::from_json(text).map_err(DbError::from)
    };
    let records = records.iter().map(read).collect::<Result<Vec<_>, DbError>>()?;
    Ok(Catalog::from_records(records)?.with_next_id(next_id))
}

/// A panic of a task or on a blocking thread: a defect of ours, told to whoever asked.
pub(crate) fn panicked(error: &tokio::task::JoinError) -> DbError {
    DbError::new("LDB-4098", "XX000", format!("internal: a task of the database ended: {error}"))
}
