//! The command line: what can be typed, and nothing else.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::boot;
use crate::checkpoints;
use crate::exit::Exit;
#[cfg(debug_assertions)]
use crate::failpoints;

/// LaminarDB: streaming SQL on pinned cores.
#[derive(Debug, Parser)]
#[command(name = "laminardb-server", version, about, disable_help_subcommand = true)]
struct Arguments {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", default_value = "laminardb.toml", global = true)]
    config: PathBuf,

    /// Writes the bound addresses to this file, as JSON, once the server is ready.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,

    /// Lists the places where the process can be made to die, by LAMINAR_CRASH_AT=NAME[:N]. Only in builds for tests.
    #[cfg(debug_assertions)]
    #[arg(long)]
    list_failpoints: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Checks the configuration and plans all of its SQL, without starting anything.
    Check,

    /// Looks at the checkpoints of the data directory; no server may use it.
    #[command(subcommand)]
    Checkpoint(CheckpointCommand),
}

#[derive(Debug, Subcommand)]
enum CheckpointCommand {
    /// Lists what is kept: epoch, objects, positions of the sources.
    List,
    /// Reads all state and logs, and tells whether a start can use them.
    Verify,
}

/// Does what the command line says; returns when the server has stopped.
///
/// # Errors
/// Why it could not start or had to stop.
pub fn run() -> Result<(), Exit> {
    let arguments = Arguments::parse();
    #[cfg(debug_assertions)]
    if arguments.list_failpoints {
        failpoints::list();
        return Ok(());
    }
    #[cfg(debug_assertions)]
    failpoints::arm()?;
    match arguments.command {
        Some(Command::Check) => boot::check(&arguments.config),
        Some(Command::Checkpoint(what)) => {
            checkpoints::print(&arguments.config, matches!(what, CheckpointCommand::Verify))
        }
        None => boot::serve(&arguments.config, arguments.ready_file.as_deref()),
    }
}
