//! `make demo`: the real server at work on made-up market data, in one terminal.
//!
//! It starts a broker (a process of its own, so that killing the server does not take it along), the
//! server with the given configuration, and a feed; it shows the server's view as it changes. The
//! demo knows the server only as any client does: Kafka, HTTP, its process.

mod bars;
mod broker;
mod feed;
mod figures;
mod http;
mod keys;
mod latency;
mod market;
mod moment;
mod ports;
mod proof;
mod screen;
mod server;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Why the demo ends early, as a sentence.
type Failure = Box<dyn std::error::Error>;

/// LaminarDB's demo: live one-minute bars out of a Kafka topic.
#[derive(Debug, Parser)]
#[command(name = "laminardb-demo", disable_help_subcommand = true)]
struct Arguments {
    /// Configuration of the server.
    #[arg(long, value_name = "FILE", default_value = "laminardb.toml")]
    config: PathBuf,

    /// Address of a real Kafka to use instead of the embedded broker.
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,

    /// Trades a second.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    rate: u64,

    /// Prints 20 rows and ends; so it does without a terminal.
    #[arg(long)]
    once: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs only the embedded broker, until standard input ends.
    #[command(hide = true)]
    Broker,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Some(Command::Broker) => broker::run(),
        None => show::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("laminardb-demo: {failure}");
            ExitCode::FAILURE
        }
    }
}
