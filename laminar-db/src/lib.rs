//! The database as a library: sessions, the one gate every command passes, deployment, queries and
//! subscriptions.
//!
//! Invariant: knows no protocol; connectors are registered from outside.

mod arrow_body;
mod ask;
mod cancel;
pub mod copy;
mod database;
mod deploy;
mod error;
mod execute;
mod ingest;
mod options;
mod record;
mod response;
mod session;
mod statement;
pub mod status;
mod subscription;

pub use cancel::CancelHandle;
pub use database::{CheckpointInfo, Database};
pub use error::{DbError, Notice, Severity};
pub use ingest::{BodyFormat, Ingested, KEY_REUSED};
pub use laminar_core::engine::{StartPhase, StartProgress, StartState};
pub use laminar_sql::parse::Statement;
pub use options::{Backend, DatabaseOptions};
/// The checkpoints of a data directory that no server uses.
pub mod kept {
    pub use laminar_core::engine::{KeptCheckpoint, Verified, inspect};
}
pub use response::{Description, Response, RowStream, TransactionState};
pub use session::Session;
pub use status::Status;
