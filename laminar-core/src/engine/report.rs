//! What a reactor reports of itself, and the small commands.

use super::core::Engine;
use super::feed::Feed;
use super::message::Event;
use super::split::Split;
use super::stage::Stage;
use super::status::{OperatorStatus, PipelineBytes, ReactorStatus, SplitStatus, StageStatus, TimeState};
use crate::data::EventTime;
use crate::ids::{ObjectId, ShardId};
use crate::lane::Mark;
use crate::reactor::Now;

impl Engine {
    /// Sends the reactor's status.
    pub(super) fn report_status(&mut self, id: u64, now: Now) {
        let mut splits: Vec<SplitStatus> = self.splits.iter().map(|split| self.split_status(split, now)).collect();
        for push in &self.pushes {
            if let Some(feed) = push.feed() {
                splits.push(self.feed_status(feed, "0".into(), now, false));
            }
        }
        let status = ReactorStatus {
            reactor: self.me,
            turns: self.turns,
            turns_over: self.turns_over,
            stall_in: self.stall_in.clone(),
            images: self.store.as_ref().map(super::store::Store::image_bytes).unwrap_or_default(),
            splits,
            operators: self.operator_status(),
            state: self.state_bytes(),
            stages: self
                .stages
                .iter()
                .map(|stage| {
                    let (rows, unacknowledged, unacknowledged_bytes) = stage.counts();
                    StageStatus { sink: stage.sink(), rows, unacknowledged, unacknowledged_bytes }
                })
                .collect(),
            rows_unread: self.rows_unread,
        };
        self.tell(Event::Status { id, status: Box::new(status) });
    }

    fn feed_status(&self, feed: &Feed, split: String, now: Now, ended: bool) -> SplitStatus {
        let (time, watermark) = match (&feed.watermark, feed.current(now, ended)) {
            (None, _) => (TimeState::None, None),
            (Some(_), Mark::At(EventTime::MAX)) => (TimeState::Ended, Some(EventTime::MAX)),
            (Some(w), Mark::Idle) => (TimeState::Idle, Some(w.current())),
            (Some(_), Mark::At(EventTime::MIN)) => (TimeState::NoRows, None),
            (Some(_), Mark::At(at)) => (TimeState::Moving, Some(at)),
        };
        SplitStatus {
            object: feed.object,
            split,
            reactor: self.me,
            rows: feed.counts.rows,
            malformed: 0,
            malformed_last: None,
            evaluation_failed: 0,
            constraint_failed: 0,
            null_time: feed.counts.null_time,
            far_future: feed.counts.far_future,
            watermark,
            time,
            lag: None,
            last_rows: feed.last_rows,
            trouble: None,
        }
    }

    fn split_status(&self, split: &Split, now: Now) -> SplitStatus {
        let left_out = split.rows.left_out();
        SplitStatus {
            malformed: left_out.malformed,
            malformed_last: left_out.malformed_last.clone(),
            evaluation_failed: left_out.evaluation,
            constraint_failed: left_out.constraint,
            lag: split.lag(),
            trouble: split.trouble.as_ref().map(|error| error.message.clone()),
            ..self.feed_status(&split.feed, split.key.0.clone(), now, split.ended)
        }
    }

    fn state_bytes(&self) -> Vec<PipelineBytes> {
        let mut all: Vec<PipelineBytes> = Vec::new();
        for fragment in self.fragments.iter().flatten() {
            let (pipeline, state_bytes, spilled_bytes) =
                (fragment.pipeline, fragment.state_bytes(), fragment.spilled_bytes());
            match all.last_mut().filter(|last| last.pipeline == pipeline) {
                Some(last) => {
                    last.state_bytes += state_bytes;
                    last.spilled_bytes += spilled_bytes;
                }
                None => all.push(PipelineBytes { pipeline, state_bytes, spilled_bytes }),
            }
        }
        all
    }

    fn operator_status(&self) -> Vec<OperatorStatus> {
        let mut all = Vec::new();
        for fragment in self.fragments.iter().flatten() {
            for (vertex, shape) in fragment.shape.vertices.iter().enumerate() {
                let Some(operator) = shape.operator else { continue };
                let mut metrics = crate::operator::OperatorMetrics::default();
                for chain in &fragment.chains {
                    metrics.merge(&chain.counts(vertex));
                }
                let mark = Mark::over(fragment.chains.iter().map(|chain| chain.input_mark(vertex)));
                let watermark = match mark {
                    Mark::At(at) if at > EventTime::MIN => Some(at),
                    Mark::At(_) | Mark::Idle => None,
                };
                all.push(OperatorStatus { pipeline: fragment.pipeline, operator, metrics, watermark });
            }
        }
        all
    }

    /// Tells which stages have become full or have drained, whether a checkpoint should come early, and at the
    /// end that nothing is left.
    pub(super) fn tell_pressure(&mut self) {
        let mut events = Vec::new();
        for stage in &mut self.stages {
            if let Some(full) = stage.pressure() {
                events.push(Event::Pressed { sink: stage.sink(), reactor: self.me, full });
            }
            if stage.asks_for_checkpoint() {
                events.push(Event::WantsCheckpoint);
            }
        }
        let left = |stage: &Stage, sinks: &[ObjectId]| sinks.contains(&stage.sink()) && !stage.is_drained();
        if self.drain.take_if(|sinks| !self.stages.iter().any(|stage| left(stage, sinks))).is_some() {
            let outboxes = self.store.as_ref().map(|store| store.outboxes.marks()).unwrap_or_default();
            events.push(Event::Drained { reactor: self.me, outboxes });
        }
        events.into_iter().for_each(|event| self.tell(event));
    }

    /// Frames of a sink are safe at the target.
    pub(super) fn acknowledged(&mut self, sink: ObjectId, shard: ShardId, sequence: u64) {
        for stage in self.stages.iter_mut().filter(|stage| stage.sink() == sink) {
            stage.acknowledged(shard, sequence);
        }
        if let Some(store) = self.store.as_mut() {
            store.acknowledged(sink, shard, sequence);
        }
    }
}
