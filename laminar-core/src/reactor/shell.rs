//! The shell of a reactor: turns an engine until it stops, and sleeps in between.
//!
//! Two shells keep the same contract: glommio (a pinned executor on io_uring) and a plain parked
//! thread. Invariants: the engine is made, turned and dropped on one thread; before each sleep the
//! shell announces it, looks for work once more, and only then sleeps (see [`Bell`]); it never
//! spins.

use std::path::PathBuf;
use std::sync::Arc;

use super::port::{Clock, Now, SpawnError, Unpark};
use super::{Bell, Parker, Watch, glommio_shell, thread_shell};
use laminar_storage::disk::Disk;

/// What a turn left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is more to do now.
    Busy,
    /// Nothing to do before the bell rings or this moment (monotonic microseconds) comes.
    Idle(Option<u64>),
    /// It has stopped.
    Stopped,
}

/// What a shell turns.
pub trait Turning {
    /// Does one round of whatever is there; never blocks.
    fn turn(&mut self, now: Now) -> Turn;

    /// Whether something has come in since the last turn; the second look before a sleep.
    fn has_work(&mut self) -> bool;

    /// Ends it, after the turn that stopped it; may wait for the disk.
    fn close(&mut self) {}

    /// Takes note that the last turn took this many microseconds, more than the least of [`LONG_TURNS_US`].
    fn took_long(&mut self, micros: u64);
}

/// Turns are counted by these limits, in microseconds, ascending.
pub const LONG_TURNS_US: [u64; 7] = [1_000, 2_000, STALL_US, 10_000, 20_000, 50_000, 100_000];
/// Turns longer than this are named: 5 ms.
pub const STALL_US: u64 = 5_000;

/// Which shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A glommio executor pinned to a core.
    Glommio,
    /// A plain thread.
    Thread,
}

/// Why a reactor could not be started.
pub type ShellError = SpawnError;

/// Makes the engine on the reactor's own thread, with its disk.
pub type Make = Box<dyn FnOnce(Box<dyn Disk>) -> Box<dyn Turning> + Send>;

/// A place for one reactor, made before its thread so that others can be given its bell.
pub struct Seat {
    backend: Backend,
    bell: Arc<Bell>,
    sleeper: Sleeper,
}

enum Sleeper {
    Ring(Arc<glommio_shell::TaskWaker>),
    Thread(Arc<Parker>),
}

/// A reactor that runs; joining it waits for its end.
pub struct StoppedReactor(Box<dyn FnOnce() -> Result<(), ShellError> + Send>);

impl StoppedReactor {
    pub(super) fn new(join: impl FnOnce() -> Result<(), ShellError> + Send + 'static) -> Self {
        Self(Box::new(join))
    }

    /// Waits until the reactor has stopped.
    ///
    /// # Errors
    /// It ended by a panic.
    pub fn join(self) -> Result<(), ShellError> {
        (self.0)()
    }
}

/// How a seat is taken.
pub struct Start {
    /// The thread's name.
    pub name: String,
    /// The core to pin to; none = not pinned.
    pub core: Option<usize>,
    /// The data directory of its disk.
    pub data_dir: PathBuf,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Looks after executors of glommio.
    pub watch: Arc<Watch>,
}

impl Seat {
    /// A seat for a backend.
    pub fn new(backend: Backend) -> Self {
        match backend {
            Backend::Glommio => {
                let waker = Arc::new(glommio_shell::TaskWaker::default());
                let bell = Arc::new(Bell::new(waker.clone() as Arc<dyn Unpark>));
                Self { backend, bell, sleeper: Sleeper::Ring(waker) }
            }
            Backend::Thread => {
                let parker = Arc::new(Parker::default());
                let bell = Arc::new(Bell::new(parker.clone() as Arc<dyn Unpark>));
                Self { backend, bell, sleeper: Sleeper::Thread(parker) }
            }
        }
    }

    /// Its bell: rung by whoever has published work for the engine.
    pub fn bell(&self) -> Arc<Bell> {
        self.bell.clone()
    }

    /// Which shell it has.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Starts the reactor: returns when its thread runs and the engine is made.
    ///
    /// # Errors
    /// The system refuses the thread, the pinning or the ring (memory lock limit).
    pub fn start(self, start: Start, make: Make) -> Result<StoppedReactor, ShellError> {
        match self.sleeper {
            Sleeper::Ring(waker) => glommio_shell::start(start, self.bell, waker, make),
            Sleeper::Thread(parker) => thread_shell::start(start, self.bell, parker, make),
        }
    }
}

/// One turn with its time taken.
pub(super) fn timed_turn(engine: &mut dyn Turning, clock: &dyn Clock) -> Turn {
    let now = clock.now();
    let turn = engine.turn(now);
    let micros = clock.now().micros.saturating_sub(now.micros);
    if micros > LONG_TURNS_US[0] {
        engine.took_long(micros);
    }
    turn
}
