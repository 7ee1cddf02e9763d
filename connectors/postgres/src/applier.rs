//! Brings frames to a table: in transactions of their own, or in one with the checkpoint's marker.
//!
//! Invariants: a frame is acknowledged after the COMMIT that holds it; after any failure the
//! connection is given up, and with exactly-once delivery the next life reads from the progress row
//! what the server has taken.

use std::sync::Arc;
use std::time::Duration;

use laminar_core::connector::{Applier, ConnectorError, Frame, FrameRecord, Readiness, SinkIdentity};
use laminar_core::graph::Delivery;
use laminar_core::ids::{CheckpointNumber, ShardId};

use crate::error::{Place, Trouble};
use crate::options::PostgresSinkOptions;
use crate::progress::{Progress, Taken};
use crate::rows::{Changes, parts};
use crate::session::Session;
use crate::target::{Statements, Target};

/// Bytes of records that may wait for their transaction.
const WAITING_BYTES: usize = 8 << 20;

/// One life.
struct Running {
    session: Session,
    statements: Statements,
    /// With exactly-once delivery.
    progress: Option<Progress>,
}

/// Writes to one table.
pub struct PostgresApplier {
    options: PostgresSinkOptions,
    target: Target,
    name: String,
    delivery: Delivery,
    running: Option<Running>,
    /// At least once: frames without a transaction yet, and their bytes.
    waiting: Vec<Arc<Frame>>,
    bytes: usize,
}

impl PostgresApplier {
    /// An applier that is not started.
    pub fn new(options: PostgresSinkOptions, target: Target, delivery: Delivery, identity: SinkIdentity) -> Self {
        let name = identity.to_string();
        Self { options, target, name, delivery, running: None, waiting: Vec::new(), bytes: 0 }
    }

    fn begin(&mut self, known: CheckpointNumber) -> Result<Option<CheckpointNumber>, Trouble> {
        self.running = None;
        (self.waiting, self.bytes) = (Vec::new(), 0);
        let table = self.options.table.clone();
        let place = Place { server: self.options.place(), table, keyed: !self.target.key.is_empty() };
        let session = Session::open(&self.options, place, &self.name)?;
        let statements = self.target.prepare(&session, self.delivery)?;
        let (progress, marker) = match self.delivery {
            Delivery::AtLeastOnce => (None, None),
            Delivery::ExactlyOnce => match Progress::take_over(&session, &self.name, self.options.progress(), known)? {
                Taken::Over(progress, marker) => (Some(progress), marker),
                Taken::Not(ahead) => return Ok(Some(ahead)),
            },
        };
        self.running = Some(Running { session, statements, progress });
        Ok(marker)
    }

    /// One transaction. The connection survives it only when everything went well.
    fn transact<'a>(
        &mut self,
        checkpoint: Option<CheckpointNumber>,
        records: impl Iterator<Item = &'a FrameRecord>,
    ) -> Result<(), Trouble> {
        let Some(running) = self.running.take() else {
            return Err(Trouble::Client("the sink is used before its start".into()));
        };
        let changes = if self.target.key.is_empty() { Changes::appended(records)? } else { Changes::by_key(records)? };
        running.transact(checkpoint, &changes)?;
        self.running = Some(running);
        Ok(())
    }
}

impl Running {
    fn transact(&self, checkpoint: Option<CheckpointNumber>, changes: &Changes<'_>) -> Result<(), Trouble> {
        let Self { session, statements, progress } = self;
        session.begin()?;
        match (progress, checkpoint) {
            (Some(progress), Some(checkpoint)) => progress.mark(session, checkpoint)?,
            (None, None) => {}
            _ => {
                return Err(Trouble::Client(
                    "a checkpoint belongs to exactly-once delivery, and to nothing else".into(),
                ));
            }
        }
        let removed = statements.remove.as_ref().map(|remove| (remove, &changes.removed));
        for (statement, texts) in removed.into_iter().chain([(&statements.write, &changes.written)]) {
            for part in parts(texts) {
                session.run(async |client| client.execute(statement, &[&part]).await)?;
            }
        }
        session.commit()
    }
}

impl Applier for PostgresApplier {
    fn start(&mut self, known: CheckpointNumber) -> Result<Option<CheckpointNumber>, ConnectorError> {
        Ok(self.begin(known)?)
    }

    fn send(&mut self, frame: &Arc<Frame>) -> Result<Readiness, ConnectorError> {
        if self.delivery == Delivery::ExactlyOnce {
            return Err(Trouble::Client("rows of this sink go with their checkpoint only".into()).into());
        }
        if self.bytes >= WAITING_BYTES {
            return Ok(Readiness::Busy);
        }
        let length = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
        self.bytes += frame.records.iter().map(|record| length(&record.key) + length(&record.value)).sum::<usize>();
        self.waiting.push(frame.clone());
        Ok(Readiness::Accepted)
    }

    fn acknowledged(&mut self, _: Duration, into: &mut Vec<(ShardId, u64)>) -> Result<(), ConnectorError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let frames = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        self.transact(None, frames.iter().flat_map(|frame| &frame.records))?;
        into.extend(frames.iter().map(|frame| (frame.shard, frame.sequence)));
        Ok(())
    }

    fn commit(&mut self, checkpoint: CheckpointNumber, frames: &[Arc<Frame>]) -> Result<(), ConnectorError> {
        Ok(self.transact(Some(checkpoint), frames.iter().flat_map(|frame| &frame.records))?)
    }
}
