//! `laminardb-server`: the database as one process.
//!
//! The rooms: `cli` (what can be typed), `config` (what can be written), `boot` and `shutdown` (the
//! life of the process), `wiring` (which connectors this binary has), `http` and `pgwire` (how
//! clients talk to it), `telemetry` (what it says about itself), `failpoints` (where a test lets it die), `checkpoints` (what a stopped server keeps). Invariant: no room below `boot`
//! ends the process, and no SQL is understood here.

mod boot;
mod checkpoints;
mod cli;
mod config;
mod exit;
#[cfg(debug_assertions)]
mod failpoints;
mod gate;
mod http;
mod pgwire;
mod shutdown;
mod telemetry;
mod wiring;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => exit.report(),
    }
}
