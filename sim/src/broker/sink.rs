//! The model broker's sink, at least once and exactly once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use laminar_core::connector::options::OptionSpec;
use laminar_core::connector::{Applier, ConnectorError, Frame, FrameRecord, Readiness, SinkFactory, SinkIdentity};
use laminar_core::graph::{Delivery, SinkSpec};
use laminar_core::ids::{CheckpointNumber, ShardId};

use super::{Broker, CONNECTOR, OPTIONS};

/// Frames on the way at most.
const ON_THE_WAY: usize = 8;

/// Makes sinks over one broker.
pub struct BrokerSinkFactory(pub Broker);

impl SinkFactory for BrokerSinkFactory {
    fn name(&self) -> &'static str {
        CONNECTOR
    }

    fn options(&self) -> &'static [OptionSpec] {
        &OPTIONS
    }

    fn create(&self, spec: &SinkSpec, identity: SinkIdentity) -> Result<Box<dyn Applier>, ConnectorError> {
        let topic = spec.options.get("topic").cloned().unwrap_or_default();
        Ok(Box::new(Writer {
            broker: self.0.clone(),
            topic,
            name: identity.to_string(),
            exact: spec.delivery == Delivery::ExactlyOnce,
            epoch: 0,
            on_the_way: VecDeque::new(),
        }))
    }
}

struct Writer {
    broker: Broker,
    topic: String,
    name: String,
    exact: bool,
    epoch: u32,
    on_the_way: VecDeque<Arc<Frame>>,
}

impl Applier for Writer {
    fn start(&mut self, _: CheckpointNumber) -> Result<Option<CheckpointNumber>, ConnectorError> {
        if !self.exact {
            self.broker.lock().reachable()?;
            return Ok(None);
        }
        self.epoch = self.broker.init(&self.name)?;
        self.broker.marker(&self.name)
    }

    fn send(&mut self, frame: &Arc<Frame>) -> Result<Readiness, ConnectorError> {
        if self.on_the_way.len() >= ON_THE_WAY {
            return Ok(Readiness::Busy);
        }
        self.on_the_way.push_back(frame.clone());
        Ok(Readiness::Accepted)
    }

    fn acknowledged(&mut self, _: Duration, into: &mut Vec<(ShardId, u64)>) -> Result<(), ConnectorError> {
        let count = self.broker.lock().random.usize(1..=ON_THE_WAY);
        for _ in 0..count {
            let Some(frame) = self.on_the_way.pop_front() else { break };
            self.broker.append(&self.topic, &frame.records)?;
            into.push((frame.shard, frame.sequence));
        }
        Ok(())
    }

    fn commit(&mut self, checkpoint: CheckpointNumber, frames: &[Arc<Frame>]) -> Result<(), ConnectorError> {
        let records: Vec<FrameRecord> = frames.iter().flat_map(|frame| frame.records.iter().cloned()).collect();
        self.broker.transact((&self.name, self.epoch), &self.topic, &records, checkpoint)
    }
}
