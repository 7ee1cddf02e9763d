//! What flows: batches of Arrow columns with change weights and event time.

mod batch;
mod error;
mod event_time;
pub mod key;
pub mod row;
mod schema;
pub mod schema_serde;
mod time;

pub use batch::Batch;
pub use error::DataError;
pub use event_time::{EventTimes, NotATimestamp, timestamp_column, unit_micros};
pub use key::{KeyBuffer, KeyEncoder, KeyError, Keys};
pub use row::{EncodedRows, RowCodec, RowError};
pub use schema::{ChangeMode, StreamSchema};
pub use time::EventTime;
