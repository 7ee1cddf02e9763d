//! Starts an engine on this machine.
//!
//! Invariant: when [`start`] returns, the catalog's objects run again and pushed rows are replayed.

use std::path::Path;
use std::sync::Arc;

use super::assemble::{Assembly, AssemblyParts, EngineSeed, assemble};
use super::{EngineError, EngineHandle, EngineOptions, RecoveredCatalog, Reply, RestoreOptions, Restored, restore};
use crate::connector::Registry;
use crate::expr::ExprCompiler;
use crate::reactor::{Clock, Parker, Seat, Spawn, SpawnError, Start, SystemClock, ThreadSpawn, Watch, core_of};
use laminar_storage::disk::{IoMode, RealDisk, volume_bytes};
use laminar_storage::lock::DirectoryLock;
use laminar_storage::log::DirectoryId;
use laminar_storage::manifest::PublisherOptions;

/// Starts reactors and control, brings the data directory's objects back, and returns the handle.
/// Blocks until the engine is ready.
///
/// # Errors
/// What makes a start impossible; the message says what to do.
pub fn start(
    options: EngineOptions,
    registry: Registry,
    compiler: Arc<dyn ExprCompiler>,
) -> Result<(EngineHandle, RecoveredCatalog), EngineError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let spawn: Arc<dyn Spawn> = Arc::new(ThreadSpawn::new(clock.clone()));
    let seats: Vec<Seat> = (0..options.reactors.max(1)).map(|_| Seat::new(options.backend)).collect();
    let restored = match &options.data_dir {
        None => None,
        Some(directory) => {
            let lock = DirectoryLock::acquire(directory)?;
            let mut restored = open(directory, &options)?;
            restored.control.lock = Some(lock);
            Some(restored)
        }
    };
    let catalog = restored.as_ref().map(|restored| RecoveredCatalog::of(&restored.boot)).unwrap_or_default();
    let data_dir = options.data_dir.clone().unwrap_or_else(std::env::temp_dir);
    let control_parker = Arc::new(Parker::default());
    let (send, started) = std::sync::mpsc::channel();
    let Assembly { engines, control, handle } = assemble(AssemblyParts {
        options,
        registry,
        compiler,
        spawn: spawn.clone(),
        bells: seats.iter().map(Seat::bell).collect(),
        control: control_parker.clone(),
        restored,
        ready: Reply::new(move |answer| drop(send.send(answer))),
    });
    let refused = |error: SpawnError| EngineError::Start(error.message);
    // Control first, from this unpinned thread: threads inherit the affinity of their parent.
    spawn.spawn("control".into(), control_parker, Box::new(control)).map_err(refused)?;
    let watch = Arc::new(Watch::start(clock.clone()).map_err(refused)?);
    for (index, (seat, seed)) in seats.into_iter().zip(engines).enumerate() {
        let name = format!("reactor-{index}");
        let (clock, watch) = (clock.clone(), watch.clone());
        let at = Start { name, core: core_of(index), data_dir: data_dir.clone(), clock, watch };
        if let Err(error) = sit(seat, at, seed) {
            handle.shutdown(Reply::ignored());
            return Err(refused(error));
        }
    }
    started.recv().unwrap_or(Err(EngineError::Stopped))?;
    Ok((handle, catalog))
}

fn sit(seat: Seat, at: Start, seed: EngineSeed) -> Result<(), SpawnError> {
    seat.start(at, Box::new(move |disk| Box::new(seed.grow(disk)))).map(drop)
}

fn open(directory: &Path, options: &EngineOptions) -> Result<Restored, EngineError> {
    let disk = Box::new(RealDisk::open(directory, IoMode::Inline)?);
    let volume_bytes = volume_bytes(directory).unwrap_or(u64::MAX);
    let restore_options = RestoreOptions {
        reactors: options.reactors.max(1),
        shards: options.shard_count(),
        state_bytes: options.state_bytes,
        request_keys: options.request_keys.max(1),
        progress: options.progress.clone(),
        // Only its difference from other directories counts; the standard library seeds it at random.
        fresh: DirectoryId(std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), directory) | 1),
        publisher: PublisherOptions::default().on_volume(volume_bytes),
        volume_bytes,
    };
    restore(&restore_options, disk)
}
