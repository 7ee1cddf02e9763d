//! The declared objects as one SQL script, and the way back from a place in it to the file.

use std::fmt::Write as _;
use std::ops::Range;

use laminar_sql::quoted;

use super::model::{Config, Located, PipelineKind, PipelineObject, SinkObject, SourceObject};

/// Where a piece of the script comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Bytes of the script.
    pub script: Range<usize>,
    /// Byte offset in the file of the piece's first byte; later bytes follow one by one if `exact`.
    pub file: usize,
    /// Whether the piece stands in the file byte by byte.
    pub exact: bool,
}

/// One deployment: all or nothing.
#[derive(Clone, Debug, Default)]
pub struct Deployment {
    /// The statements, each ended by `;`.
    pub script: String,
    origins: Vec<Origin>,
}

impl Deployment {
    /// Writes the objects of a configuration as statements; `text` is the file.
    pub fn of(config: &Config, text: &str) -> Self {
        let mut writer = Writer { text, deployment: Self::default() };
        config.sources.iter().for_each(|s| writer.source(s));
        config.pipelines.iter().for_each(|p| writer.pipeline(p));
        config.sinks.iter().for_each(|s| writer.sink(s));
        if let Some(sql) = &config.sql {
            writer.piece(sql);
            writer.deployment.script.push('\n');
        }
        writer.deployment
    }

    /// Whether nothing is declared.
    pub fn is_empty(&self) -> bool {
        self.script.trim().is_empty()
    }

    /// The byte offset in the file of a character of the script, counted from 1.
    pub fn place(&self, character: usize) -> Option<usize> {
        let position =
            self.script.char_indices().nth(character.checked_sub(1)?).map_or(self.script.len(), |(at, _)| at);
        // The innermost (shortest) piece that holds the position says it most precisely.
        let holds = |o: &&Origin| o.script.contains(&position) || o.script.end == position;
        let origin = self.origins.iter().filter(holds).min_by_key(|o| o.script.len())?;
        Some(if origin.exact { origin.file + (position - origin.script.start) } else { origin.file })
    }
}

struct Writer<'a> {
    text: &'a str,
    deployment: Deployment,
}

impl Writer<'_> {
    /// Appends a text from the file and remembers where it stood.
    fn piece(&mut self, located: &Located<String>) {
        let start = self.deployment.script.len();
        self.deployment.script.push_str(&located.value);
        let end = self.deployment.script.len();
        let (file, exact) = self.verbatim(located);
        self.deployment.origins.push(Origin { script: start..end, file, exact });
    }

    /// Finds the value behind its opening quotes, if it stands there without escapes.
    fn verbatim(&self, located: &Located<String>) -> (usize, bool) {
        let rest = &self.text[located.offset.min(self.text.len())..];
        let quotes = rest.len() - rest.trim_start_matches(['"', '\'']).len();
        let skipped = match &rest.as_bytes()[quotes..] {
            [b'\n', ..] if !located.value.starts_with('\n') => 1,
            [b'\r', b'\n', ..] if !located.value.starts_with('\r') => 2,
            _ => 0,
        };
        let start = quotes + skipped;
        if rest[start..].starts_with(&located.value) { (located.offset + start, true) } else { (located.offset, false) }
    }

    fn statement(&mut self, name: &Located<String>, write: impl FnOnce(&mut Self)) {
        let start = self.deployment.script.len();
        write(self);
        self.deployment.script.push_str(";\n");
        let end = self.deployment.script.len();
        self.deployment.origins.push(Origin { script: start..end, file: name.offset, exact: false });
    }

    fn push(&mut self, text: &str) {
        self.deployment.script.push_str(text);
    }

    fn source(&mut self, source: &SourceObject) {
        self.statement(&source.name, |w| {
            w.push(&format!("CREATE SOURCE {} (\n", quoted(&source.name.value)));
            w.piece(&source.schema);
            if let Some(watermark) = &source.watermark {
                let open = source.schema.value.trim_end().ends_with(',');
                w.push(if open { "\nWATERMARK " } else { ",\nWATERMARK " });
                w.piece(watermark);
            }
            w.push("\n)");
            if let Some(connector) = &source.connector {
                let fixed = [("connector", Some(connector)), ("format", source.format.as_ref())];
                w.options(&fixed, &source.properties);
            }
        });
    }

    fn pipeline(&mut self, pipeline: &PipelineObject) {
        self.statement(&pipeline.name, |w| {
            let kind = match pipeline.kind {
                PipelineKind::View => "MATERIALIZED VIEW",
                PipelineKind::Stream => "STREAM",
            };
            w.push(&format!("CREATE {kind} {} AS\n", quoted(&pipeline.name.value)));
            let sql = pipeline.sql.value.trim_end().trim_end_matches(';').to_owned();
            w.piece(&Located { value: sql, offset: pipeline.sql.offset });
        });
    }

    fn sink(&mut self, sink: &SinkObject) {
        self.statement(&sink.name, |w| {
            w.push(&format!("CREATE SINK {} FROM ", quoted(&sink.name.value)));
            let from = Located { value: quoted(&sink.pipeline.value), offset: sink.pipeline.offset };
            w.piece(&from);
            let fixed = [
                ("connector", Some(&sink.connector)),
                ("format", sink.format.as_ref()),
                ("delivery", sink.delivery.as_ref()),
            ];
            w.options(&fixed, &sink.properties);
        });
    }

    fn options(&mut self, fixed: &[(&str, Option<&Located<String>>)], free: &[(String, Located<String>)]) {
        let fixed = fixed.iter().filter_map(|(k, v)| v.map(|v| (*k, v)));
        let free = free.iter().map(|(k, v)| (k.as_str(), v));
        self.push("\nWITH (");
        for (i, (key, value)) in fixed.chain(free).enumerate() {
            if i > 0 {
                self.push(",");
            }
            let start = self.deployment.script.len();
            let _ = write!(self.deployment.script, "\n  {} = {}", literal(key), literal(&value.value));
            let end = self.deployment.script.len();
            self.deployment.origins.push(Origin { script: start..end, file: value.offset, exact: false });
        }
        self.push("\n)");
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
