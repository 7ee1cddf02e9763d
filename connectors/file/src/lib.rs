//! Files as sources and sinks: one record a line (JSON lines) or CSV.
//!
//! Invariants: files are opened below the configured roots only; a reactor never touches a file, a
//! thread per split reads ahead into a bounded queue.

mod options;
mod parts;
mod place;
mod reader;
mod sink;
mod source;
mod tail;

pub use options::{FileSinkOptions, FileSourceOptions};
pub use place::Roots;
pub use sink::FileSinkFactory;
pub use source::FileSourceFactory;
