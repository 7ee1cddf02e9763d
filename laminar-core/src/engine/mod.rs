//! The engine: one per reactor ([`Engine`]), told what to do by the control thread, reached from
//! outside through [`EngineHandle`].
//!
//! Invariant: an engine is a synchronous state machine; the shells in `reactor/` and the driver of
//! the simulation turn the same code.

mod assemble;
mod attach;
mod barrier;
mod chain;
mod core;
mod dead_letters;
mod delayed;
mod driver;
mod durable;
mod error;
mod feed;
mod fragment;
mod frame_bytes;
mod handle;
mod inspect;
pub(crate) mod kept_plan;
mod kept_time;
mod lanes;
mod memory;
pub mod message;
mod options;
mod outboxes;
pub mod plan;
mod push;
mod push_record;
mod read;
mod reply;
mod report;
mod request;
mod request_key;
mod requests;
mod restore;
mod route;
mod shape;
mod sink_queue;
mod source_rows;
mod spill;
mod split;
mod stage;
mod start;
pub mod status;
mod store;
mod subscribe;
mod table_keys;

pub use crate::control::{StartPhase, StartProgress, StartState};
pub use assemble::{Assembly, AssemblyParts, EngineSeed, assemble};
pub use attach::{arena_bytes, arena_id, undo};
pub use core::{Engine, EngineLimits, EngineParts};
pub use driver::Driver;
pub use error::EngineError;
pub(crate) use error::panic_words;
pub use feed::GroupId;
pub use fragment::{FragmentId, Item};
pub use handle::EngineHandle;
pub use inspect::{KeptCheckpoint, Verified, inspect};
pub use kept_plan::state_difference;
pub use lanes::{Lanes, mesh};
pub use options::{Backend, EngineOptions, FatalHook};
pub use outboxes::{FoundOutbox, Outboxes};
pub use reply::{Asker, Reply};
pub use request::{
    AdvanceWatermark, Deployed, Deployment, EpochChanges, Insert, Inserted, NewObject, Offer, OnConflict, ReadLevel,
    ReadObject, ReadRequest, ReadRows, RecoveredCatalog, Snapshot, Subscribed, Subscriber,
};
pub use request_key::RequestKey;
pub use restore::{
    Boot, ControlStore, ENGINE_ISLAND, ReactorPlan, RestoreOptions, Restored, epoch_of, page_marks, restore, states_of,
};
pub use route::SendRouter;
pub use shape::ChainShape;
pub use sink_queue::{FrameQueue, Staged};
pub use spill::{SPARE_SHARE, spill_from, spill_to};
pub use start::start;
pub use store::{ReactorDisk, Store, page_path};

#[cfg(test)]
mod tests;
