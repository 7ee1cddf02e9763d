//! EXPLAIN WATERMARK: why is there no output? One row for each pipeline and each split that an object
//! reads, with the cause in words and what to do about it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use laminar_core::data::EventTime;
use laminar_core::engine::status::{EngineStatus, ObjectState, OperatorStatus, SplitStatus, TimeState};
use laminar_core::graph::{ObjectSpec, SourceSpec};
use laminar_core::ids::{ObjectId, OperatorId};
use laminar_sql::catalog::Catalog;
use laminar_sql::plan::watermark_schema;

use super::show;
use crate::ask::ask;
use crate::error::DbError;
use crate::response::Response;
use crate::session::Session;
use crate::status;

/// Object, split, watermark, reason.
type Line = [Option<String>; 4];

/// What the lines are made from.
struct Picture {
    catalog: Catalog,
    engine: EngineStatus,
    sources: Vec<ObjectId>,
    now: EventTime,
}

/// Explains the time of what an object reads.
pub async fn explain(session: &Session, sources: &[ObjectId], pipelines: &[ObjectId]) -> Result<Response, DbError> {
    let engine: EngineStatus = ask(|reply| session.inner.engine.status(reply)).await?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = EventTime(i64::try_from(now.as_micros()).unwrap_or(i64::MAX));
    let picture = Picture { catalog: session.inner.catalog(), engine, sources: sources.to_vec(), now };
    let mut lines: Vec<Line> = pipelines.iter().map(|pipeline| picture.pipeline(*pipeline)).collect();
    lines.extend(sources.iter().flat_map(|source| picture.source(*source)));
    let column = |i: usize| -> ArrayRef { Arc::new(lines.iter().map(|l| l[i].as_deref()).collect::<StringArray>()) };
    RecordBatch::try_new(watermark_schema(), (0..4).map(column).collect())
        .map(show::rows)
        .map_err(|e| DbError::new("LDB-4064", "XX000", format!("internal: EXPLAIN WATERMARK makes no batch: {e}")))
}

impl Picture {
    fn splits(&self) -> impl Iterator<Item = &SplitStatus> {
        self.engine.reactors.iter().flat_map(|r| &r.splits).filter(|s| self.sources.contains(&s.object))
    }

    fn name(&self, id: ObjectId) -> String {
        self.catalog.by_id(id).map_or_else(|| id.to_string(), |e| e.name().to_owned())
    }

    fn full_since(&self, pipeline: ObjectId) -> Option<EventTime> {
        self.engine.objects.iter().find(|o| o.id == pipeline)?.memory?.full_since
    }

    fn pipeline(&self, pipeline: ObjectId) -> Line {
        let operators: Vec<&OperatorStatus> =
            self.engine.reactors.iter().flat_map(|r| &r.operators).filter(|o| o.pipeline == pipeline).collect();
        let state = self.engine.objects.iter().find(|o| o.id == pipeline).map(|o| &o.state);
        let reason = match state {
            Some(ObjectState::Failed(why)) => format!("failed: {why}"),
            Some(ObjectState::Stopped(why)) => format!("stopped: {why}"),
            Some(ObjectState::Waiting(why)) => match self.full_since(pipeline) {
                Some(since) => format!("waits since {}: {why}", time_text(since)),
                None => format!("waits: {why}"),
            },
            Some(ObjectState::Paused) => format!("is paused; RESUME {} lets it go on", self.name(pipeline)),
            _ => self.rows_reason(&operators),
        };
        let watermark = operators.iter().filter_map(|o| o.watermark).min();
        [Some(self.name(pipeline)), None, watermark.map(time_text), Some(reason)]
    }

    /// What became of the rows of a pipeline.
    fn rows_reason(&self, operators: &[&OperatorStatus]) -> String {
        let sum = |of: fn(&OperatorStatus) -> u64| operators.iter().map(|o| of(o)).sum::<u64>();
        let late = sum(|o| o.metrics.rows_late_dropped);
        let filtered = sum(|o| o.metrics.rows_filtered);
        let mut taken: BTreeMap<OperatorId, u64> = BTreeMap::new();
        for operator in operators {
            *taken.entry(operator.operator).or_default() += operator.metrics.rows_in;
        }
        let rows = taken.values().copied().max().unwrap_or(0);
        if rows == 0 {
            return if self.splits().any(|s| s.rows > 0) {
                "no row has arrived since it was created or the server started, and rows from before are not seen: a source keeps nothing; \
                 send rows again, or create the view before the rows"
                    .to_owned()
            } else {
                "no row has arrived since it was created or the server started".to_owned()
            };
        }
        if late >= rows {
            return format!(
                "all {rows} rows were late: the watermark had passed the ends of their windows when they came; raise \
                 the delay in WATERMARK FOR, or add ALLOW LATENESS; if one row with a far too high time moved the \
                 watermark, lower max_future"
            );
        }
        if filtered >= rows {
            return format!("all {rows} rows were left out by WHERE");
        }
        match late {
            0 => format!("{rows} rows have arrived, none late"),
            late => format!("{rows} rows have arrived, {late} dropped as late"),
        }
    }

    fn source(&self, source: ObjectId) -> Vec<Line> {
        let splits = status::splits(&self.engine, source);
        if splits.is_empty() {
            return vec![[Some(self.name(source)), None, None, Some(self.closed(source))]];
        }
        let holder = self.holder();
        let line = |split: SplitStatus| {
            let mut reason = self.split_reason(&split);
            if holder.is_some_and(|h| (h.object, &h.split) == (split.object, &split.split)) {
                reason = format!("holds time back: {reason}");
            }
            [Some(self.name(source)), Some(split.split), split.watermark.map(time_text), Some(reason)]
        };
        splits.into_iter().map(line).collect()
    }

    /// The split with the lowest watermark of those that count.
    fn holder(&self) -> Option<&SplitStatus> {
        let counts = |s: &&SplitStatus| matches!(s.time, TimeState::NoRows | TimeState::Moving);
        self.splits().filter(counts).min_by_key(|s| s.watermark.unwrap_or(EventTime::MIN))
    }

    fn split_reason(&self, split: &SplitStatus) -> String {
        let spec = match self.catalog.by_id(split.object).map(|e| &e.spec) {
            Some(ObjectSpec::Source(spec)) => Some(spec),
            _ => None,
        };
        let mut reason = match (&split.time, spec) {
            (TimeState::None, None) => "a table has no event time: its rows are never late".to_owned(),
            (TimeState::None, Some(_)) => {
                "the source declares no WATERMARK, so no window over it can close; declare WATERMARK FOR its time column"
                    .to_owned()
            }
            (TimeState::NoRows, _) => format!(
                "no row has come from it yet; it is left out once it has been silent for {} (IDLE AFTER in WATERMARK FOR)",
                idle_after(spec)
            ),
            (TimeState::Moving, _) => format!(
                "its newest time minus the delay of WATERMARK FOR{}; only a row with a newer time moves it",
                self.silence(split)
            ),
            (TimeState::Idle, _) => self.idle_reason(split, spec),
            (TimeState::Ended, _) => "ended: all its windows are closed".to_owned(),
        };
        if let Some(trouble) = &split.trouble {
            reason = format!("{reason}; cannot be read: {trouble}");
        }
        let max_future = "their times lie too far ahead of the clock; correct the sender's clock, or raise max_future";
        for (count, what) in [
            (split.far_future, max_future),
            (split.null_time, "their time is NULL"),
            (split.malformed, "they do not decode (malformed)"),
            (split.constraint_failed, "they break NOT NULL or VARCHAR(n)"),
            (split.evaluation_failed, "a computed column fails on them"),
        ] {
            if count > 0 {
                reason = format!("{reason}; {count} rows were left out: {what}");
            }
        }
        if let Some(last) = &split.malformed_last {
            reason = format!("{reason}; the newest malformed one: {last}");
        }
        reason
    }

    fn idle_reason(&self, split: &SplitStatus, spec: Option<&SourceSpec>) -> String {
        let reason = match split.rows {
            0 => "no row has ever come from it".to_owned(),
            _ => format!("silent{}", self.silence(split)),
        };
        let alive = self.splits().any(|s| matches!(s.time, TimeState::NoRows | TimeState::Moving | TimeState::Ended));
        if alive {
            return format!("{reason}: left out, it does not hold time back");
        }
        let by_hand = match spec {
            Some(source) if source.connector.is_none() => format!(", or ADVANCE WATERMARK FOR {} TO …", source.name),
            _ => String::new(),
        };
        format!(
            "{reason}, as all others: time stands still and windows stay open; send a row with a newer time{by_hand}"
        )
    }

    /// `, the newest row came 12 s ago`
    fn silence(&self, split: &SplitStatus) -> String {
        let Some(last) = split.last_rows else { return String::new() };
        let ago = u64::try_from(self.now.0.saturating_sub(last.0)).unwrap_or(0);
        format!(", the newest row came {} ago", words(Duration::from_micros(ago)))
    }

    /// A source without an open split.
    fn closed(&self, source: ObjectId) -> String {
        match self.engine.objects.iter().find(|o| o.id == source).map(|o| &o.state) {
            Some(ObjectState::Waiting(why)) => format!("waits for the other system: {why}"),
            Some(ObjectState::Failed(why)) => format!("has failed: {why}"),
            Some(ObjectState::Starting) => "its connector is being opened".to_owned(),
            Some(ObjectState::Ended) => "ended: all its windows are closed".to_owned(),
            Some(ObjectState::Running | ObjectState::Paused | ObjectState::Stopped(_)) | None => {
                "no split is open: a source is read only while a stream, view or sink depends on it".to_owned()
            }
        }
    }
}

fn idle_after(spec: Option<&SourceSpec>) -> String {
    let micros = spec.and_then(|s| s.watermark.as_ref()).map_or(0, |w| w.idle_after);
    words(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

fn words(length: Duration) -> String {
    if length < Duration::from_secs(1) {
        format!("{} ms", length.as_millis())
    } else {
        format!("{} s", length.as_secs())
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
