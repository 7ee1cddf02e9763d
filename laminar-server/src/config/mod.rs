//! The configuration file: TOML in, a checked [`Config`] or every problem at once out.
//!
//! Reading has three steps, a file each: text to table (`load`), table to values (`read`, through
//! [`reader`]), and the declared objects to one SQL deployment ([`deployment`]). Invariant: a key
//! that is not read by `read` is refused, so no setting is ever ignored in silence.

mod deployment;
mod interpolate;
mod load;
mod model;
mod nearest;
mod problem;
mod quantity;
mod read;
mod reader;

pub use load::{Loaded, load};
pub use model::{Config, LogFormat, ReactorKind, Server};
pub use problem::{Problem, Problems};

#[cfg(test)]
mod tests;
