//! The database as a library: sessions, the one gate every command passes, deployment, queries and
//! subscriptions.
//!
//! Invariant: knows no protocol; connectors are registered from outside.

pub mod copy;
mod error;
mod options;
mod response;

pub use error::{DbError, Notice, Severity};
pub use options::{Backend, DatabaseOptions};
pub use response::{Description, Response, RowStream, TransactionState};
