//! Text of single values: numbers, moments, identifiers. Shared by all text formats.

pub mod civil;
pub mod decimal;
pub mod fault;
pub mod identifier;
pub mod kind;
pub mod moment;
pub mod number;
pub mod word;

pub use fault::Fault;
pub use kind::Kind;
