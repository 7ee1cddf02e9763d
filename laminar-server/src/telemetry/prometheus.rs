//! The Prometheus text format, and which numbers go into it.

use std::fmt::Write as _;
use std::time::Duration;

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
    text.out
}
