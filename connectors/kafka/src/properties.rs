//! The librdkafka settings that users may give: an allow-list.
//!
//! Invariant: a key that is not here never reaches librdkafka, some of whose settings load code or
//! run commands; keys that carry our promises (assignment, offsets, idempotence) are not here.

use laminar_core::connector::options::{OptionKind, OptionSpec};

use crate::error::Trouble;

/// One setting, under its own name and with Flink's and RisingWave's prefix.
macro_rules! settings {
    ($name:ident: $($key:literal $kind:ident $doc:literal;)*) => {
        /// Declared options that are passed on to librdkafka under their own names.
        pub const $name: &[OptionSpec] = &[$(OptionSpec {
            name: $key,
            aliases: &[concat!("properties.", $key)],
            kind: OptionKind::$kind,
            default: None,
            required: false,
            secret: false,
            doc: $doc,
        }),*];
    };
}

settings! { COMMON:
    "client.id" Text "Name of this client in the broker's logs and quotas.";
    "client.rack" Text "Rack of this client, for fetching from the nearest replica.";
    "broker.address.family" Text "Address family of the brokers: any, v4 or v6.";
    "socket.timeout.ms" Integer "Milliseconds that a request may take.";
    "socket.keepalive.enable" Bool "TCP keep-alive on broker connections.";
    "socket.nagle.disable" Bool "TCP_NODELAY on broker connections.";
    "reconnect.backoff.ms" Integer "Milliseconds before the first attempt to connect anew.";
    "reconnect.backoff.max.ms" Integer "Milliseconds between attempts to connect anew at most.";
    "topic.metadata.refresh.interval.ms" Integer "Milliseconds between refreshes of topic metadata.";
    "message.max.bytes" Integer "Size of a request to the broker at most.";
    "receive.message.max.bytes" Integer "Size of an answer of the broker at most.";
}

settings! { CONSUMER:
    "isolation.level" Text "read_committed (default) or read_uncommitted.";
    "fetch.min.bytes" Integer "Bytes that a fetch waits for.";
    "fetch.wait.max.ms" Integer "Milliseconds that a fetch waits for fetch.min.bytes.";
    "fetch.max.bytes" Integer "Bytes of one fetch at most.";
    "fetch.message.max.bytes" Integer "Bytes of one partition in a fetch at most.";
    "max.partition.fetch.bytes" Integer "Bytes of one partition in a fetch at most.";
    "queued.min.messages" Integer "Records fetched ahead for each partition.";
    "queued.max.messages.kbytes" Integer "Kibibytes fetched ahead for each partition at most.";
    "check.crcs" Bool "Check the checksum of each record batch.";
}

settings! { PRODUCER:
    "linger.ms" Number "Milliseconds that a record waits for others to be sent with.";
    "batch.size" Integer "Bytes of one batch of records at most.";
    "batch.num.messages" Integer "Records in one batch at most.";
    "compression.type" Text "none, gzip, snappy or lz4.";
    "compression.codec" Text "none, gzip, snappy or lz4.";
    "compression.level" Integer "Level of the compression; -1 is the codec's own.";
    "partitioner" Text "How a key chooses its partition; murmur2_random (default) agrees with Java's clients.";
    "message.timeout.ms" Integer "Milliseconds until an unacknowledged record is an error and is sent anew.";
    "delivery.timeout.ms" Integer "Milliseconds until an unacknowledged record is an error and is sent anew.";
    "request.timeout.ms" Integer "Milliseconds that the broker may take to acknowledge a request.";
    "retry.backoff.ms" Integer "Milliseconds between attempts to send a request again.";
    "transaction.timeout.ms" Integer "Milliseconds after which the broker aborts an open transaction (exactly_once).";
    "queue.buffering.max.messages" Integer "Records waiting for the broker at most.";
    "queue.buffering.max.kbytes" Integer "Kibibytes waiting for the broker at most.";
}

/// Known keys that are refused with their reason, so that they are not merely "unknown".
pub const RESERVED: &[OptionSpec] = &[
    reserved("security.protocol", &["properties.security.protocol"]),
    reserved("ssl.*", &[]),
    reserved("properties.ssl.*", &[]),
    reserved("sasl.*", &[]),
    reserved("properties.sasl.*", &[]),
    reserved("enable.auto.commit", &["properties.enable.auto.commit"]),
    reserved("enable.auto.offset.store", &["properties.enable.auto.offset.store"]),
    reserved("auto.commit.interval.ms", &["properties.auto.commit.interval.ms"]),
    reserved("partition.assignment.strategy", &["properties.partition.assignment.strategy"]),
    reserved("group.protocol", &["properties.group.protocol"]),
    reserved("group.instance.id", &["properties.group.instance.id"]),
    reserved("session.timeout.ms", &["properties.session.timeout.ms"]),
    reserved("heartbeat.interval.ms", &["properties.heartbeat.interval.ms"]),
    reserved("max.poll.interval.ms", &["properties.max.poll.interval.ms"]),
    reserved("enable.idempotence", &["properties.enable.idempotence"]),
    reserved("acks", &["properties.acks", "request.required.acks"]),
    reserved("retries", &["properties.retries"]),
    reserved("max.in.flight.requests.per.connection", &["properties.max.in.flight.requests.per.connection"]),
    reserved("transactional.id", &["properties.transactional.id"]),
    reserved("plugin.library.paths", &["properties.plugin.library.paths"]),
];

const fn reserved(name: &'static str, aliases: &'static [&'static str]) -> OptionSpec {
    OptionSpec {
        name,
        aliases,
        kind: OptionKind::Text,
        default: None,
        required: false,
        // Some hold passwords.
        secret: true,
        doc: "Not taken; the refusal says why.",
    }
}

/// Refuses what this build cannot do or what is ours to decide, each with its reason.
///
/// # Errors
/// The key is one of those.
pub fn refuse_reserved(key: &str, value: &str) -> Result<(), Trouble> {
    let key = key.strip_prefix("properties.").unwrap_or(key);
    let why = match key {
        "security.protocol" if value.eq_ignore_ascii_case("plaintext") => return Ok(()),
        _ if key.starts_with("ssl.") || key.starts_with("sasl.") || key == "security.protocol" => {
            "this build has no TLS and no SASL for Kafka: connect with security.protocol = 'plaintext' over a network \
             that you trust"
        }
        "enable.auto.commit" | "enable.auto.offset.store" | "auto.commit.interval.ms" => {
            "offsets are kept in checkpoints and told to the broker after each; leave the option out"
        }
        "partition.assignment.strategy"
        | "group.protocol"
        | "group.instance.id"
        | "session.timeout.ms"
        | "heartbeat.interval.ms"
        | "max.poll.interval.ms" => {
            "partitions are assigned by LaminarDB, never by a consumer group; leave the option out"
        }
        "enable.idempotence"
        | "acks"
        | "request.required.acks"
        | "retries"
        | "max.in.flight"
        | "max.in.flight.requests.per.connection" => {
            "the sink always writes idempotently with acks = all and unlimited retries; leave the option out"
        }
        "transactional.id" => "transactions come with delivery = 'exactly_once', not as an option",
        "plugin.library.paths" => "it loads code into the server",
        _ => return Ok(()),
    };
    Err(Trouble::Option(format!("option '{key}' is refused: {why}")))
}
