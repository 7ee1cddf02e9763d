//! What the server says about itself: the log, and the metrics text.

mod log;
pub mod prometheus;

pub use log::start as start_log;
