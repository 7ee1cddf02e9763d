//! Status of the whole engine, gathered from all reactors.

use super::core::Control;
use super::query::StatusFlight;
use crate::engine::message::Command;
use crate::engine::status::{CheckpointStatus, EngineStatus, KeptStatus, ObjectStatus, ReactorStatus};
use crate::engine::{Reply, epoch_of, states_of};
use crate::reactor::Now;
use laminar_storage::manifest::Checkpoint;

impl Control {
    /// Asks all reactors.
    pub(super) fn status(&mut self, reply: Reply<EngineStatus>) {
        let id = self.number();
        self.statuses.insert(id, StatusFlight { reply, parts: Vec::new() });
        self.broadcast(|| Command::Status(id));
    }

    /// One reactor has answered.
    pub(super) fn status_part(&mut self, id: u64, part: ReactorStatus, now: Now) {
        let reactors = self.reactors.len();
        let Some(flight) = self.statuses.get_mut(&id) else { return };
        flight.parts.push(part);
        if flight.parts.len() < reactors {
            return;
        }
        let Some(mut flight) = self.statuses.remove(&id) else { return };
        // They answer in any order; what counts per reactor must not change places.
        flight.parts.sort_by_key(|part| part.reactor);
        flight.reply.send(Ok(EngineStatus {
            epoch: self.coordinator.completed(),
            epoch_cost_us: self.coordinator.last_cost(),
            epoch_stuck: self.stuck,
            checkpoint: self.checkpoint_status(now),
            shards: self.shards.shards(),
            reactors: flight.parts,
            objects: self
                .catalog
                .entries
                .iter()
                .map(|(id, entry)| ObjectStatus {
                    id: *id,
                    name: entry.spec.name().to_owned(),
                    kind: entry.kind(),
                    state: entry.state.clone(),
                    reads: entry.reads(),
                    memory: self.memory_status(*id),
                })
                .collect(),
        }));
    }

    fn checkpoint_status(&self, now: Now) -> CheckpointStatus {
        let newest = self.newest_checkpoint;
        let kept = self.store.as_ref().map(|store| store.publisher.retention().kept()).unwrap_or_default();
        CheckpointStatus {
            kept: kept.iter().map(kept_status).collect(),
            newest: newest.map_or(0, |(number, _)| number.0),
            age_us: newest.map(|(_, at)| now.micros.saturating_sub(at)),
        }
    }
}

fn kept_status(kept: &Checkpoint) -> KeptStatus {
    KeptStatus {
        number: kept.number.0,
        epoch: epoch_of(kept).unwrap_or_default(),
        objects: states_of(kept).count() as u64,
        staged_bytes: kept.staged_bytes(),
    }
}
