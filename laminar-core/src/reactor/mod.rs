//! Reactors: one thread a core that turns an engine, sleeps when there is nothing to do, and wakes
//! when another reactor, a connector or a client rings its bell.
//!
//! Invariant: only files of this room touch glommio, threads and clocks.

mod bell;
mod clock;
mod glommio_shell;
mod mailbox;
mod parker;
mod pin;
mod port;
mod ring_disk;
mod shell;
mod sync;
mod thread_shell;
mod threads;
mod watch;

#[cfg(test)]
mod tests;

pub use bell::Bell;
pub use clock::SystemClock;
pub use mailbox::Mailbox;
pub use parker::Parker;
pub use pin::core_of;
pub use port::{Clock, Next, Now, Spawn, SpawnError, Task, Unpark};
pub use shell::{Backend, LONG_TURNS_US, Make, STALL_US, Seat, ShellError, Start, StoppedReactor, Turn, Turning};
pub use threads::ThreadSpawn;
pub use watch::Watch;
