//! The generator: seeded rows that look like a market, or keys and values for measuring.
//!
//! Invariant: a row depends only on (seed, split, row number), so that a reader opened at a position
//! goes on exactly as the one before would have, and every run with one seed is the same.

mod columns;
mod json;
mod options;
mod random;
mod reader;
mod rows;
mod source;

pub use json::{write_json, write_json_at};
pub use options::GeneratorOptions;
pub use rows::{Kind, Rows, Sample, Side, Trade};
pub use source::GeneratorFactory;
