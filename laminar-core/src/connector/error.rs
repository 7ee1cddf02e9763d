//! What a connector reports when it cannot go on.

/// Whose fault it is; decides whether to retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A wrong option or object: retrying does not help, the user must act.
    User,
    /// The other system is away or overloaded: retry with back-off.
    External,
    /// Data that should be there is gone (offsets passed by retention): stop, never skip in silence.
    Lost,
    /// The target belongs to another process now, or holds more than we know of: stop, never send again.
    Fenced,
    /// A defect of ours.
    Internal,
}

/// A connector's failure.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ConnectorError {
    /// Stable code, `LDB-nnnn`.
    pub code: &'static str,
    /// Whose fault.
    pub fault: Fault,
    /// What is wrong and what to do, with the place.
    pub message: String,
}

impl ConnectorError {
    /// A wrong option, name or value.
    pub fn user(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, fault: Fault::User, message: message.into() }
    }

    /// The other system failed.
    pub fn external(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, fault: Fault::External, message: message.into() }
    }

    /// The target is not ours to write any more.
    pub fn fenced(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, fault: Fault::Fenced, message: message.into() }
    }

    /// The data asked for no longer exists.
    pub fn lost(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, fault: Fault::Lost, message: message.into() }
    }
}
