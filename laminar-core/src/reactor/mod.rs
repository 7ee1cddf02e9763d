//! Reactors: one thread a core that turns an engine, sleeps when there is nothing to do, and wakes
//! when another reactor, a connector or a client rings its bell.
//!
//! Invariant: only files of this room touch glommio, threads and clocks.

mod bell;
mod clock;
mod mailbox;
mod parker;
mod port;
mod sync;
mod thread;

pub use bell::Bell;
pub use clock::SystemClock;
pub use mailbox::Mailbox;
pub use parker::Parker;
pub use port::{Clock, Next, Now, Spawn, SpawnError, Task, Unpark};
pub use thread::{STALL_US, ThreadSpawn, run as run_thread};
