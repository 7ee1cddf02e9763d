//! The model broker's source: one split a partition, its position is the offset of the next record.

use std::sync::Arc;

use laminar_core::connector::options::{OptionSpec, Options};
use laminar_core::connector::{
    Budget, ConnectorError, Ingest, Polled, Position, RawRecord, Source, SourceFactory, SplitKey, SplitReader,
    StartFrom, Wake,
};
use laminar_core::graph::SourceSpec;

use super::{Broker, CONNECTOR, OPTIONS, defect};

/// Makes sources over one broker.
pub struct BrokerSourceFactory(pub Broker);

impl SourceFactory for BrokerSourceFactory {
    fn name(&self) -> &'static str {
        CONNECTOR
    }

    fn options(&self) -> &'static [OptionSpec] {
        &OPTIONS
    }

    fn bounded(&self, _: &Options) -> Result<bool, ConnectorError> {
        Ok(true)
    }

    fn create(&self, spec: &SourceSpec) -> Result<Box<dyn Source>, ConnectorError> {
        let topic = spec.options.get("topic").cloned().unwrap_or_default();
        Ok(Box::new(Topic { broker: self.0.clone(), topic }))
    }
}

struct Topic {
    broker: Broker,
    topic: String,
}

impl Source for Topic {
    fn splits(&mut self) -> Result<Vec<SplitKey>, ConnectorError> {
        let state = self.broker.lock();
        state.reachable()?;
        let partitions = state.topics.get(&self.topic).map_or(0, Vec::len);
        Ok((0..partitions).map(|partition| SplitKey(format!("{}/{partition}", self.topic))).collect())
    }

    fn open(
        &mut self,
        split: &SplitKey,
        from: StartFrom,
        wake: Arc<dyn Wake>,
    ) -> Result<Box<dyn SplitReader>, ConnectorError> {
        let mut state = self.broker.lock();
        state.reachable()?;
        let wrong = || defect(format!("no place in {split:?}"));
        let partition: usize = split.0.rsplit('/').next().and_then(|n| n.parse().ok()).ok_or_else(wrong)?;
        let at = match from {
            StartFrom::Option | StartFrom::Beginning => 0,
            StartFrom::Position(position) => position.offset().ok_or_else(wrong)? as usize,
        };
        let place = state.topics.get_mut(&self.topic).and_then(|topic| topic.get_mut(partition)).ok_or_else(wrong)?;
        place.wakes.push(wake);
        Ok(Box::new(Reader { broker: self.broker.clone(), topic: self.topic.clone(), partition, at }))
    }
}

struct Reader {
    broker: Broker,
    topic: String,
    partition: usize,
    at: usize,
}

impl SplitReader for Reader {
    fn poll(&mut self, budget: Budget, into: &mut dyn Ingest) -> Result<Polled, ConnectorError> {
        let mut state = self.broker.lock();
        state.reachable()?;
        let whole = state.random.bool();
        let some = state.random.usize(1..=budget.records.max(1));
        let partition = &state.topics[&self.topic][self.partition];
        let count = if whole { budget.records } else { some.min(4) };
        let end = partition.records.len().min(self.at + count);
        for (offset, stored) in partition.records[..end].iter().enumerate().skip(self.at) {
            let record = &stored.record;
            into.record(RawRecord {
                payload: record.value.as_deref().unwrap_or_default(),
                key: record.key.as_deref(),
                offset: offset as u64,
                timestamp_ms: record.timestamp_ms,
            });
        }
        if end > self.at {
            self.at = end;
            return Ok(Polled::Ready);
        }
        Ok(if partition.ended { Polled::End } else { Polled::Pending { caught_up: true } })
    }

    fn position(&self) -> Position {
        Position::from_offset(self.at as u64)
    }
}
