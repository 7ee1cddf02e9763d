//! What flows: batches of Arrow columns with change weights and event time.

mod batch;
mod schema;
pub mod schema_serde;
mod time;

pub use batch::Batch;
pub use schema::{ChangeMode, StreamSchema};
pub use time::EventTime;
