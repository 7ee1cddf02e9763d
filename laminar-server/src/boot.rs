//! The start: configuration, addresses, database, deployment, ready.
//!
//! Addresses are bound before the database opens, so a taken port never costs a recovery.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use laminar_db::{Backend, Database, DatabaseOptions, DbError, StartProgress, StartState};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::config::{self, Config, Loaded, Problem, Problems, ReactorKind};
use crate::exit::{Exit, Reason};
use crate::gate::{Gate, Phase};
use crate::pgwire as postgres;
use crate::shutdown::{self, Signals};
use crate::{http, telemetry, wiring};

/// Threads for protocols and planning: the cores belong to the reactors (ARCHITECTURE.md §3, rule 10).
const SERVICE_THREADS: usize = 2;

/// Planning walks deep expression trees by recursion; the default 2 MiB of a thread is short of it.
const SERVICE_STACK_BYTES: usize = 8 << 20;

/// A start that takes longer says so often how far it is.
const PROGRESS_PERIOD: Duration = Duration::from_secs(1);

/// Runs the server until it is told to stop.
///
/// # Errors
/// Why it could not start, or how it ended.
pub fn serve(path: &Path, ready_file: Option<&Path>) -> Result<(), Exit> {
    let loaded = read(path)?;
    telemetry::start_log(&loaded.config.server);
    raise_open_files();
    runtime()?.block_on(run(path, loaded, ready_file))
}

/// Reads the configuration.
///
/// # Errors
/// Every problem found.
pub fn read(path: &Path) -> Result<Loaded, Exit> {
    let variables = |name: &str| std::env::var(name).ok();
    config::load(path, &variables).map_err(|problems| Exit::new(Reason::Config, problems.to_string()))
}

/// Connections, logs, and spilled state need descriptors: as many as the system allows without asking.
fn raise_open_files() {
    match rlimit::utils::increase_nofile_limit(u64::MAX) {
        Ok(limit) => tracing::debug!(limit, "open files"),
        Err(error) => tracing::warn!("the limit of open files cannot be raised: {error}"),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Exit> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(SERVICE_THREADS)
        .thread_stack_size(SERVICE_STACK_BYTES)
        .thread_name("service")
        .enable_all()
        .build()
        .map_err(|error| Exit::new(Reason::Failed, format!("the service threads cannot start: {error}")))
}

async fn run(path: &Path, loaded: Loaded, ready_file: Option<&Path>) -> Result<(), Exit> {
    let server = &loaded.config.server;
    let mut signals =
        Signals::listen().map_err(|error| Exit::new(Reason::Failed, format!("signals cannot be received: {error}")))?;
    let http_listener = bind("bind", server.bind).await?;
    let pgwire_listener = bind("pgwire_bind", server.pgwire_bind).await?;
    let addresses = (local(&http_listener)?, local(&pgwire_listener)?);
    tracing::info!(http = %addresses.0, pgwire = %addresses.1, "listening");
    let gate = Gate::new();
    let connections = TaskTracker::new();
    connections.spawn(http::serve(http_listener, gate.clone(), http::Limits::of(server), connections.clone()));
    connections.spawn(postgres::serve(
        pgwire_listener,
        gate.clone(),
        postgres::Limits::of(server),
        connections.clone(),
    ));

    let opening = open(path, &loaded, &gate);
    let database = tokio::select! {
        opened = opening => opened?,
        () = signals.next() => return shutdown::stop(&gate, &connections, signals, server.shutdown_timeout).await,
    };
    gate.enter(Phase::Ready(database.clone()));
    announce(&gate, addresses, ready_file)?;

    tokio::select! {
        () = signals.next() => {}
        error = database.failed() => {
            let message = format!("{}; the server ends; {}", describe(&error), after_the_end(&error.code));
            tracing::error!("{message}");
            return Err(Exit::new(Reason::Failed, message));
        }
    }
    tracing::info!("stopping: last checkpoint, then exit; a second signal stops at once");
    shutdown::stop(&gate, &connections, signals, server.shutdown_timeout).await?;
    tracing::info!("stopped");
    Ok(())
}

async fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, Exit> {
    TcpListener::bind(address).await.map_err(|error| {
        let message = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                format!("{address} is in use by another process; stop it, or set another port as `{key}` in [server]")
            }
            _ => format!("{address} (`{key}` in [server]) cannot be bound: {error}"),
        };
        Exit::new(Reason::Address, message)
    })
}

fn local(listener: &TcpListener) -> Result<SocketAddr, Exit> {
    listener.local_addr().map_err(|error| Exit::new(Reason::Failed, format!("a bound address is not known: {error}")))
}

async fn open(path: &Path, loaded: &Loaded, gate: &Gate) -> Result<Database, Exit> {
    let registry = wiring::registry(&loaded.config);
    let options = options(&loaded.config);
    let progress = options.progress.clone();
    gate.enter(Phase::Starting { step: "recovering state", progress: progress.clone() });
    let started = Instant::now();
    let database = tokio::select! {
        opened = Database::open(options, registry) => opened.map_err(|error| refused(&error))?,
        never = tell(&progress) => match never {},
    };
    let found = progress.now();
    tracing::info!(
        data_dir = %loaded.config.server.data_dir.display(),
        state_bytes = found.state_bytes,
        replayed_bytes = found.log_bytes,
        elapsed_ms = started.elapsed().as_millis() as u64,
        "data directory open"
    );
    gate.enter(Phase::Starting { step: "deploying the configuration", progress });
    if !loaded.deployment.is_empty() {
        match database.deploy(&loaded.deployment.script).await {
            Ok(notices) => notices.iter().for_each(|n| tracing::info!(sqlstate = n.sqlstate, "{}", n.message)),
            Err(error) => {
                let exit = deployment_exit(path, loaded, &error);
                if let Err(error) = database.shutdown().await {
                    tracing::warn!("closing the data directory: {error}");
                }
                return Err(exit);
            }
        }
    }
    Ok(database)
}

/// Says in the log how far a long start is.
async fn tell(progress: &StartProgress) -> Infallible {
    loop {
        tokio::time::sleep(PROGRESS_PERIOD).await;
        let StartState { phase, done_bytes, total_bytes, .. } = progress.now();
        tracing::info!(phase = phase.name(), done_bytes, total_bytes, "starting");
    }
}

fn options(config: &Config) -> DatabaseOptions {
    let mut options = DatabaseOptions::in_directory(&config.server.data_dir);
    options.reactors = config.server.workers;
    options.backend = match config.server.reactor {
        ReactorKind::Glommio => Backend::Glommio,
        ReactorKind::Thread => Backend::Thread,
    };
    options.shard_count = config.state.shards;
    options.epoch_interval = config.checkpoint.epoch_interval;
    options.checkpoint_interval = config.checkpoint.interval;
    options.memory_limit = config.state.memory_limit.unwrap_or(options.memory_limit);
    options.sink_limit = config.state.sink_limit.unwrap_or(options.sink_limit);
    options.subscription_limit = config.state.subscription_limit.unwrap_or(options.subscription_limit);
    options.idempotency_keys = config.state.idempotency_keys.unwrap_or(options.idempotency_keys);
    options.statement_timeout = config.server.statement_timeout;
    options
}

/// What to do when the engine has ended by itself.
fn after_the_end(code: &str) -> &'static str {
    match code {
        "LDB-1004" | "LDB-1013" => {
            "what the data directory holds is damaged: `laminardb-server checkpoint verify` says which checkpoint is whole"
        }
        "LDB-3999" | "LDB-1014" => {
            "this is a defect of LaminarDB: what was acknowledged is durable, start again, and report it with the log"
        }
        _ => {
            "what a disk holds after a failure is known only to a new start; what was acknowledged is durable: mend the \
             volume of the data directory and start again"
        }
    }
}

/// The database did not open: its directory, or the machine.
fn refused(error: &DbError) -> Exit {
    Exit::new(Reason::Data, describe(error))
}

fn describe(error: &DbError) -> String {
    let mut text = format!("{}: {}", error.code, error.message);
    for more in [&error.detail, &error.hint].into_iter().flatten() {
        text.push_str("; ");
        text.push_str(more);
    }
    text
}

/// Names the place in the file that a failed deployment comes from.
fn deployment_exit(path: &Path, loaded: &Loaded, error: &DbError) -> Exit {
    let offset = error.position.and_then(|p| loaded.deployment.place(p));
    let problem = Problem { offset, message: describe(error) };
    Exit::new(Reason::Config, Problems::new(path, &loaded.text, vec![problem]).to_string())
}

fn announce(gate: &Gate, (http, pgwire): (SocketAddr, SocketAddr), ready_file: Option<&Path>) -> Result<(), Exit> {
    let elapsed_ms = gate.started().elapsed().as_millis() as u64;
    tracing::info!(%http, %pgwire, elapsed_ms, "ready");
    let Some(path) = ready_file else { return Ok(()) };
    let ready = serde_json::json!({ "http": http, "pgwire": pgwire, "pid": std::process::id() });
    // Written aside and renamed: whoever waits for the file never reads half of it.
    let partial = path.with_extension("partial");
    std::fs::write(&partial, ready.to_string()).and_then(|()| std::fs::rename(&partial, path)).map_err(|error| {
        Exit::new(Reason::Failed, format!("the ready file {} cannot be written: {error}", path.display()))
    })
}

/// Checks a configuration and plans all of its SQL, without a data directory.
///
/// # Errors
/// Every problem found.
pub fn check(path: &Path) -> Result<(), Exit> {
    let loaded = read(path)?;
    let planning = Database::check(wiring::registry(&loaded.config), &loaded.deployment.script);
    runtime()?.block_on(planning).map_err(|error| deployment_exit(path, &loaded, &error))?;
    let config = &loaded.config;
    println!(
        "{} is fine: {} sources, {} pipelines, {} sinks",
        path.display(),
        config.sources.len(),
        config.pipelines.len(),
        config.sinks.len()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_engine_is_told_by_its_cause_and_only_a_failed_disk_is_to_be_mended() {
        let says = |code: &str, words: &str| assert!(after_the_end(code).contains(words), "{code}");
        says("LDB-1001", "mend the volume of the data directory and start again");
        says("LDB-1008", "mend the volume");
        says("LDB-3010", "mend the volume");
        says("LDB-1004", "`laminardb-server checkpoint verify`");
        says("LDB-3999", "a defect of LaminarDB");
    }
}
