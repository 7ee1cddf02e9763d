//! Runs the code of connectors so that a panic in it is told like any other failure.
//!
//! Invariant: no panic of a connector ends the thread of its task: a source or sink that has stopped is
//! shown as such, with the words of the panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::connector::{ConnectorError, Fault};
use crate::engine::panic_words;

/// Runs `work` of an object. What it worked on must not be used again after a panic.
pub(super) fn guarded<T>(object: &str, work: impl FnOnce() -> Result<T, ConnectorError>) -> Result<T, ConnectorError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = format!("internal: panic in the connector of \"{object}\": {}", panic_words(&*panic));
        Err(ConnectorError { code: "LDB-3034", fault: Fault::Internal, message })
    })
}
