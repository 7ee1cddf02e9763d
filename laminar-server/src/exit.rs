//! Why the process ends, and the code that says so to the caller.

use std::fmt;
use std::process::ExitCode;

/// The exit codes, which scripts may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// 1: the engine or the operating system failed.
    Failed = 1,
    /// 2: the command line or the configuration is wrong.
    Config = 2,
    /// 3: an address cannot be bound.
    Address = 3,
    /// 4: the data directory cannot be used.
    Data = 4,
}

/// The end of the process, with what the user reads.
#[derive(Debug)]
pub struct Exit {
    /// Which code.
    pub reason: Reason,
    /// What is wrong and what to do.
    pub message: String,
}

impl Exit {
    /// An end with a message.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// Prints the message to standard error and gives the code.
    pub fn report(&self) -> ExitCode {
        eprintln!("laminardb-server: {self}");
        ExitCode::from(self.reason as u8)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
