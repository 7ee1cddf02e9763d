//! Formats: bytes of records to Arrow columns and back.
//!
//! Invariant: a record is decoded whole or refused whole, with the field and the value in the
//! reason; nothing here knows which system the bytes came from.

mod column;
pub mod json;
mod value;

pub use json::{JsonDecoderFactory, JsonEncoderFactory};
