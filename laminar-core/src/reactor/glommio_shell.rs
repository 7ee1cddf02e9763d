//! The glommio shell: an executor on io_uring, pinned to its core.
//!
//! Invariants (each a measured trap): the pre-emption timer is 1 ms, else a busy executor sees wakes
//! of other threads only after 100 ms; the ring's memory is 1 MiB, else many executors hit the
//! memory-lock limit; the starter waits for a handshake, because `spawn` reports success before the
//! ring exists; the executor yields after each turn, so that file completions are seen; a wake may be
//! lost inside glommio, so that a [`Watch`] looks after the executor; before its first task nothing can
//! wake it, so an executor that does not begin is replaced by another, and sleeps on without work.

use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use glommio::{ExecutorJoinHandle, GlommioError, LocalExecutorBuilder, Placement};

use super::Bell;
use super::port::Unpark;
use super::ring_disk::{RingDisk, RingMode};
use super::shell::{Make, ShellError, Start, StoppedReactor, Turn, Turning, timed_turn};
use super::watch::{Pulse, Watch};

const PREEMPT_TIMER: Duration = Duration::from_millis(1);
const IO_MEMORY_BYTES: usize = 1 << 20;
/// How often the end of the last operations is looked for when the engine has stopped.
const DRAIN_POLL: Duration = Duration::from_millis(1);
/// How long an executor may take to run its first task before another one is started in its stead, how
/// often that is looked for, and how many are started.
const BEGINNING: Duration = Duration::from_secs(2);
const BEGINNING_LOOK: Duration = Duration::from_millis(20);
const ATTEMPTS: usize = 10;

/// Wakes the executor's main task from any thread.
#[derive(Default)]
pub struct TaskWaker {
    state: Mutex<WakerState>,
    pulse: Arc<Pulse>,
}

#[derive(Default)]
struct WakerState {
    woken: bool,
    waker: Option<Waker>,
}

impl Unpark for TaskWaker {
    fn unpark(&self) {
        let waker = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.woken = true;
            state.waker.take()
        };
        self.pulse.roused();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl TaskWaker {
    /// Ready once it was unparked since the last time it was ready.
    async fn unparked(&self) {
        poll_fn(|context| {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if std::mem::take(&mut state.woken) {
                state.waker = None;
                return Poll::Ready(());
            }
            state.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// What an executor is to do, taken by the first that runs.
struct Work {
    main: Main,
    make: Make,
    data_dir: PathBuf,
    ready: SyncSender<Result<(), ShellError>>,
}

impl Work {
    async fn run(self) {
        let disk = match RingDisk::open(&self.data_dir, self.main.bell.clone(), self.main.waker.pulse.clone()) {
            Ok(disk) => disk,
            Err(error) => {
                // The starter waits for exactly this answer.
                let _ = self.ready.send(Err(ShellError { message: error.message }));
                return;
            }
        };
        let in_ring = disk.mode();
        let mut engine = (self.make)(Box::new(disk));
        let _ = self.ready.send(Ok(()));
        self.main.watched(engine.as_mut(), &in_ring).await;
    }
}

/// One attempt to start an executor, and whether it has begun.
struct Attempt {
    handle: ExecutorJoinHandle<()>,
    begun: Receiver<()>,
}

/// Starts the executor and waits until the engine is made.
///
/// # Errors
/// The kernel has no io_uring, the memory-lock limit is too low, or the core does not exist.
pub fn start(start: Start, bell: Arc<Bell>, waker: Arc<TaskWaker>, make: Make) -> Result<StoppedReactor, ShellError> {
    let name = start.name.clone();
    let failed = |what: &str| ShellError { message: format!("cannot start reactor {name} on io_uring: {what}") };
    let (ready, is_ready) = mpsc::sync_channel(1);
    let main = Main { clock: start.clock.clone(), bell, waker, watch: start.watch.clone() };
    let work = Arc::new(Mutex::new(Some(Work { main, make, data_dir: start.data_dir.clone(), ready })));
    let running = first_to_begin(&start, &work).map_err(|reason| failed(&reason))?;
    // Reading a large state back may take long.
    match is_ready.recv() {
        Ok(Ok(())) => Ok(StoppedReactor::new(move || {
            running.join().map_err(|e| ShellError { message: format!("reactor {name} ended: {e}") })
        })),
        Ok(Err(error)) => Err(error),
        Err(_) => {
            let reason = running.join().err().map_or_else(|| "it ended at once".to_owned(), |e| e.to_string());
            Err(failed(&reason))
        }
    }
}

/// Starts executors until one of them has taken the work; where that fails, none of them will.
fn first_to_begin(start: &Start, work: &Arc<Mutex<Option<Work>>>) -> Result<ExecutorJoinHandle<()>, String> {
    let mut attempts: Vec<Attempt> = Vec::new();
    loop {
        let tried = if attempts.len() < ATTEMPTS {
            attempt(start, work).map(|another| attempts.push(another)).map_err(|error| error.to_string())
        } else {
            Err("it does not begin".to_owned())
        };
        // A late executor must find nothing to do. If one has taken the work just now, it says so below.
        if let Err(reason) = tried
            && work.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
        {
            return Err(reason);
        }
        match begun(attempts.iter().map(|attempt| &attempt.begun), BEGINNING) {
            Begun::By(index) => return Ok(attempts.swap_remove(index).handle),
            Begun::Ended => {
                let error = attempts.pop().and_then(|last| last.handle.join().err());
                let reason = error.map_or_else(|| "it ended at once".to_owned(), |error| error.to_string());
                let hint = "raise the limit of locked memory, or set [server] backend = \"thread\"";
                return Err(format!("{reason}; {hint}"));
            }
            Begun::ByNone => {}
        }
    }
}

fn attempt(start: &Start, work: &Arc<Mutex<Option<Work>>>) -> Result<Attempt, GlommioError<()>> {
    let (begins, begun) = mpsc::sync_channel(1);
    let work = work.clone();
    let handle = LocalExecutorBuilder::new(start.core.map_or(Placement::Unbound, Placement::Fixed))
        .name(&start.name)
        .preempt_timer(PREEMPT_TIMER)
        .io_memory(IO_MEMORY_BYTES)
        .spin_before_park(Duration::ZERO)
        .spawn(move || async move {
            let taken = work.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(taken) = taken {
                let _ = begins.send(());
                taken.run().await;
            }
        })?;
    Ok(Attempt { handle, begun })
}

#[derive(Debug, PartialEq, Eq)]
enum Begun {
    By(usize),
    /// All threads have ended before they began.
    Ended,
    ByNone,
}

/// Waits until one of the attempts has begun, all have ended, or so much time has passed.
fn begun<'a>(attempts: impl Iterator<Item = &'a Receiver<()>> + Clone, patience: Duration) -> Begun {
    let until = Instant::now() + patience;
    loop {
        let mut alive = false;
        for (index, attempt) in attempts.clone().enumerate() {
            match attempt.recv_timeout(BEGINNING_LOOK) {
                Ok(()) => return Begun::By(index),
                Err(RecvTimeoutError::Timeout) => alive = true,
                // One that comes too late for the work ends as well: its rival has begun.
                Err(RecvTimeoutError::Disconnected) => {}
            }
        }
        if !alive {
            return Begun::Ended;
        }
        if Instant::now() >= until {
            return Begun::ByNone;
        }
    }
}

struct Main {
    clock: Arc<dyn super::Clock>,
    bell: Arc<Bell>,
    waker: Arc<TaskWaker>,
    watch: Arc<Watch>,
}

impl Main {
    async fn watched(&self, engine: &mut dyn Turning, in_ring: &RingMode) {
        let pulse = &self.waker.pulse;
        pulse.set_main(Some(poll_fn(|context| Poll::Ready(context.waker().clone())).await));
        self.watch.add(pulse);
        self.turn_until_stopped(engine, in_ring).await;
        self.watch.remove(pulse);
        // Dropped here: a task's waker belongs to its executor.
        pulse.set_main(None);
    }

    async fn turn_until_stopped(&self, engine: &mut dyn Turning, in_ring: &RingMode) {
        in_ring.path.set(IoPath::Ring);
        loop {
            self.waker.pulse.moved();
            match timed_turn(engine, self.clock.as_ref()) {
                Turn::Busy => glommio::executor().yield_task_queue_now().await,
                Turn::Stopped => break,
                Turn::Idle(until) => {
                    self.waker.pulse.sleeps(until);
                    self.bell.prepare();
                    if engine.has_work() {
                        self.bell.awake();
                        continue;
                    }
                    self.sleep(until).await;
                    self.bell.awake();
                }
            }
        }
        in_ring.path.set(IoPath::Thread);
        while self.waker.pulse.ring_is_busy() {
            glommio::timer::sleep(DRAIN_POLL).await;
        }
        engine.close();
    }

    async fn sleep(&self, until: Option<u64>) {
        let Some(until) = until else { return self.waker.unparked().await };
        let wait = until.saturating_sub(self.clock.now().micros);
        if wait == 0 {
            return glommio::executor().yield_task_queue_now().await;
        }
        let timer = glommio::timer::Timer::new(Duration::from_micros(wait));
        let unparked = self.waker.unparked();
        let (mut timer, mut unparked) = (std::pin::pin!(timer), std::pin::pin!(unparked));
        poll_fn(|context| {
            let rung = unparked.as_mut().poll(context).is_ready();
            if rung || timer.as_mut().poll(context).is_ready() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// Which way writes and syncs of a [`RingDisk`] take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoPath {
    /// The I/O thread: while the engine is made and after it has stopped, when it may wait.
    Thread,
    /// The ring: while the executor turns the engine.
    Ring,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executor_that_has_died_is_noticed_however_many_were_started() {
        let dead = || mpsc::sync_channel(1).1;
        let (_alive, waits) = mpsc::sync_channel(1);
        let (begins, has_begun) = mpsc::sync_channel(1);
        begins.send(()).unwrap();
        drop(begins);
        let seen = |attempts: &[&Receiver<()>]| begun(attempts.iter().copied(), BEGINNING_LOOK);
        assert_eq!(seen(&[&dead()]), Begun::Ended);
        assert_eq!(seen(&[&dead(), &dead(), &dead()]), Begun::Ended);
        assert_eq!(seen(&[&dead(), &waits]), Begun::ByNone, "the other may still begin");
        assert_eq!(seen(&[&dead(), &has_begun]), Begun::By(1), "also if it has ended since");
    }
}
