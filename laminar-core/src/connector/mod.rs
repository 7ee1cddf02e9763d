//! The ports through which connectors meet the engine.
//!
//! Invariant: the engine knows splits, records, positions and staged frames; it never knows what
//! Kafka is.

mod decode;
mod encode;
mod error;
pub mod options;
mod registry;
mod sink;
mod source;

pub use decode::{Decoder, DecoderFactory, Malformed};
pub use encode::{EncodedRecord, Encoder, EncoderFactory};
pub use error::{ConnectorError, Fault};
pub use registry::{Registry, SinkFactory, SourceFactory};
pub use sink::{Applier, Frame, FrameRecord, Readiness, SinkIdentity};
pub use source::{Budget, Ingest, Polled, Position, RawRecord, Source, SplitKey, SplitReader, StartFrom, Wake};
