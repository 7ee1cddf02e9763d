//! Claims about the options.

use laminar_connector_kit::resolve;

use crate::options::{SOURCE, SinkOptions, SourceOptions, Start};

fn source(more: &[(&str, &str)]) -> Result<SourceOptions, String> {
    let mut given = std::collections::BTreeMap::new();
    for (key, value) in [("topic", "trades"), ("bootstrap.servers", "localhost:1")].iter().chain(more) {
        given.insert((*key).to_string(), (*value).to_string());
    }
    // As at CREATE: the format's options are resolved together with ours.
    let resolved = resolve("source \"src\"", &[&SOURCE], &given).map_err(|error| error.to_string())?;
    SourceOptions::read("src", &resolved).map_err(|error| error.to_string())
}

#[test]
fn an_unknown_option_is_refused_with_the_nearest_name() {
    let message = source(&[("group.di", "x")]).unwrap_err();
    assert!(message.contains("'group.di'") && message.contains("did you mean 'group.id'?"), "{message}");
}

#[test]
fn librdkafka_settings_that_are_not_allowed_are_refused_with_the_reason() {
    for (key, part) in [
        ("properties.plugin.library.paths", "loads code"),
        ("sasl.password", "no TLS and no SASL"),
        ("properties.ssl.ca.location", "no TLS and no SASL"),
        ("enable.auto.commit", "checkpoints"),
        ("properties.session.timeout.ms", "never by a consumer group"),
    ] {
        let message = source(&[(key, "hunter2")]).unwrap_err();
        assert!(message.contains(part), "{key}: {message}");
        assert!(!message.contains("hunter2"), "a value may be a secret: {message}");
    }
}

#[test]
fn flink_spellings_of_options_are_read() {
    let read = source(&[
        ("scan.startup.mode", "timestamp"),
        ("scan.startup.timestamp-millis", "1700000000000"),
        ("properties.group.id", "mine"),
        ("properties.fetch.min.bytes", "10"),
    ])
    .unwrap();
    assert_eq!(read.start, Start::Timestamp(1_700_000_000_000));
    assert_eq!(read.config.get("group.id"), Some("mine"));
    assert_eq!(read.config.get("fetch.min.bytes"), Some("10"));
    assert!(source(&[("scan.startup.mode", "group-offsets")]).is_err());
}

#[test]
fn an_option_given_under_two_names_is_refused() {
    let message = source(&[("start", "latest"), ("auto.offset.reset", "earliest")]).unwrap_err();
    assert!(message.contains("given twice"), "{message}");
}

#[test]
fn the_offset_reset_policy_is_always_an_error_never_a_jump() {
    let read = source(&[("auto.offset.reset", "latest")]).unwrap();
    assert_eq!((read.start, read.config.get("auto.offset.reset")), (Start::Latest, Some("error")));
}

#[test]
fn every_declared_setting_is_known_to_librdkafka() {
    for (specs, own) in [(crate::properties::CONSUMER, "consumer"), (crate::properties::PRODUCER, "producer")] {
        for spec in specs.iter().chain(crate::properties::COMMON) {
            let mut config = rdkafka::ClientConfig::new();
            config.set(spec.name, "surely not a value of this setting, and too long");
            let known = match config.create_native_config() {
                Ok(_) => true,
                Err(error) => !error.to_string().contains("No such configuration property"),
            };
            assert!(known, "{own} setting {} is unknown", spec.name);
        }
    }
}

#[test]
fn a_sink_writes_idempotently_and_takes_no_acks() {
    let mut options = std::collections::BTreeMap::from([
        ("topic".to_string(), "out".to_string()),
        ("brokers".to_string(), "localhost:1".to_string()),
    ]);
    assert_eq!(SinkOptions::read("s", &options).unwrap().config.get("enable.idempotence"), Some("true"));
    options.insert("acks".into(), "0".into());
    assert!(SinkOptions::read("s", &options).is_err());
}
