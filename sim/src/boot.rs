//! How a life of a world begins: options, connectors, and the catalog that the disk holds.

use std::sync::{Arc, Mutex, PoisonError};

use laminar_core::connector::Registry;
use laminar_core::engine::{Driver, EngineError, EngineOptions, RecoveredCatalog};
use laminar_formats::{JsonDecoderFactory, JsonEncoderFactory};
use laminar_sql::catalog::{Catalog, CatalogRecord};
use laminar_sql::expression::DataFusionCompiler;
use laminar_storage::disk::SimMachine;

use crate::broker::{Broker, BrokerSinkFactory, BrokerSourceFactory};
use crate::error::SimError;
use crate::world::WorldOptions;

/// What the engine said when it ended by itself.
pub type Ended = Arc<Mutex<Option<String>>>;

/// Connectors over the model broker, and the formats.
pub fn registry(broker: &Broker) -> Registry {
    Registry::default()
        .source(BrokerSourceFactory(broker.clone()))
        .sink(BrokerSinkFactory(broker.clone()))
        .decoder(JsonDecoderFactory)
        .encoder(JsonEncoderFactory)
}

/// The engine's options; its end by itself is noted.
pub fn engine_options(options: &WorldOptions, ended: &Ended) -> EngineOptions {
    let ended = ended.clone();
    let note = move |error: &EngineError| {
        ended.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.to_string());
    };
    EngineOptions {
        reactors: options.reactors,
        shards: Some(options.shards),
        batch_rows: options.batch_rows,
        checkpoint_interval: options.checkpoint_interval,
        outbox_bytes: options.outbox_bytes,
        on_fatal: Some(Arc::new(note)),
        ..EngineOptions::default()
    }
}

/// An engine on what a machine's disk holds.
pub fn start(
    options: &WorldOptions,
    seed: u64,
    machine: &SimMachine,
    broker: &Broker,
    ended: &Ended,
) -> Result<(Driver, RecoveredCatalog), EngineError> {
    let compiler = Arc::new(DataFusionCompiler::default());
    Driver::on_disk(engine_options(options, ended), registry(broker), compiler, seed, machine)
}

/// The catalog that was found there.
pub fn recovered(found: &RecoveredCatalog) -> Result<Catalog, SimError> {
    let read = |bytes: &Vec<u8>| {
        let text = std::str::from_utf8(bytes).map_err(|e| SimError::Misuse(e.to_string()))?;
        Ok(CatalogRecord::from_json(text)?)
    };
    let records = found.records.iter().map(read).collect::<Result<Vec<_>, SimError>>()?;
    Ok(Catalog::from_records(records)?.with_next_id(found.next_id))
}
