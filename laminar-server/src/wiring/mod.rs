//! Which connectors and formats this binary has: one row each.

use laminar_connector_blackhole::BlackholeFactory;
use laminar_connector_file::{FileSinkFactory, FileSourceFactory, Roots};
use laminar_connector_generator::GeneratorFactory;
use laminar_connector_kafka::{Bootstrap, KafkaSinkFactory, KafkaSourceFactory};
use laminar_connector_postgres::PostgresSinkFactory;
use laminar_core::connector::Registry;
use laminar_formats::{CsvDecoderFactory, CsvEncoderFactory, JsonDecoderFactory, JsonEncoderFactory};

use crate::config::Config;

/// Everything this binary can read from and write to.
pub fn registry(config: &Config) -> Registry {
    let bootstrap = if config.kafka.embedded { Bootstrap::or_embedded() } else { Bootstrap::real_only() };
    let roots = Roots::new(config.files.roots.iter().cloned());
    Registry::default()
        .source(FileSourceFactory::new(roots.clone()))
        .source(GeneratorFactory)
        .source(KafkaSourceFactory::new(bootstrap.clone()))
        .sink(BlackholeFactory::default())
        .sink(FileSinkFactory::new(roots))
        .sink(KafkaSinkFactory::new(bootstrap))
        .sink(PostgresSinkFactory)
        .decoder(CsvDecoderFactory)
        .decoder(JsonDecoderFactory)
        .encoder(CsvEncoderFactory)
        .encoder(JsonEncoderFactory)
}
