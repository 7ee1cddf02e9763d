//! Answers made from the catalog and the engine's status: SHOW, DESCRIBE, EXPLAIN.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema};
use futures::StreamExt;
use laminar_core::engine::status::{EngineStatus, KeptStatus, ObjectState, ObjectStatus};
use laminar_sql::plan::{checkpoints_schema, objects_schema, pipelines_schema};

use crate::ask::ask;
use crate::error::DbError;
use crate::response::Response;
use crate::session::Session;

/// Rows that are there already.
pub fn rows(rows: RecordBatch) -> Response {
    let schema = rows.schema();
    Response::Rows { schema, batches: futures::stream::iter([Ok(rows)]).boxed(), tag: "SHOW", notices: Vec::new() }
}

/// SHOW SOURCES and its like: what the catalog knows, with the state of each.
pub async fn objects(session: &Session, known: RecordBatch) -> Result<Response, DbError> {
    let engine: EngineStatus = ask(|reply| session.inner.engine.status(reply)).await?;
    let states: StringArray = named(&engine, &known).map(|object| Some(state(object))).collect();
    let mut columns = known.columns().to_vec();
    columns.push(Arc::new(states));
    batch(objects_schema(&known).fields().to_vec(), columns)
}

/// The engine's status of each row's object; none = the engine does not know it yet.
fn named<'a>(engine: &'a EngineStatus, known: &'a RecordBatch) -> impl Iterator<Item = Option<&'a ObjectStatus>> {
    let names = known.column(0).as_string::<i32>().iter().flatten();
    names.map(|name| engine.objects.iter().find(|object| object.name == name))
}

fn state(object: Option<&ObjectStatus>) -> String {
    object.map_or_else(|| "starting".to_owned(), |object| state_words(&object.state))
}

/// SHOW PIPELINES: what the catalog knows, with state and bytes of the running ones.
pub async fn pipelines(session: &Session, known: RecordBatch) -> Result<Response, DbError> {
    let engine: EngineStatus = ask(|reply| session.inner.engine.status(reply)).await?;
    let (mut states, mut bytes, mut limits) = (Vec::new(), Vec::new(), Vec::new());
    for object in named(&engine, &known) {
        states.push(state(object));
        let id = object.map(|o| o.id);
        let held = engine.reactors.iter().flat_map(|r| &r.state).filter(|s| Some(s.pipeline) == id);
        bytes.push(held.map(|s| s.state_bytes).sum::<u64>().cast_signed());
        limits.push(object.and_then(|o| o.memory).map(|memory| memory.limit.cast_signed()));
    }
    let fields = pipelines_schema(&known).fields().to_vec();
    let mut columns = known.columns().to_vec();
    columns.push(Arc::new(StringArray::from(states)));
    columns.push(Arc::new(Int64Array::from(bytes)));
    columns.push(Arc::new(Int64Array::from(limits)));
    batch(fields, columns)
}

/// SHOW CHECKPOINTS: those that are kept, oldest first.
pub async fn checkpoints(session: &Session) -> Result<Response, DbError> {
    let engine: EngineStatus = ask(|reply| session.inner.engine.status(reply)).await?;
    let kept = &engine.checkpoint.kept;
    let numbers = |of: fn(&KeptStatus) -> u64| -> ArrayRef {
        Arc::new(kept.iter().map(|checkpoint| of(checkpoint).cast_signed()).collect::<Int64Array>())
    };
    let epochs: StringArray = kept.iter().map(|checkpoint| Some(checkpoint.epoch.to_string())).collect();
    let newest: BooleanArray = (1..=kept.len()).map(|nth| Some(nth == kept.len())).collect();
    let columns: Vec<ArrayRef> = vec![
        numbers(|c| c.number),
        Arc::new(epochs),
        Arc::new(newest),
        numbers(|c| c.objects),
        numbers(|c| c.staged_bytes),
    ];
    batch(checkpoints_schema().fields().to_vec(), columns)
}

fn state_words(state: &ObjectState) -> String {
    match state {
        ObjectState::Running => "running".to_owned(),
        ObjectState::Starting => "starting".to_owned(),
        ObjectState::Waiting(why) => format!("waiting: {why}"),
        ObjectState::Paused => "paused".to_owned(),
        ObjectState::Stopped(why) => format!("stopped: {why}"),
        ObjectState::Ended => "ended".to_owned(),
        ObjectState::Failed(why) => format!("failed: {why}"),
    }
}

fn batch(fields: Vec<Arc<Field>>, columns: Vec<ArrayRef>) -> Result<Response, DbError> {
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map(rows)
        .map_err(|e| DbError::new("LDB-4064", "XX000", format!("internal: a SHOW does not make a batch: {e}")))
}
