//! How the database is, as plain data for HTTP, metrics and SQL.

use laminar_core::data::EventTime;
use laminar_core::engine::status::{
    CheckpointStatus, EngineStatus, ImageBytes, ObjectKind, ObjectState, ObjectStatus, OperatorStatus, SplitStatus,
    StageStatus,
};
use laminar_core::graph::{ObjectSpec, PipelineSpec};
use laminar_core::ids::ObjectId;
use laminar_sql::catalog::{Catalog, CatalogEntry};
use serde::Serialize;

use crate::ask::ask;
use crate::database::Inner;
use crate::error::DbError;
use crate::statement::StatementStatus;
use crate::subscription::SubscriptionStatus;

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The newest complete epoch, as shown to users.
    pub epoch: u64,
    /// Shards of the data directory.
    pub shards: u16,
    /// Checkpoints.
    pub checkpoint: CheckpointStatus,
    /// Reactors.
    pub reactors: Vec<Reactor>,
    /// Streams and views.
    pub pipelines: Vec<Pipeline>,
    /// Sources.
    pub sources: Vec<Source>,
    /// Sinks.
    pub sinks: Vec<Sink>,
    /// Rows pushed into sources that nobody reads.
    pub rows_unread: u64,
    /// Statements that run.
    pub statements: StatementStatus,
    /// Subscriptions.
    pub subscriptions: SubscriptionStatus,
}

/// One reactor.
#[derive(Clone, Debug, Serialize)]
pub struct Reactor {
    /// Turns taken.
    pub turns: u64,
    /// Turns longer than 1, 2, 5, 10, 20, 50 and 100 ms.
    pub turns_over: Vec<u64>,
    /// Turns longer than 5 ms.
    pub stalls: u64,
    /// What the newest of them was doing.
    pub stall_in: Option<String>,
    /// Bytes of state that checkpoints have written, and of them in blocks that had changed.
    pub images: ImageBytes,
}

/// A stream or view.
#[derive(Clone, Debug, Serialize)]
pub struct Pipeline {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// `stream` or `view`.
    pub kind: &'static str,
    /// Whether it works.
    pub state: ObjectState,
    /// Its statement, and what ALTER has changed since.
    pub sql: String,
    /// Names of the objects it reads.
    pub reads: Vec<String>,
    /// Bytes of its state in all shards.
    pub state_bytes: u64,
    /// Those of them that lie in spill files and do not count against its limit.
    pub spilled_bytes: u64,
    /// Bytes that it may hold in memory.
    pub memory_limit: u64,
    /// What happens when it holds as much: `fail`, `backpressure` or `spill`.
    pub memory_policy: &'static str,
    /// Since when what feeds it waits because of that, in microseconds since 1970.
    pub memory_full_since: Option<EventTime>,
    /// Its operators in topological order, with their counters.
    pub graph: Vec<Node>,
}

/// One operator of a pipeline.
#[derive(Clone, Debug, Serialize)]
pub struct Node {
    /// What it does.
    pub operator: String,
    /// Indices of the nodes it reads.
    pub inputs: Vec<usize>,
    /// Its counters, over all shards; none before it runs.
    pub status: Option<OperatorStatus>,
}

/// A source.
#[derive(Clone, Debug, Serialize)]
pub struct Source {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its connector; none = clients push into it.
    pub connector: Option<String>,
    /// Whether it works.
    pub state: ObjectState,
    /// Its splits.
    pub splits: Vec<SplitStatus>,
}

/// A sink.
#[derive(Clone, Debug, Serialize)]
pub struct Sink {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its connector.
    pub connector: String,
    /// What it writes.
    pub from: String,
    /// Whether it works.
    pub state: ObjectState,
    /// What is staged, per reactor.
    pub stages: Vec<StageStatus>,
}

/// Reads the engine's status and joins it with the catalog.
pub(crate) async fn read(inner: &Inner) -> Result<Status, DbError> {
    let engine: EngineStatus = ask(|reply| inner.engine.status(reply)).await?;
    Ok(join(&inner.catalog(), &engine, inner.statements.status(), inner.subscriptions.status()))
}

fn join(
    catalog: &Catalog,
    engine: &EngineStatus,
    statements: StatementStatus,
    subscriptions: SubscriptionStatus,
) -> Status {
    let mut status = Status {
        epoch: engine.epoch.as_u64(),
        shards: engine.shards,
        checkpoint: engine.checkpoint.clone(),
        reactors: engine
            .reactors
            .iter()
            .map(|r| Reactor {
                turns: r.turns,
                turns_over: r.turns_over.to_vec(),
                stalls: r.stalls(),
                stall_in: r.stall_in.clone(),
                images: r.images,
            })
            .collect(),
        pipelines: Vec::new(),
        sources: Vec::new(),
        sinks: Vec::new(),
        rows_unread: engine.reactors.iter().map(|r| r.rows_unread).sum(),
        statements,
        subscriptions,
    };
    for object in &engine.objects {
        let Some(entry) = catalog.by_id(object.id) else { continue };
        match &entry.spec {
            ObjectSpec::Pipeline(spec) => status.pipelines.push(pipeline(catalog, engine, object, entry, spec)),
            ObjectSpec::Source(spec) => status.sources.push(Source {
                id: object.id.0,
                name: object.name.clone(),
                connector: spec.connector.clone(),
                state: object.state.clone(),
                splits: splits(engine, object.id),
            }),
            ObjectSpec::Sink(spec) => status.sinks.push(Sink {
                id: object.id.0,
                name: object.name.clone(),
                connector: spec.connector.clone(),
                from: name(catalog, spec.from),
                state: object.state.clone(),
                stages: engine
                    .reactors
                    .iter()
                    .flat_map(|r| &r.stages)
                    .filter(|s| s.sink == object.id)
                    .cloned()
                    .collect(),
            }),
            ObjectSpec::Table(_) => {}
        }
    }
    status
}

fn pipeline(
    catalog: &Catalog,
    engine: &EngineStatus,
    object: &ObjectStatus,
    entry: &CatalogEntry,
    spec: &PipelineSpec,
) -> Pipeline {
    let running: Vec<&OperatorStatus> =
        engine.reactors.iter().flat_map(|r| &r.operators).filter(|o| o.pipeline == object.id).collect();
    let graph = spec.nodes.iter().map(|node| Node {
        operator: laminar_sql::explain::operator_text(&node.operator),
        inputs: node.inputs.clone(),
        status: merged(running.iter().filter(|o| o.operator == node.id).copied()),
    });
    let state = || engine.reactors.iter().flat_map(|r| &r.state).filter(|s| s.pipeline == object.id);
    Pipeline {
        id: object.id.0,
        name: object.name.clone(),
        kind: if object.kind == ObjectKind::View { "view" } else { "stream" },
        state: object.state.clone(),
        sql: entry.definition(),
        reads: object.reads.iter().map(|id| name(catalog, *id)).collect(),
        state_bytes: state().map(|s| s.state_bytes).sum(),
        spilled_bytes: state().map(|s| s.spilled_bytes).sum(),
        memory_limit: object.memory.map_or(0, |memory| memory.limit),
        memory_policy: spec.memory.policy.words(),
        memory_full_since: object.memory.and_then(|memory| memory.full_since),
        graph: graph.collect(),
    }
}

/// The same operator on several reactors as one: counters added, the lowest watermark.
fn merged<'a>(mut parts: impl Iterator<Item = &'a OperatorStatus>) -> Option<OperatorStatus> {
    let mut whole = parts.next()?.clone();
    for part in parts {
        whole.metrics.merge(&part.metrics);
        whole.watermark = match (whole.watermark, part.watermark) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    Some(whole)
}

/// All splits of a source.
pub(crate) fn splits(engine: &EngineStatus, source: ObjectId) -> Vec<SplitStatus> {
    engine.reactors.iter().flat_map(|r| &r.splits).filter(|s| s.object == source).cloned().collect()
}

fn name(catalog: &Catalog, id: ObjectId) -> String {
    catalog.by_id(id).map_or_else(|| id.to_string(), |e| e.name().to_owned())
}
