//! What every connector shares: options, back-off, and the contract that each must pass.
//!
//! Invariant: nothing here knows a particular system; connectors know the kit, never each other.

// The derive names this crate from outside, and its tests use it from inside.
#[cfg(test)]
extern crate self as laminar_connector_kit;

mod backoff;
pub mod contract;
mod manual;
mod options;
mod secret;
mod size;

pub use backoff::Backoff;
pub use laminar_connector_kit_derive::ConnectorOptions;
pub use laminar_core::connector::ConnectorError;
pub use laminar_core::connector::options::{
    OptionKind, OptionSpec, Options, check_value, nearest, parse_bool, parse_bytes, parse_duration, resolve,
};
pub use manual::manual;
pub use options::{ConnectorOptions, OptionValue, read_optional, read_required};
pub use secret::Secret;
pub use size::ByteSize;
