//! The sink against a real PostgreSQL.

mod cluster;
mod contract;
mod options;
mod refusals;
mod takeover;
mod values;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use laminar_connector_kit::contract::NEWEST;
use laminar_core::connector::{Applier, Frame, FrameRecord, SinkFactory, SinkIdentity};
use laminar_core::data::{ChangeMode, StreamSchema};
use laminar_core::graph::{Delivery, Envelope, SinkSpec};
use laminar_core::ids::{ObjectId, ShardId};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use self::cluster::{Cluster, PASSWORD, USER};
use crate::PostgresSinkFactory;

/// A client of the administrator.
struct Database {
    runtime: Runtime,
    client: Client,
}

impl Database {
    fn of(cluster: &Cluster) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let mut config = tokio_postgres::Config::new();
        config.host(cluster.host()).user(USER).password(PASSWORD).dbname("postgres");
        let (client, connection) = runtime.block_on(config.connect(NoTls)).unwrap();
        runtime.spawn(connection);
        Self { runtime, client }
    }

    /// Runs statements.
    fn run(&self, sql: &str) {
        self.runtime.block_on(self.client.batch_execute(sql)).unwrap();
    }

    /// The rows of a query, values with `|` between.
    fn rows(&self, sql: &str) -> Vec<String> {
        let answer = self.runtime.block_on(self.client.simple_query(sql)).unwrap();
        let mut rows = Vec::new();
        for message in answer {
            if let SimpleQueryMessage::Row(row) = message {
                let cells = (0..row.len()).map(|index| row.get(index).unwrap_or("NULL"));
                rows.push(cells.collect::<Vec<_>>().join("|"));
            }
        }
        rows
    }
}

/// A sink of two columns, `k` and `v`; with a key when rows are replaced.
fn spec(cluster: &Cluster, table: &str, delivery: Delivery, envelope: Envelope) -> SinkSpec {
    let columns = vec![Field::new("k", DataType::Int64, true), Field::new("v", DataType::Utf8, true)];
    let given = [
        ("host", cluster.host()),
        ("database", "postgres".to_string()),
        ("user", USER.to_string()),
        ("password", PASSWORD.to_string()),
        ("table", table.to_string()),
    ];
    SinkSpec {
        id: ObjectId(2),
        name: "out".to_string(),
        from: ObjectId(1),
        connector: "postgres".to_string(),
        format: Some("json".to_string()),
        options: given.into_iter().map(|(name, value)| (name.to_string(), value)).collect(),
        delivery,
        envelope,
        key: (envelope == Envelope::Upsert).then(|| vec![0]),
        schema: StreamSchema {
            columns: Arc::new(Schema::new(columns)),
            mode: ChangeMode::Changelog,
            key: None,
            time: Vec::new(),
        },
    }
}

fn identity(sink: u64) -> SinkIdentity {
    SinkIdentity { directory: 0xfeed, sink: ObjectId(sink) }
}

fn applier(spec: &SinkSpec, identity: SinkIdentity) -> Box<dyn Applier> {
    PostgresSinkFactory.create(spec, identity).unwrap()
}

/// One frame: of each pair the key, and the row's JSON or nothing.
fn frames(records: &[(i64, Option<&str>)]) -> Vec<Arc<Frame>> {
    let record = |(key, value): &(i64, Option<&str>)| FrameRecord {
        key: Some(format!("{{\"k\":{key}}}").into_bytes()),
        value: value.map(|value| format!("{{\"k\":{key},\"v\":{value}}}").into_bytes()),
        timestamp_ms: None,
    };
    vec![Arc::new(Frame { shard: ShardId(0), sequence: 0, records: records.iter().map(record).collect() })]
}
