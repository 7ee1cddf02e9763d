//! The options of PostgreSQL sinks.
//!
//! Invariant: a connection that leaves this machine without encryption was asked for in words.

use std::net::IpAddr;
use std::time::Duration;

use laminar_connector_kit::{ConnectorOptions, Options, Secret};
use laminar_core::connector::ConnectorError;
use laminar_core::graph::Delivery;

use crate::error::Trouble;
use crate::identifier;

/// Where markers lie without `progress.table`.
const PROGRESS_TABLE: &str = "laminardb_progress";
/// What a time limit may be: a statement needs some time, and a takeover waits for the one in work.
const LIMITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3600));

/// What a sink takes.
#[derive(ConnectorOptions, Clone, Debug)]
pub struct PostgresSinkOptions {
    /// Where the server listens: a name, an address, or the directory of its Unix socket.
    #[option(alias = "hostname", default = "localhost")]
    pub host: String,
    /// Its port.
    #[option(default = "5432")]
    pub port: u16,
    /// Database.
    #[option(alias = "dbname", alias = "database.name")]
    pub database: String,
    /// Role that writes.
    #[option(alias = "username")]
    pub user: String,
    /// Its password.
    pub password: Option<Secret>,
    /// Table that is written, also schema.table; names are folded to lower case unless in double quotes.
    #[option(alias = "table.name", alias = "table-name")]
    pub table: String,
    /// With exactly-once delivery: the table of the markers (laminardb_progress), made where it is missing.
    #[option(name = "progress.table")]
    pub progress: Option<String>,
    /// Encryption: only disable, which must be stated for a server on another machine.
    #[option(alias = "ssl.mode")]
    pub sslmode: Option<String>,
    /// How long connecting may take.
    #[option(name = "connect.timeout", default = "10 s")]
    pub connect_timeout: Duration,
    /// How long one statement may take, and then how long the server keeps the transaction of a process that is gone.
    #[option(name = "statement.timeout", default = "60 s")]
    pub statement_timeout: Duration,
}

impl PostgresSinkOptions {
    /// Reads and checks the options of a sink; both tables are then quoted names.
    ///
    /// # Errors
    /// An option is missing, wrong or refused.
    pub fn read(options: &Options, delivery: Delivery) -> Result<Self, ConnectorError> {
        let mut read = Self::from_options(options)?;
        read.check_encryption()?;
        read.table = table("table", &read.table)?;
        if delivery == Delivery::AtLeastOnce && read.progress.is_some() {
            let message = "option 'progress.table' belongs to delivery = 'exactly_once'; leave it out, or state that";
            return Err(Trouble::Option(message.into()).into());
        }
        let progress = table("progress.table", read.progress.as_deref().unwrap_or(PROGRESS_TABLE))?;
        if progress == read.table {
            return Err(Trouble::Option(format!("option 'progress.table': {progress} is the table of the rows")).into());
        }
        read.progress = Some(progress);
        for (name, given) in [("connect.timeout", read.connect_timeout), ("statement.timeout", read.statement_timeout)]
        {
            if given < LIMITS.0 || given > LIMITS.1 {
                return Err(Trouble::Option(format!("option '{name}' is {given:?}; it must be 100 ms to 1 h")).into());
            }
        }
        Ok(read)
    }

    /// The table of the markers, as SQL.
    pub fn progress(&self) -> &str {
        self.progress.as_deref().unwrap_or(PROGRESS_TABLE)
    }

    /// The server and database, for people.
    pub fn place(&self) -> String {
        format!("{}:{}/{}", self.host, self.port, self.database)
    }

    fn check_encryption(&self) -> Result<(), Trouble> {
        match self.sslmode.as_deref().map(str::trim) {
            Some(mode) if mode.eq_ignore_ascii_case("disable") => Ok(()),
            Some(mode) => Err(Trouble::Option(format!(
                "option 'sslmode' = '{mode}' is refused: this build has no TLS for PostgreSQL; use sslmode = 'disable' \
                 over a network that you trust"
            ))),
            None if self.is_local() => Ok(()),
            None => Err(Trouble::Option(format!(
                "host '{}' may be another machine, and this build has no TLS for PostgreSQL; state sslmode = 'disable' if \
                 you trust the network between",
                self.host
            ))),
        }
    }

    fn is_local(&self) -> bool {
        let host = self.host.trim();
        host.starts_with('/')
            || host.eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

fn table(option: &str, text: &str) -> Result<String, Trouble> {
    identifier::table(text).ok_or_else(|| {
        Trouble::Option(format!(
            "option '{option}': '{text}' is not the name of a table; write name or schema.name, with double quotes around \
             a part that is not letters, digits and underscores"
        ))
    })
}
