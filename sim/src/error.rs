//! What can go wrong in a simulated world.

use laminar_core::engine::EngineError;
use laminar_sql::SqlError;

/// A refusal of the planner or of the engine.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The SQL layer refused the text.
    #[error("{0}")]
    Sql(#[from] SqlError),
    /// The engine refused or failed.
    #[error("{0}")]
    Engine(#[from] EngineError),
    /// The engine has ended by itself.
    #[error("the engine has ended: {0}")]
    Ended(String),
    /// No answer comes.
    #[error("no answer within virtual minutes")]
    Stuck,
    /// The call does not fit the world.
    #[error("{0}")]
    Misuse(String),
}
