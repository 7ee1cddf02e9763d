//! A simulated machine's disk: deterministic by seed, with a page cache that can be lost.
//!
//! [`SimMachine`] is the machine (shared by all its handles), [`SimDisk`] one handle, as a reactor
//! or the control thread has it. Bytes and names are kept twice: as the running machine sees them
//! and as they are certain to survive. A power cut keeps any legal subset of the difference.
//!
//! Invariant: what a completed sync covers survives every crash; nothing else is certain.

mod crash;
mod file;
mod handle;
mod image;
mod machine;
mod namespace;
mod random;
mod world;

pub use crash::Kept;
pub use handle::SimDisk;
pub use machine::{Schedule, SimMachine, SimOp};

#[cfg(test)]
mod tests;
