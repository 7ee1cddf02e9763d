//! Which connectors and formats this binary has: one row each.

use laminar_connector_kafka::{Bootstrap, KafkaSinkFactory, KafkaSourceFactory};
use laminar_core::connector::Registry;
use laminar_formats::{JsonDecoderFactory, JsonEncoderFactory};

use crate::config::Config;

/// Everything this binary can read from and write to.
pub fn registry(config: &Config) -> Registry {
    let bootstrap = if config.kafka.embedded { Bootstrap::or_embedded() } else { Bootstrap::real_only() };
    Registry::default()
        .source(KafkaSourceFactory::new(bootstrap.clone()))
        .sink(KafkaSinkFactory::new(bootstrap))
        .decoder(JsonDecoderFactory)
        .encoder(JsonEncoderFactory)
}
