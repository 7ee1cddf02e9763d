//! Answers made from the catalog and the engine's status: SHOW, DESCRIBE, EXPLAIN, EXPLAIN WATERMARK.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use futures::StreamExt;
use laminar_core::data::EventTime;
use laminar_core::engine::status::{EngineStatus, ObjectState, SplitStatus, TimeState};
use laminar_core::ids::ObjectId;
use laminar_sql::catalog::Catalog;

use crate::ask::ask;
use crate::error::DbError;
use crate::response::Response;
use crate::session::Session;
use crate::status;

/// Rows that are there already.
pub fn rows(rows: RecordBatch) -> Response {
    let schema = rows.schema();
    Response::Rows { schema, batches: futures::stream::iter([Ok(rows)]).boxed(), tag: "SHOW", notices: Vec::new() }
}

/// SHOW PIPELINES: what the catalog knows, with state and bytes of the running ones.
pub async fn pipelines(session: &Session, known: RecordBatch) -> Result<Response, DbError> {
    let engine: EngineStatus = ask(|reply| session.inner.engine.status(reply)).await?;
    let names = known.column(0).clone();
    let names = arrow::array::AsArray::as_string::<i32>(&names);
    let (mut states, mut bytes) = (Vec::new(), Vec::new());
    for name in names.iter().flatten() {
        let object = engine.objects.iter().find(|o| o.name == name);
        states.push(object.map_or_else(|| "starting".to_owned(), |o| state_words(&o.state)));
        let id = object.map(|o| o.id);
        let held = engine.reactors.iter().flat_map(|r| &r.state).filter(|s| Some(s.pipeline) == id);
        bytes.push(held.map(|s| s.state_bytes).sum::<u64>().cast_signed());
    }
    let mut fields = known.schema().fields().to_vec();
    fields.push(Arc::new(Field::new("state", DataType::Utf8, false)));
    fields.push(Arc::new(Field::new("state_bytes", DataType::Int64, false)));
    let mut columns = known.columns().to_vec();
    columns.push(Arc::new(StringArray::from(states)));
    columns.push(Arc::new(Int64Array::from(bytes)));
    batch(fields, columns)
}

/// EXPLAIN WATERMARK: what holds time back, one row a split, the reason in words.
pub async fn watermark(
    session: &Session,
    object: ObjectId,
    sources: &[ObjectId],
    pipelines: &[ObjectId],
) -> Result<Response, DbError> {
    let engine: EngineStatus = ask(|reply| session.inner.engine.status(reply)).await?;
    let catalog = session.inner.catalog();
    let mut lines: Vec<[Option<String>; 4]> = Vec::new();
    for pipeline in pipelines {
        lines.push(pipeline_line(&catalog, &engine, *pipeline));
    }
    let holder = holder(&engine, sources);
    for source in sources {
        let splits = status::splits(&engine, *source);
        if splits.is_empty() {
            lines.push([Some(name(&catalog, *source)), None, None, Some(unread_reason(&engine, *source, object))]);
        }
        for split in splits {
            let holds = Some((split.object, &split.split)) == holder.as_ref().map(|(o, s)| (*o, s));
            let mut reason = split_reason(&split);
            if holds {
                reason = format!("holds time back: {reason}");
            }
            let watermark = split.watermark.map(time_text);
            lines.push([Some(name(&catalog, *source)), Some(split.split.clone()), watermark, Some(reason)]);
        }
    }
    let column = |i: usize| -> ArrayRef { Arc::new(lines.iter().map(|l| l[i].as_deref()).collect::<StringArray>()) };
    let fields = ["object", "split", "watermark", "reason"]
        .into_iter()
        .map(|n| Arc::new(Field::new(n, DataType::Utf8, true)))
        .collect();
    batch(fields, (0..4).map(column).collect())
}

fn pipeline_line(catalog: &Catalog, engine: &EngineStatus, pipeline: ObjectId) -> [Option<String>; 4] {
    let operators: Vec<_> =
        engine.reactors.iter().flat_map(|r| &r.operators).filter(|o| o.pipeline == pipeline).collect();
    let late: u64 = operators.iter().map(|o| o.metrics.rows_late_dropped).sum();
    let rows_in: u64 = operators.iter().map(|o| o.metrics.rows_in).max().unwrap_or(0);
    let watermark = operators.iter().filter_map(|o| o.watermark).min();
    let state = engine.objects.iter().find(|o| o.id == pipeline).map(|o| state_words(&o.state));
    let reason = match (&state, rows_in, late) {
        (Some(state), _, _) if state.starts_with("failed") => state.clone(),
        (_, 0, 0) => "no row has arrived since it was created; rows from before are not seen".to_owned(),
        (_, rows, 0) => format!("{rows} rows have arrived, none late"),
        (_, rows, late) if late >= rows => {
            format!(
                "all {rows} rows were late: their windows had closed; raise the delay of WATERMARK or ALLOW LATENESS"
            )
        }
        (_, rows, late) => format!("{rows} rows have arrived, {late} dropped as late"),
    };
    [Some(name(catalog, pipeline)), None, watermark.map(time_text), Some(reason)]
}

/// The split with the lowest watermark of those that count.
fn holder(engine: &EngineStatus, sources: &[ObjectId]) -> Option<(ObjectId, String)> {
    let counts =
        |s: &&SplitStatus| sources.contains(&s.object) && matches!(s.time, TimeState::NoRows | TimeState::Moving);
    let all = engine.reactors.iter().flat_map(|r| &r.splits).filter(counts);
    all.min_by_key(|s| s.watermark.unwrap_or(EventTime::MIN)).map(|s| (s.object, s.split.clone()))
}

fn split_reason(split: &SplitStatus) -> String {
    let mut reason = match split.time {
        TimeState::None => "the source declares no WATERMARK, so no window over it can close".to_owned(),
        TimeState::NoRows => {
            "no row has come from it yet: an empty split holds time until it is idle (IDLE AFTER)".to_owned()
        }
        TimeState::Moving => "its newest row minus the delay of WATERMARK; a later row moves it".to_owned(),
        TimeState::Idle => "silent and caught up: left out of the minimum".to_owned(),
        TimeState::Ended => "ended: all its windows are closed".to_owned(),
    };
    if let Some(trouble) = &split.trouble {
        reason = format!("{reason}; cannot be read: {trouble}");
    }
    for (count, what) in [
        (split.far_future, "rows were refused: their time lies too far in the future (max_future)"),
        (split.null_time, "rows were refused: their time is NULL"),
        (split.malformed, "records were malformed"),
        (split.constraint_failed, "rows broke NOT NULL or VARCHAR(n)"),
        (split.evaluation_failed, "rows failed in a computed column"),
    ] {
        if count > 0 {
            reason = format!("{reason}; {count} {what}");
        }
    }
    reason
}

fn unread_reason(engine: &EngineStatus, source: ObjectId, _object: ObjectId) -> String {
    match engine.objects.iter().find(|o| o.id == source).map(|o| &o.state) {
        Some(ObjectState::Waiting(why)) => format!("waits for the other system: {why}"),
        Some(ObjectState::Failed(why)) => format!("has failed: {why}"),
        Some(ObjectState::Starting) => "its connector is being opened".to_owned(),
        _ => "no split is open: no row has come since the query was created".to_owned(),
    }
}

fn state_words(state: &ObjectState) -> String {
    match state {
        ObjectState::Running => "running".to_owned(),
        ObjectState::Starting => "starting".to_owned(),
        ObjectState::Waiting(why) => format!("waiting: {why}"),
        ObjectState::Ended => "ended".to_owned(),
        ObjectState::Failed(why) => format!("failed: {why}"),
    }
}

fn time_text(time: EventTime) -> String {
    match time {
        EventTime::MIN => "-infinity".to_owned(),
        EventTime::MAX => "infinity".to_owned(),
        EventTime(micros) => {
            let array = arrow::array::TimestampMicrosecondArray::from(vec![micros]);
            arrow::util::display::array_value_to_string(&array, 0)
                .unwrap_or_else(|_| micros.to_string())
                .replace('T', " ")
        }
    }
}

fn name(catalog: &Catalog, id: ObjectId) -> String {
    catalog.by_id(id).map_or_else(|| id.to_string(), |e| e.name().to_owned())
}

fn batch(fields: Vec<Arc<Field>>, columns: Vec<ArrayRef>) -> Result<Response, DbError> {
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map(rows)
        .map_err(|e| DbError::new("LDB-4064", "XX000", format!("internal: a SHOW does not make a batch: {e}")))
}
