//! The Prometheus text format, and which numbers go into it.

use std::fmt::Write as _;
use std::time::Duration;

use laminar_core::data::EventTime;
use laminar_core::engine::status::{SplitStatus, StageStatus};
use laminar_core::operator::OperatorMetrics;
use laminar_db::Status;

/// Whether a series only grows.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

/// Writes families one after another.
#[derive(Default)]
struct Text {
    out: String,
}

impl Text {
    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.out.push_str(name);
        for (i, (key, label)) in labels.iter().enumerate() {
            self.out.push(if i == 0 { '{' } else { ',' });
            let escaped = label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.out, "{key}=\"{escaped}\"");
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }

    fn single(&mut self, name: &str, kind: Kind, help: &str, value: f64) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }
}

/// All metrics; the status is missing while the server starts.
pub fn text(uptime: Duration, status: Option<&Status>) -> String {
    let mut text = Text::default();
    text.single("laminardb_uptime_seconds", Kind::Gauge, "Time since the process started.", uptime.as_secs_f64());
    text.single("laminardb_ready", Kind::Gauge, "1 once clients are served.", if status.is_some() { 1.0 } else { 0.0 });
    if let Some(status) = status {
        engine(&mut text, status);
        splits(&mut text, status);
        operators(&mut text, status);
        sinks(&mut text, status);
        statements(&mut text, status);
        subscriptions(&mut text, status);
    }
    text.out
}

fn engine(text: &mut Text, status: &Status) {
    let checkpoint = &status.checkpoint;
    text.single(
        "laminardb_checkpoint_newest",
        Kind::Gauge,
        "Number of the newest published checkpoint.",
        checkpoint.newest as f64,
    );
    if let Some(age) = checkpoint.age_us {
        text.single("laminardb_checkpoint_age_seconds", Kind::Gauge, "Age of the newest checkpoint.", age as f64 / 1e6);
    }
    let name = "laminardb_rows_unread_total";
    text.single(name, Kind::Counter, "Rows pushed into sources that nobody reads.", status.rows_unread as f64);
    let reactors: Vec<String> = (0..status.reactors.len()).map(|i| i.to_string()).collect();
    text.family("laminardb_reactor_turns_total", Kind::Counter, "Turns taken.");
    for (id, reactor) in reactors.iter().zip(&status.reactors) {
        text.sample("laminardb_reactor_turns_total", &[("reactor", id)], reactor.turns as f64);
    }
    text.family("laminardb_reactor_stalls_total", Kind::Counter, "Turns longer than 5 ms.");
    for (id, reactor) in reactors.iter().zip(&status.reactors) {
        text.sample("laminardb_reactor_stalls_total", &[("reactor", id)], reactor.stalls as f64);
    }
}

type Of<T> = fn(&T) -> Option<f64>;

fn splits(text: &mut Text, status: &Status) {
    let families: [(&str, Kind, &str, Of<SplitStatus>); 8] = [
        ("laminardb_source_rows_total", Kind::Counter, "Rows handed to queries.", |s| Some(s.rows as f64)),
        ("laminardb_source_rows_malformed_total", Kind::Counter, "Records refused by the decoder.", |s| {
            Some(s.malformed as f64)
        }),
        (
            "laminardb_source_rows_evaluation_failed_total",
            Kind::Counter,
            "Rows left out because a computed column failed.",
            |s| Some(s.evaluation_failed as f64),
        ),
        (
            "laminardb_source_rows_constraint_failed_total",
            Kind::Counter,
            "Rows left out by NOT NULL or VARCHAR(n).",
            |s| Some(s.constraint_failed as f64),
        ),
        ("laminardb_source_rows_null_time_total", Kind::Counter, "Rows left out because they have no time.", |s| {
            Some(s.null_time as f64)
        }),
        (
            "laminardb_source_rows_far_future_total",
            Kind::Counter,
            "Rows left out because their time lies too far ahead.",
            |s| Some(s.far_future as f64),
        ),
        ("laminardb_source_lag", Kind::Gauge, "Records between the cursor and the end of the split.", |s| {
            s.lag.map(|l| l as f64)
        }),
        ("laminardb_source_watermark_seconds", Kind::Gauge, "Watermark of the split, in seconds since 1970.", |s| {
            seconds(s.watermark)
        }),
    ];
    for (name, kind, help, of) in families {
        text.family(name, kind, help);
        for source in &status.sources {
            for split in &source.splits {
                if let Some(value) = of(split) {
                    text.sample(name, &[("source", &source.name), ("split", &split.split)], value);
                }
            }
        }
    }
}

fn seconds(time: Option<EventTime>) -> Option<f64> {
    // The watermarks before all rows and after the last one are no times.
    time.filter(|t| *t != EventTime::MIN && *t != EventTime::MAX).map(|t| t.0 as f64 / 1e6)
}

fn operators(text: &mut Text, status: &Status) {
    let families: [(&str, &str, Of<OperatorMetrics>); 9] = [
        ("laminardb_operator_batches_in_total", "Batches taken.", |m| Some(m.batches_in as f64)),
        ("laminardb_operator_rows_in_total", "Rows taken.", |m| Some(m.rows_in as f64)),
        ("laminardb_operator_rows_out_total", "Rows emitted.", |m| Some(m.rows_out as f64)),
        ("laminardb_operator_rows_late_dropped_total", "Rows too late for a window, once per window missed.", |m| {
            Some(m.rows_late_dropped as f64)
        }),
        ("laminardb_operator_rows_evaluation_failed_total", "Rows on which an expression failed.", |m| {
            Some(m.rows_evaluation_failed as f64)
        }),
        ("laminardb_operator_rows_null_time_total", "Rows whose time was NULL.", |m| Some(m.rows_null_time as f64)),
        ("laminardb_operator_rows_far_future_total", "Rows too far in the future.", |m| Some(m.rows_far_future as f64)),
        (
            "laminardb_operator_rows_out_of_range_total",
            "Rows that would have driven an aggregate out of its range.",
            |m| Some(m.rows_out_of_range as f64),
        ),
        ("laminardb_operator_rows_filtered_total", "Rows a filter dropped.", |m| Some(m.rows_filtered as f64)),
    ];
    for (name, help, of) in families {
        text.family(name, Kind::Counter, help);
        for pipeline in &status.pipelines {
            for (number, node) in pipeline.graph.iter().enumerate() {
                let Some(value) = node.status.as_ref().and_then(|s| of(&s.metrics)) else { continue };
                let number = number.to_string();
                text.sample(
                    name,
                    &[("pipeline", &pipeline.name), ("node", &number), ("operator", &node.operator)],
                    value,
                );
            }
        }
    }
    text.family("laminardb_pipeline_state_bytes", Kind::Gauge, "Bytes of state in all shards.");
    for pipeline in &status.pipelines {
        text.sample("laminardb_pipeline_state_bytes", &[("pipeline", &pipeline.name)], pipeline.state_bytes as f64);
    }
    text.family("laminardb_pipeline_spilled_bytes", Kind::Gauge, "Bytes of its state that lie in spill files.");
    for pipeline in &status.pipelines {
        text.sample("laminardb_pipeline_spilled_bytes", &[("pipeline", &pipeline.name)], pipeline.spilled_bytes as f64);
    }
    text.family("laminardb_pipeline_memory_limit_bytes", Kind::Gauge, "Bytes of state that it may hold in memory.");
    for pipeline in &status.pipelines {
        let name = "laminardb_pipeline_memory_limit_bytes";
        text.sample(name, &[("pipeline", &pipeline.name)], pipeline.memory_limit as f64);
    }
    text.family("laminardb_pipeline_memory_full", Kind::Gauge, "1 while what feeds it waits for its state.");
    for pipeline in &status.pipelines {
        let full = if pipeline.memory_full_since.is_some() { 1.0 } else { 0.0 };
        text.sample("laminardb_pipeline_memory_full", &[("pipeline", &pipeline.name)], full);
    }
}

fn sinks(text: &mut Text, status: &Status) {
    let families: [(&str, Kind, &str, Of<StageStatus>); 3] = [
        ("laminardb_sink_rows_total", Kind::Counter, "Rows staged.", |s| Some(s.rows as f64)),
        ("laminardb_sink_unacknowledged", Kind::Gauge, "Records staged and not yet safe at the target.", |s| {
            Some(s.unacknowledged as f64)
        }),
        ("laminardb_sink_unacknowledged_bytes", Kind::Gauge, "Bytes of these.", |s| {
            Some(s.unacknowledged_bytes as f64)
        }),
    ];
    for (name, kind, help, of) in families {
        text.family(name, kind, help);
        for sink in &status.sinks {
            let sum: f64 = sink.stages.iter().filter_map(of).sum();
            text.sample(name, &[("sink", &sink.name)], sum);
        }
    }
}

fn statements(text: &mut Text, status: &Status) {
    let all = &status.statements;
    let help = "Statements whose answer is not complete, subscriptions included.";
    text.single("laminardb_statements", Kind::Gauge, help, all.running as f64);
    let help = "Bytes that SELECTs hold for joins, sorts and groups.";
    text.single("laminardb_statement_memory_bytes", Kind::Gauge, help, all.memory_bytes as f64);
}

fn subscriptions(text: &mut Text, status: &Status) {
    let all = &status.subscriptions;
    let (open, waiting, cut_off) = (all.open as f64, all.waiting_bytes as f64, all.cut_off as f64);
    text.single("laminardb_subscriptions", Kind::Gauge, "Subscriptions that are fed.", open);
    let help = "Bytes of changes that wait for the clients of subscriptions.";
    text.single("laminardb_subscription_waiting_bytes", Kind::Gauge, help, waiting);
    let help = "Subscriptions that ended because their client read too slowly.";
    text.single("laminardb_subscriptions_cut_off_total", Kind::Counter, help, cut_off);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_families_are_announced() {
        let mut text = Text::default();
        text.family("a_total", Kind::Counter, "Help.");
        text.sample("a_total", &[("k", "x\"\n\\"), ("l", "")], 1.5);
        assert_eq!(text.out, "# HELP a_total Help.\n# TYPE a_total counter\na_total{k=\"x\\\"\\n\\\\\",l=\"\"} 1.5\n");
    }
}
