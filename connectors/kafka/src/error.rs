//! What can go wrong with Kafka, whose fault it is and what to do.
//!
//! Invariant: every failure of librdkafka that leaves this crate has passed [`Trouble::from_broker`]
//! or [`Trouble::from_delivery`], so that retrying is decided in one place.

use laminar_core::connector::{ConnectorError, Fault};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

/// A failure of the Kafka connector.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Trouble {
    /// An option is wrong.
    #[error("{0}")]
    Option(String),
    /// No broker answers.
    #[error(
        "kafka at {servers} cannot be reached ({reason}); check bootstrap.servers and that the broker runs; it is tried again"
    )]
    Unreachable {
        /// `bootstrap.servers`.
        servers: String,
        /// What librdkafka says.
        reason: String,
    },
    /// The topic is not there (yet).
    #[error("topic \"{topic}\" does not exist on kafka at {servers}; create it, it is looked for again")]
    NoTopic {
        /// The topic.
        topic: String,
        /// `bootstrap.servers`.
        servers: String,
    },
    /// Retention has passed the position, or the topic was made anew.
    #[error(
        "topic \"{topic}\", partition {partition}: offset {wanted} is the next to read and is gone; the broker has {low} to \
         {high}: retention passed it, or the topic was created anew. Nothing was skipped: the source has stopped; raise \
         the topic's retention, then drop the source with what reads it and create both anew, to start from what is left"
    )]
    Gone {
        /// The topic.
        topic: String,
        /// Its partition.
        partition: i32,
        /// The next offset to read.
        wanted: i64,
        /// Oldest offset of the broker.
        low: i64,
        /// Next offset of the broker.
        high: i64,
    },
    /// The broker forbids it.
    #[error("kafka refuses access to {what} ({reason}); grant the right to this client")]
    Denied {
        /// Topic or group.
        what: String,
        /// What librdkafka says.
        reason: String,
    },
    /// The broker refused a record for good.
    #[error("topic \"{topic}\" refuses a record ({reason}); fix the topic's limits or the query, then resume the sink")]
    Refused {
        /// The topic.
        topic: String,
        /// What librdkafka says.
        reason: String,
    },
    /// A transaction failed, or nobody knows whether it did.
    #[error(
        "the transaction on topic \"{topic}\" did not end well ({reason}); what the progress topic says decides what is sent \
         again, nothing is lost or doubled"
    )]
    NotCommitted {
        /// The topic.
        topic: String,
        /// What librdkafka says.
        reason: String,
    },
    /// Another sink's transaction hides what may be ours.
    #[error(
        "topic \"{topic}\" has an open transaction of another writer before its end, so the newest marker is not known; \
         it is looked at again; a progress.topic of its own keeps a sink apart from others"
    )]
    Undecided {
        /// The progress topic.
        topic: String,
    },
    /// Another process writes under our name.
    #[error(
        "another process writes as {name} ({reason}): a copy of this data directory runs elsewhere; this sink has \
         stopped for good; run one of them only, then drop the sink and create it anew"
    )]
    Fenced {
        /// The writer's name.
        name: String,
        /// What librdkafka says.
        reason: String,
    },
    /// A promise that this connector cannot keep.
    #[error("{0}")]
    Unsupported(String),
    /// librdkafka itself failed, or an answer of ours makes no sense.
    #[error("kafka client: {0}")]
    Client(String),
}

impl Trouble {
    /// The failure of a request to the brokers at `servers` about `what` (a topic or a split).
    pub fn from_broker(error: &KafkaError, servers: &str, what: &str) -> Self {
        let reason = error.to_string();
        match error.rdkafka_error_code() {
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
                Self::NoTopic { topic: what.to_string(), servers: servers.to_string() }
            }
            Some(
                Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed | Code::ClusterAuthorizationFailed,
            ) => Self::Denied { what: what.to_string(), reason },
            _ => Self::Unreachable { servers: servers.to_string(), reason },
        }
    }

    /// The failure of one record on its way to `topic`.
    pub fn from_delivery(error: &KafkaError, servers: &str, topic: &str) -> Self {
        match error.rdkafka_error_code() {
            Some(
                Code::MessageSizeTooLarge
                | Code::MessageBatchTooLarge
                | Code::InvalidTimestamp
                | Code::InvalidRecord
                | Code::PolicyViolation
                | Code::InvalidMessage,
            ) => Self::Refused { topic: topic.to_string(), reason: error.to_string() },
            _ => Self::from_broker(error, servers, topic),
        }
    }

    const fn code(&self) -> &'static str {
        match self {
            Self::Option(_) => "LDB-6101",
            Self::Unreachable { .. } => "LDB-6102",
            Self::NoTopic { .. } => "LDB-6103",
            Self::Gone { .. } => "LDB-6104",
            Self::Denied { .. } => "LDB-6105",
            Self::Refused { .. } => "LDB-6106",
            Self::Unsupported(_) => "LDB-6107",
            Self::Client(_) => "LDB-6108",
            Self::NotCommitted { .. } => "LDB-6109",
            Self::Undecided { .. } => "LDB-6110",
            Self::Fenced { .. } => "LDB-6111",
        }
    }

    const fn fault(&self) -> Fault {
        match self {
            Self::Option(_) | Self::Denied { .. } | Self::Refused { .. } | Self::Unsupported(_) => Fault::User,
            Self::Unreachable { .. } | Self::NoTopic { .. } | Self::NotCommitted { .. } | Self::Undecided { .. } => {
                Fault::External
            }
            Self::Fenced { .. } => Fault::Fenced,
            Self::Gone { .. } => Fault::Lost,
            Self::Client(_) => Fault::Internal,
        }
    }
}

impl From<Trouble> for ConnectorError {
    fn from(trouble: Trouble) -> Self {
        Self { code: trouble.code(), fault: trouble.fault(), message: trouble.to_string() }
    }
}
