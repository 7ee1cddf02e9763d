//! Dialect, catalog objects, planning, compilation to `PipelineSpec`, functions, ad-hoc queries.
//!
//! Invariant: the only crate that uses DataFusion; its API is boxed and non-generic, so that
//! callers do not compile DataFusion's generics again.

pub mod adhoc;
pub mod catalog;
mod compile;
mod error;
pub mod explain;
pub mod expression;
pub mod function;
pub mod parse;
pub mod plan;
mod secrets;

pub use error::{Kind, SqlError};
pub use laminar_core::quote::{quoted, quoted_if_needed};
pub use secrets::{spec_without_secrets, without_secrets};
