//! From a TOML table to a [`Config`]: every key, its range and its default, in one place.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeTable;

use super::model::{
    Checkpoint, Config, Files, Kafka, Located, LogFormat, PipelineKind, PipelineObject, ReactorKind, Server,
    SinkObject, SourceObject, State,
};
use super::problem::Problem;
use super::quantity::{bytes, duration};
use super::reader::{Context, Reader};

/// The words `log_level` takes.
const LOG_LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Reads all of a file; the problems are empty exactly when the config is usable.
pub fn read(table: &DeTable<'_>, lookup: &dyn Fn(&str) -> Option<String>) -> (Config, Vec<Problem>) {
    let context = Context { lookup, problems: Vec::new().into() };
    let root = Reader::new(&context, Some(table), "the file", 0);
    let config = Config {
        server: server(&context, root.table("server")),
        state: state(root.table("state")),
        checkpoint: checkpoint(&context, root.table("checkpoint")),
        kafka: kafka(root.table("kafka")),
        files: files(root.table("files")),
        sources: root.tables("source").into_iter().map(|r| source(&context, r)).collect(),
        pipelines: root.tables("pipeline").into_iter().map(pipeline).collect(),
        sinks: root.tables("sink").into_iter().map(sink).collect(),
        sql: root.text("sql"),
    };
    root.finish();
    one_namespace(&context, &config);
    (config, context.problems.into_inner())
}

fn server(context: &Context<'_>, r: Reader<'_>) -> Server {
    let server = Server {
        bind: address(&r, "bind", SocketAddr::from(([127, 0, 0, 1], 8080))),
        pgwire_bind: address(&r, "pgwire_bind", SocketAddr::from(([127, 0, 0, 1], 5433))),
        data_dir: r.text("data_dir").map_or_else(|| PathBuf::from("data"), |t| PathBuf::from(t.value)),
        workers: r.integer("workers", 1..=1024).map(|n| n as usize),
        log_level: r.choice("log_level", "info", &LOG_LEVELS.map(|w| (w, w))),
        log_format: r.choice("log_format", LogFormat::Text, &[("text", LogFormat::Text), ("json", LogFormat::Json)]),
        reactor: r.choice(
            "reactor",
            ReactorKind::Glommio,
            &[("glommio", ReactorKind::Glommio), ("thread", ReactorKind::Thread)],
        ),
        max_connections: r.integer("max_connections", 1..=100_000).unwrap_or(256) as usize,
        max_message_bytes: r.parsed("max_message", 64 << 20, |t| within(bytes(t)?, 1 << 10, 1 << 30)) as usize,
        max_body_bytes: r.parsed("max_body", 16 << 20, |t| within(bytes(t)?, 1 << 10, 1 << 30)) as usize,
        max_result_rows: r.integer("max_result_rows", 1..=10_000_000).unwrap_or(100_000) as usize,
        startup_timeout: r.parsed("startup_timeout", Duration::from_secs(10), duration),
        request_timeout: r.parsed("request_timeout", Duration::from_secs(60), duration),
        statement_timeout: r.parsed("statement_timeout", None, |t| duration(t).map(Some)),
        shutdown_timeout: r.parsed("shutdown_timeout", Duration::from_secs(30), duration),
    };
    for (key, address) in [("bind", server.bind), ("pgwire_bind", server.pgwire_bind)] {
        if !address.ip().is_loopback() {
            let message = format!(
                "`{key}` in [server] is {address}, which other machines can reach: refused until this server has \
                 authentication; bind 127.0.0.1 or [::1] and use an SSH tunnel"
            );
            context.problem(r.text(key).map_or(r.offset(), |t| t.offset), message);
        }
    }
    if server.bind == server.pgwire_bind && server.bind.port() != 0 {
        context.problem(r.offset(), format!("`bind` and `pgwire_bind` in [server] are both {}", server.bind));
    }
    r.finish();
    server
}

fn address(r: &Reader<'_>, key: &'static str, default: SocketAddr) -> SocketAddr {
    r.parsed(key, default, |t| {
        let named = t.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        named
            .as_deref()
            .unwrap_or(t)
            .parse()
            .map_err(|_| format!("`{t}` is not an address; write e.g. `127.0.0.1:8080`"))
    })
}

fn within(value: u64, low: u64, high: u64) -> Result<u64, String> {
    if (low..=high).contains(&value) {
        Ok(value)
    } else {
        Err(format!("{value} bytes is not between {low} and {high}"))
    }
}

fn state(r: Reader<'_>) -> State {
    let state = State {
        memory_limit: r.parsed("memory_limit", None, |t| within(bytes(t)?, 1 << 20, 1 << 46).map(Some)),
        sink_limit: r.parsed("sink_limit", None, |t| within(bytes(t)?, 64 << 10, 1 << 46).map(Some)),
        subscription_limit: r.parsed("subscription_limit", None, |t| within(bytes(t)?, 64 << 10, 1 << 46).map(Some)),
        idempotency_keys: r.integer("idempotency_keys", 1..=1 << 24),
        shards: r.integer("shards", 1..=4096).map(|n| n as u16),
    };
    r.finish();
    state
}

fn checkpoint(context: &Context<'_>, r: Reader<'_>) -> Checkpoint {
    if let Some(url) = r.text("url") {
        let message = "`url` in [checkpoint]: checkpoints in an object store are not built yet; they are kept in \
                       `data_dir` of [server]; leave the key out";
        context.problem(url.offset, message);
    }
    let checkpoint = Checkpoint {
        interval: r.parsed("interval", Duration::from_secs(1), duration),
        epoch_interval: r.parsed("epoch_interval", Duration::from_millis(20), duration),
    };
    r.finish();
    checkpoint
}

fn kafka(r: Reader<'_>) -> Kafka {
    let kafka = Kafka { embedded: r.boolean("embedded").unwrap_or(false) };
    r.finish();
    kafka
}

/// Files are reached only below the working directory, unless the configuration says otherwise.
fn files(r: Reader<'_>) -> Files {
    let roots =
        r.texts("roots").map_or_else(|| vec![PathBuf::from(".")], |all| all.into_iter().map(PathBuf::from).collect());
    r.finish();
    Files { roots }
}

fn source(context: &Context<'_>, r: Reader<'_>) -> SourceObject {
    let source = SourceObject {
        name: r.required("name"),
        connector: r.text("connector"),
        format: r.text("format"),
        schema: r.required("schema"),
        watermark: r.text("watermark").map(|w| Located { value: watermark(&w.value), ..w }),
        properties: r.properties("properties"),
    };
    if source.connector.is_none() && !source.properties.is_empty() {
        context.problem(r.offset(), format!("[[source]] {} has properties but no `connector`", source.name.value));
    }
    r.finish();
    source
}

/// Accepts the clause with or without its first word `FOR`.
fn watermark(text: &str) -> String {
    let text = text.trim();
    let first = text.split_whitespace().next().unwrap_or_default();
    if first.eq_ignore_ascii_case("for") { text.to_owned() } else { format!("FOR {text}") }
}

fn pipeline(r: Reader<'_>) -> PipelineObject {
    let kinds = [("view", PipelineKind::View), ("stream", PipelineKind::Stream)];
    let pipeline = PipelineObject {
        name: r.required("name"),
        kind: r.choice("kind", PipelineKind::View, &kinds),
        sql: r.required("sql"),
    };
    r.finish();
    pipeline
}

fn sink(r: Reader<'_>) -> SinkObject {
    let sink = SinkObject {
        name: r.required("name"),
        pipeline: r.required("pipeline"),
        connector: r.required("connector"),
        format: r.text("format"),
        delivery: r.text("delivery"),
        properties: r.properties("properties"),
    };
    r.finish();
    sink
}

/// All objects share one namespace, and a sink drains something that exists.
fn one_namespace(context: &Context<'_>, config: &Config) {
    let sources = config.sources.iter().map(|s| (&s.name, "source"));
    let pipelines = config.pipelines.iter().map(|p| (&p.name, "pipeline"));
    let sinks = config.sinks.iter().map(|s| (&s.name, "sink"));
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for (name, kind) in sources.chain(pipelines).chain(sinks) {
        if name.value.is_empty() {
            continue;
        }
        if let Some(first) = seen.insert(name.value.clone(), kind) {
            let message = format!("the name `{}` is taken by a {first}; all objects share one namespace", name.value);
            context.problem(name.offset, message);
        }
    }
    for sink in &config.sinks {
        let known = config.pipelines.iter().any(|p| p.name.value == sink.pipeline.value)
            || config.sources.iter().any(|s| s.name.value == sink.pipeline.value);
        if !known && !sink.pipeline.value.is_empty() && config.sql.is_none() {
            let message = format!(
                "[[sink]] {} drains `{}`, which no [[pipeline]] declares",
                sink.name.value, sink.pipeline.value
            );
            context.problem(sink.pipeline.offset, message);
        }
    }
}
