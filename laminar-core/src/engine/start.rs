//! Starts an engine on this machine.

use std::sync::Arc;

use super::assemble::{Assembly, AssemblyParts, assemble};
use super::{EngineError, EngineHandle, EngineOptions};
use crate::connector::Registry;
use crate::expr::ExprCompiler;
use crate::reactor::{Clock, Parker, Spawn, SystemClock, ThreadSpawn, Unpark, run_thread};

/// Starts reactors and control, and returns the handle to them.
///
/// # Errors
/// The system refuses a thread.
pub fn start(
    options: EngineOptions,
    registry: Registry,
    compiler: Arc<dyn ExprCompiler>,
) -> Result<EngineHandle, EngineError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let spawn: Arc<dyn Spawn> = Arc::new(ThreadSpawn::new(clock.clone()));
    let parkers: Vec<Arc<Parker>> = (0..options.reactors.max(1)).map(|_| Arc::default()).collect();
    let control_parker = Arc::new(Parker::default());
    let Assembly { engines, bells, control, handle } = assemble(AssemblyParts {
        options,
        registry,
        compiler,
        spawn: spawn.clone(),
        reactors: parkers.iter().map(|parker| parker.clone() as Arc<dyn Unpark>).collect(),
        control: control_parker.clone(),
    });
    let refused = |error: crate::reactor::SpawnError| EngineError::Start(error.message);
    // Control first, from this unpinned thread: threads inherit the affinity of their parent.
    spawn.spawn("control".into(), control_parker, Box::new(control)).map_err(refused)?;
    for (index, ((engine, bell), parker)) in engines.into_iter().zip(bells).zip(parkers).enumerate() {
        run_thread(engine, bell, parker, clock.clone(), format!("reactor-{index}")).map_err(refused)?;
    }
    Ok(handle)
}
