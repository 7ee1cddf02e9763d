//! What the engine reports to whoever asked for something.

use crate::connector::ConnectorError;
use crate::ids::ObjectId;
use crate::operator::OperatorError;
use laminar_storage::disk::DiskError;

/// An error of the engine. Each variant has a stable code.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine is stopping or has stopped.
    #[error("LDB-3001: the engine is stopping; connect again when the server has restarted")]
    Stopped,
    /// An object id that is not deployed.
    #[error("LDB-3002: object {0} does not exist; it was dropped or never created")]
    NoSuchObject(ObjectId),
    /// An object id that is deployed already.
    #[error("LDB-3003: object {0} exists already")]
    Exists(ObjectId),
    /// A deployment that cannot run.
    #[error("LDB-3004: {name}: {reason}")]
    Refused {
        /// The object.
        name: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// DROP of an object that others read.
    #[error("LDB-3005: object {object} is read by {readers}; drop those first, or use CASCADE")]
    InUse {
        /// The object.
        object: String,
        /// Who reads it.
        readers: String,
    },
    /// A connector refused.
    #[error("{}: {}", .0.code, .0.message)]
    Connector(ConnectorError),
    /// An operator stopped.
    #[error("{}: {}", .0.code, .0.message)]
    Operator(OperatorError),
    /// The object cannot do what was asked.
    #[error("LDB-3006: {name} {reason}")]
    Unsupported {
        /// The object.
        name: String,
        /// What is not possible and what to do.
        reason: String,
    },
    /// A row with this primary key exists.
    #[error(
        "LDB-3007: duplicate key value violates the primary key of {table}: {key} exists already; use ON CONFLICT to replace the row"
    )]
    DuplicateKey {
        /// The table.
        table: String,
        /// The key, as text.
        key: String,
    },
    /// A pushed row that the object cannot take.
    #[error("LDB-3008: row {row} of the INSERT into {object}: {reason}")]
    BadRow {
        /// The object.
        object: String,
        /// Index of the row.
        row: usize,
        /// What is wrong.
        reason: String,
    },
    /// The pipeline has failed and serves nothing until it is resumed or created anew.
    #[error("LDB-3009: {name} has failed: {reason}")]
    Failed {
        /// The object.
        name: String,
        /// Why.
        reason: String,
    },
    /// The disk failed.
    #[error("LDB-3010: {0}")]
    Disk(DiskError),
    /// Durable storage failed or does not verify.
    #[error("{0}")]
    Storage(String),
    /// The engine could not start.
    #[error("LDB-3011: the engine cannot start: {0}")]
    Start(String),
    /// The engine runs without a data directory.
    #[error("LDB-3012: {0} needs a data directory; start with data_dir")]
    NotDurable(&'static str),
    /// A request was given up because its limit was reached.
    #[error("LDB-3013: {what} reached its limit of {limit}; {hint}")]
    Limit {
        /// What.
        what: &'static str,
        /// The limit.
        limit: u64,
        /// What to do.
        hint: &'static str,
    },
    /// The volume of the data directory is full.
    #[error(
        "LDB-3014: no space left on the volume of the data directory, nothing of the statement was written; free space and send it again, the server goes on by itself"
    )]
    NoSpace,
    /// Rows that would feed a sink or a query which holds as much as it may.
    #[error(
        "LDB-3015: the INSERT into {object} has waited {seconds} s, because its rows would feed {by}; nothing was written: send it again when that has changed (SHOW PIPELINES tells)"
    )]
    Choked {
        /// The object.
        object: String,
        /// How long.
        seconds: u64,
        /// What is full.
        by: String,
    },
    /// A query holds as much state as it may.
    #[error("LDB-3018: {name} has reached its memory limit: {held} bytes of state, memory_limit is {limit}; {next}")]
    MemoryLimit {
        /// The query.
        name: String,
        /// Bytes that it holds.
        held: u64,
        /// Bytes that it may hold.
        limit: u64,
        /// What has become of it, and what to do.
        next: String,
    },
    /// So many rows wait for full sinks already that no more may.
    #[error(
        "LDB-3019: the INSERT into {object} was not taken: its rows would feed {by}, {waiting} bytes of earlier INSERTs wait already, and {limit} may on a reactor; nothing was written: send it again when that has changed (SHOW PIPELINES tells)"
    )]
    Crowded {
        /// The object.
        object: String,
        /// Bytes that wait.
        waiting: u64,
        /// Bytes that may.
        limit: u64,
        /// What is full.
        by: String,
    },
    /// An idempotency key that came before with other rows.
    #[error(
        "LDB-3016: this idempotency key was used for another request into {object}, whose body was different; nothing was written: repeat a request with exactly its body, and give new rows a new key"
    )]
    KeyReused {
        /// The object.
        object: String,
    },
    /// State in the data directory that this build would read as something else.
    #[error(
        "LDB-3017: the state of {name} in the data directory is not what its plan keeps in this build: {difference}; nothing was changed: start the build that wrote it and drop {name} there, then create it anew with this one, which begins with empty state"
    )]
    OtherState {
        /// The object.
        name: String,
        /// What differs.
        difference: String,
    },
    /// An object of the data directory that this configuration or build cannot run.
    #[error(
        "LDB-3020: {name} cannot go on as the data directory has it: {reason}; nothing was changed: start with a configuration and a build in which it runs, and drop it there if it is not wanted any more"
    )]
    CannotGoOn {
        /// The object.
        name: String,
        /// Why.
        reason: String,
    },
    /// A defect of the engine.
    #[error("LDB-3999: internal: {0}")]
    Internal(String),
}

impl EngineError {
    /// The stable code.
    pub fn code(&self) -> &str {
        match self {
            Self::Stopped => "LDB-3001",
            Self::NoSuchObject(_) => "LDB-3002",
            Self::Exists(_) => "LDB-3003",
            Self::Refused { .. } => "LDB-3004",
            Self::InUse { .. } => "LDB-3005",
            Self::Connector(error) => error.code,
            Self::Operator(error) => error.code,
            Self::Unsupported { .. } => "LDB-3006",
            Self::DuplicateKey { .. } => "LDB-3007",
            Self::BadRow { .. } => "LDB-3008",
            Self::Failed { .. } => "LDB-3009",
            Self::Disk(_) => "LDB-3010",
            Self::Storage(text) => text.get(..8).unwrap_or("LDB-1014"),
            Self::Start(_) => "LDB-3011",
            Self::NotDurable(_) => "LDB-3012",
            Self::Limit { .. } => "LDB-3013",
            Self::NoSpace => "LDB-3014",
            Self::Choked { .. } => "LDB-3015",
            Self::MemoryLimit { .. } => "LDB-3018",
            Self::Crowded { .. } => "LDB-3019",
            Self::KeyReused { .. } => "LDB-3016",
            Self::OtherState { .. } => "LDB-3017",
            Self::CannotGoOn { .. } => "LDB-3020",
            Self::Internal(_) => "LDB-3999",
        }
    }

    /// The SQLSTATE that fits.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Stopped => "57P01",
            Self::NoSuchObject(_) => "42P01",
            Self::Exists(_) => "42P07",
            Self::Refused { .. } | Self::Unsupported { .. } | Self::NotDurable(_) => "0A000",
            Self::InUse { .. } => "2BP01",
            Self::Connector(_) => "58000",
            Self::Operator(_) | Self::Failed { .. } => "55000",
            Self::DuplicateKey { .. } => "23505",
            Self::BadRow { .. } => "22000",
            Self::Disk(_) => "58030",
            Self::Storage(_) => match self.code() {
                "LDB-1002" => "53100",
                "LDB-1005" => "54000",
                "LDB-1006" => "53000",
                _ => "58030",
            },
            Self::OtherState { .. } | Self::CannotGoOn { .. } => "XX001",
            Self::Start(_) | Self::Internal(_) => "XX000",
            Self::Limit { .. } => "54000",
            Self::NoSpace => "53100",
            Self::Choked { .. } | Self::Crowded { .. } | Self::MemoryLimit { .. } => "53400",
            Self::KeyReused { .. } => "22023",
        }
    }
}

impl From<ConnectorError> for EngineError {
    fn from(error: ConnectorError) -> Self {
        Self::Connector(error)
    }
}

impl From<OperatorError> for EngineError {
    fn from(error: OperatorError) -> Self {
        Self::Operator(error)
    }
}

impl From<DiskError> for EngineError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

/// What a panic said.
pub(crate) fn panic_words(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "no message".to_owned())
}
