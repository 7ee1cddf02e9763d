//! Rouses glommio executors that sleep although a task of theirs may run.
//!
//! glommio 0.9 can lose a wake: an event of its latency ring (another thread's wake, the pre-emption
//! timer) that lands between its poll of the rings and its first look at the run queue makes it skip
//! the queue, and it parks (decision 0043). Any later wake frees it, so one thread looks after all
//! reactors: who should be awake and has not moved for a tick is woken. Invariant: when all sleep
//! without a deadline and no operation is in a ring, this thread sleeps too.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

use super::port::{Clock, SpawnError, Unpark};
use super::{Bell, Parker};

/// How long a reactor that should be awake may stand still, in microseconds.
const TICK_US: u64 = 5_000;
const AWAKE: u64 = 0;
const NO_DEADLINE: u64 = u64::MAX;

/// The signs of life of one executor.
#[derive(Default)]
pub struct Pulse {
    /// Turns and completions so far.
    moves: AtomicU64,
    /// What `moves` was at the last look.
    seen: AtomicU64,
    /// [`AWAKE`], [`NO_DEADLINE`], or when it wants to wake, in microseconds of the clock.
    asleep_until: AtomicU64,
    /// Operations in its ring.
    in_ring: AtomicUsize,
    /// Wakes its main task.
    main: Mutex<Option<Waker>>,
    watch: OnceLock<Arc<Bell>>,
}

impl Pulse {
    /// It did something.
    pub fn moved(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
        self.asleep_until.store(AWAKE, Ordering::SeqCst);
    }

    /// It is about to sleep.
    pub fn sleeps(&self, until: Option<u64>) {
        self.asleep_until.store(until.unwrap_or(NO_DEADLINE).max(1), Ordering::SeqCst);
    }

    /// Somebody ends its sleep.
    pub fn roused(&self) {
        self.asleep_until.store(AWAKE, Ordering::SeqCst);
        if let Some(watch) = self.watch.get() {
            watch.ring();
        }
    }

    /// An operation goes into the ring.
    pub fn enters_ring(&self) {
        self.in_ring.fetch_add(1, Ordering::SeqCst);
    }

    /// An operation of the ring has completed.
    pub fn leaves_ring(&self) {
        self.in_ring.fetch_sub(1, Ordering::SeqCst);
        self.moves.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether operations are in the ring.
    pub fn ring_is_busy(&self) -> bool {
        self.in_ring.load(Ordering::SeqCst) > 0
    }

    /// Its main task begins, or ends.
    pub fn set_main(&self, waker: Option<Waker>) {
        *self.main.lock().unwrap_or_else(PoisonError::into_inner) = waker;
    }

    /// Wakes it if it stands still; returns in how many microseconds to look again.
    fn look(&self, now: u64) -> Option<u64> {
        let moves = self.moves.load(Ordering::Relaxed);
        let last = self.seen.swap(moves, Ordering::Relaxed);
        let until = self.asleep_until.load(Ordering::SeqCst);
        if !self.ring_is_busy() {
            match until {
                AWAKE => {}
                NO_DEADLINE => return None,
                until if until + TICK_US > now => return Some(until + TICK_US - now),
                _ => {}
            }
        }
        if last == moves
            && let Some(main) = &*self.main.lock().unwrap_or_else(PoisonError::into_inner)
        {
            main.wake_by_ref();
        }
        Some(TICK_US)
    }
}

/// The thread that looks after executors; ends when the last owner lets go.
pub struct Watch(Arc<Shared>);

struct Shared {
    pulses: Mutex<Vec<Arc<Pulse>>>,
    parker: Arc<Parker>,
    bell: Arc<Bell>,
    stopped: AtomicBool,
    clock: Arc<dyn Clock>,
}

impl Watch {
    /// Starts the thread; `clock` is the reactors'.
    ///
    /// # Errors
    /// The system refuses the thread.
    pub fn start(clock: Arc<dyn Clock>) -> Result<Self, SpawnError> {
        let parker = Arc::new(Parker::default());
        let bell = Arc::new(Bell::new(parker.clone() as Arc<dyn Unpark>));
        let shared =
            Arc::new(Shared { pulses: Mutex::default(), parker, bell, stopped: AtomicBool::new(false), clock });
        let theirs = shared.clone();
        let started = std::thread::Builder::new().name("watch".to_owned()).spawn(move || theirs.run());
        started.map_err(|e| SpawnError { message: format!("cannot start a thread: {e}") })?;
        Ok(Self(shared))
    }

    /// Looks after an executor from now on.
    pub fn add(&self, pulse: &Arc<Pulse>) {
        let _ = pulse.watch.set(self.0.bell.clone());
        self.0.pulses().push(pulse.clone());
        self.0.bell.ring();
    }

    /// The executor has ended.
    pub fn remove(&self, pulse: &Arc<Pulse>) {
        self.0.pulses().retain(|p| !Arc::ptr_eq(p, pulse));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        self.0.parker.unpark();
    }
}

impl Shared {
    fn pulses(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Pulse>>> {
        self.pulses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self) -> Option<u64> {
        let now = self.clock.now().micros;
        self.pulses().iter().filter_map(|pulse| pulse.look(now)).min()
    }

    fn run(&self) {
        while !self.stopped.load(Ordering::SeqCst) {
            let mut wait = self.look();
            if wait.is_none_or(|wait| wait > TICK_US) {
                // Nobody is awake: a bell ends the sleep. One may have been missed just before.
                self.bell.prepare();
                wait = self.look();
            }
            self.parker.park(wait.map(Duration::from_micros));
            self.bell.awake();
        }
    }
}
