//! The plain shell: a thread that parks. For tests, and for kernels without io_uring.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use laminar_storage::disk::{Disk, IoMode, RealDisk};

use super::shell::{Make, ShellError, Start, StoppedReactor, Turn, Turning, timed_turn};
use super::{Bell, Parker};

/// Starts the thread and waits for its handshake.
///
/// # Errors
/// The system refuses the thread, or its disk cannot be opened.
pub fn start(start: Start, bell: Arc<Bell>, parker: Arc<Parker>, make: Make) -> Result<StoppedReactor, ShellError> {
    let (ready, is_ready) = mpsc::sync_channel(1);
    let name = start.name.clone();
    let run = move || {
        let opened = open_disk(&start, &bell);
        let mut engine = match opened {
            Ok(disk) => make(disk),
            Err(error) => {
                // The starter waits for exactly this answer.
                let _ = ready.send(Err(error));
                return;
            }
        };
        let _ = ready.send(Ok(()));
        turn_until_stopped(engine.as_mut(), &start, &bell, &parker);
    };
    let handle = std::thread::Builder::new().name(name.clone()).spawn(run);
    let handle = handle.map_err(|e| ShellError { message: format!("cannot start reactor {name}: {e}") })?;
    match is_ready.recv() {
        Ok(Ok(())) => Ok(StoppedReactor::new(move || {
            handle.join().map_err(|_| ShellError { message: format!("reactor {name} ended by a panic") })
        })),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(ShellError { message: format!("reactor {name} ended while it started") }),
    }
}

fn open_disk(start: &Start, bell: &Arc<Bell>) -> Result<Box<dyn Disk>, ShellError> {
    let bell = bell.clone();
    let mode = IoMode::Thread(Some(Arc::new(move || bell.ring())));
    let disk = RealDisk::open(&start.data_dir, mode).map_err(|e| ShellError { message: e.message })?;
    Ok(Box::new(disk))
}

fn turn_until_stopped(engine: &mut dyn Turning, start: &Start, bell: &Bell, parker: &Parker) {
    loop {
        match timed_turn(engine, start.clock.as_ref()) {
            Turn::Busy => {}
            Turn::Stopped => return engine.close(),
            Turn::Idle(until) => {
                bell.prepare();
                if !engine.has_work() {
                    let now = start.clock.now().micros;
                    let wait = until.map(|until| Duration::from_micros(until.saturating_sub(now)));
                    if wait != Some(Duration::ZERO) {
                        parker.park(wait);
                    }
                }
                bell.awake();
            }
        }
    }
}
