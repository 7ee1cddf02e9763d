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
mod driver;
mod durable;
mod error;
mod feed;
mod fragment;
mod handle;
mod lanes;
pub mod message;
mod options;
pub mod plan;
mod push;
mod push_record;
mod read;
mod reply;
mod report;
mod request;
mod route;
mod shape;
mod sink_queue;
mod source_rows;
mod split;
mod stage;
mod start;
pub mod status;
mod subscribe;

pub use assemble::{Assembly, AssemblyParts, assemble};
pub use attach::undo;
pub use core::{Engine, EngineLimits, EngineParts, Turn};
pub use driver::Driver;
pub use error::EngineError;
pub use feed::GroupId;
pub use fragment::{FragmentId, Item};
pub use handle::EngineHandle;
pub use lanes::{Lanes, mesh};
pub use options::{Backend, EngineOptions};
pub use reply::Reply;
pub use request::{
    AdvanceWatermark, Deployed, Deployment, EpochChanges, Insert, Inserted, NewObject, Offer, OnConflict, ReadLevel,
    ReadObject, ReadRequest, ReadRows, Snapshot, Subscribed, Subscriber,
};
pub use shape::ChainShape;
pub use sink_queue::FrameQueue;
pub use start::start;
