//! Which connectors and formats this binary has: one row each.

mod plan;

use laminar_core::connector::Registry;

use crate::config::Config;
use crate::exit::Exit;

pub use plan::plan;

/// Everything this binary can read from and write to.
///
/// # Errors
/// The embedded broker cannot start.
pub fn registry(_config: &Config) -> Result<Registry, Exit> {
    Ok(Registry::default())
}
