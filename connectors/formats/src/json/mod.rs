//! JSON, one object a record.

mod capture;
mod decoder;
mod options;
mod shape;
mod skip;
mod string;

pub use decoder::{JsonDecoder, JsonDecoderFactory};
pub use options::JsonOptions;
