//! JSON, one object a record.

mod capture;
mod decoder;
mod encoder;
mod object;
mod options;
mod shape;
mod skip;
mod string;
pub mod write;

pub use decoder::{JsonDecoder, JsonDecoderFactory};
pub use encoder::{JsonEncoder, JsonEncoderFactory};
pub use object::Members;
pub use options::JsonOptions;
