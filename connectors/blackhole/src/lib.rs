//! The blackhole: a sink that counts and drops, for measuring everything before it.
//!
//! Invariant: what it accepts it acknowledges at once; the count covers what arrived, duplicates included.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use laminar_connector_kit::ConnectorError;
use laminar_core::connector::{Applier, Frame, Readiness, SinkFactory, SinkIdentity};
use laminar_core::graph::{Delivery, SinkSpec};
use laminar_core::ids::{CheckpointNumber, ShardId};

/// Records that went into blackholes of one factory.
#[derive(Clone, Debug, Default)]
pub struct Count(Arc<AtomicU64>);

impl Count {
    /// Records so far.
    pub fn records(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Makes blackholes, which share one count.
#[derive(Clone, Debug, Default)]
pub struct BlackholeFactory {
    count: Count,
}

impl BlackholeFactory {
    /// The count of all its blackholes.
    pub fn count(&self) -> Count {
        self.count.clone()
    }
}

impl SinkFactory for BlackholeFactory {
    fn name(&self) -> &'static str {
        "blackhole"
    }

    fn encoded(&self) -> bool {
        false
    }

    fn check(&self, spec: &SinkSpec) -> Result<(), ConnectorError> {
        match spec.delivery {
            Delivery::AtLeastOnce => Ok(()),
            Delivery::ExactlyOnce => {
                let message = format!(
                    "sink \"{}\": a blackhole keeps no marker, so delivery 'exactly_once' means nothing there; use 'at_least_once'",
                    spec.name
                );
                Err(ConnectorError::user("LDB-6501", message))
            }
        }
    }

    fn create(&self, spec: &SinkSpec, _: SinkIdentity) -> Result<Box<dyn Applier>, ConnectorError> {
        self.check(spec)?;
        Ok(Box::new(Blackhole { count: self.count.clone(), passed: Vec::new() }))
    }
}

/// One blackhole.
struct Blackhole {
    count: Count,
    passed: Vec<(ShardId, u64)>,
}

impl Applier for Blackhole {
    fn start(&mut self, _: CheckpointNumber) -> Result<Option<CheckpointNumber>, ConnectorError> {
        Ok(None)
    }

    fn send(&mut self, frame: &Arc<Frame>) -> Result<Readiness, ConnectorError> {
        self.count.0.fetch_add(frame.records.len() as u64, Ordering::Relaxed);
        self.passed.push((frame.shard, frame.sequence));
        Ok(Readiness::Accepted)
    }

    fn acknowledged(&mut self, _wait: Duration, into: &mut Vec<(ShardId, u64)>) -> Result<(), ConnectorError> {
        into.append(&mut self.passed);
        Ok(())
    }

    fn commit(&mut self, _: CheckpointNumber, _: &[Arc<Frame>]) -> Result<(), ConnectorError> {
        let message = "a blackhole has no exactly-once delivery; use 'at_least_once'";
        Err(ConnectorError::user("LDB-6501", message))
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Schema;
    use laminar_connector_kit::contract;
    use laminar_core::data::{ChangeMode, StreamSchema};
    use laminar_core::graph::Envelope;
    use laminar_core::ids::ObjectId;

    use super::*;

    fn spec(delivery: Delivery) -> SinkSpec {
        SinkSpec {
            id: ObjectId(2),
            name: "hole".to_string(),
            from: ObjectId(1),
            connector: "blackhole".to_string(),
            format: Some("json".to_string()),
            options: Default::default(),
            delivery,
            envelope: Envelope::Plain,
            key: None,
            schema: StreamSchema {
                columns: Arc::new(Schema::empty()),
                mode: ChangeMode::Append,
                key: None,
                time: Vec::new(),
            },
        }
    }

    #[test]
    fn contract_holds_and_every_arrival_is_counted() {
        let factory = BlackholeFactory::default();
        contract::sink(
            &mut || factory.create(&spec(Delivery::AtLeastOnce), SinkIdentity::default()).unwrap(),
            &mut || None,
        );
        assert_eq!(factory.count().records(), 22 * 5, "20 frames of 5 records, two of them twice");
    }

    #[test]
    fn exactly_once_is_refused() {
        let error = BlackholeFactory::default().check(&spec(Delivery::ExactlyOnce)).unwrap_err();
        assert_eq!(error.code, "LDB-6501");
        assert!(error.message.contains("at_least_once"), "{error}");
    }
}
