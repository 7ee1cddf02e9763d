//! Q3: a statement that is cancelled, runs out of time or loses its client leaves nothing behind.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{SinkExt, TryStreamExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::{CancelToken, Client, Error, NoTls};

use crate::process::Server;

/// What clients do when it happens to them.
const KINDS: [Kind; 6] = [Kind::Compute, Kind::Constants, Kind::LeaveRows, Kind::Subscribe, Kind::CopyIn, Kind::Insert];
/// Of each.
const CLIENTS: usize = 3;
const KEYS: i64 = 3_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A join that takes very long, and holds memory.
    Compute,
    /// Rows for an INSERT that take as long, computed while it is planned.
    Constants,
    /// A large result of which nothing but the first row is read.
    LeaveRows,
    Subscribe,
    /// Data whose end never comes.
    CopyIn,
    /// Rows for a view that takes no more.
    Insert,
}

impl Kind {
    /// Does it until an error ends it; nothing else does.
    async fn run(self, client: &Client, mut ended: watch::Receiver<bool>) -> Error {
        match self {
            Self::Compute => {
                let join = "SELECT count(*) FROM v a, v b, v c, v d WHERE a.k + b.k + c.k + d.k < 0";
                client.simple_query(join).await.expect_err("a join without an end")
            }
            Self::Constants => {
                let hundred: Vec<String> = (0..100).map(|n| format!("({n})")).collect();
                let six =
                    ["a", "b", "c", "d", "e", "f"].map(|name| format!("(VALUES {}) {name} (x)", hundred.join(", ")));
                let sum = "a.x + b.x + c.x + d.x + e.x + f.x";
                let insert = format!("INSERT INTO p (k) SELECT count(*) FROM {} WHERE {sum} < 0", six.join(", "));
                client.simple_query(&insert).await.expect_err("a join without an end")
            }
            Self::LeaveRows => {
                let sql = "SELECT a.k, repeat('x', 1000) FROM v a, v b";
                let none: [&str; 0] = [];
                let mut rows = pin!(client.query_raw(sql, none).await.expect("rows"));
                rows.try_next().await.expect("a row");
                std::future::pending::<()>().await;
                unreachable!()
            }
            Self::Subscribe => {
                let lines = client.copy_out("COPY (SUBSCRIBE v) TO STDOUT").await.expect("a subscription");
                let mut lines = pin!(lines);
                loop {
                    match lines.try_next().await {
                        Ok(line) => assert!(line.is_some(), "a subscription does not end by itself"),
                        Err(error) => break error,
                    }
                }
            }
            Self::CopyIn => {
                let mut data = Box::pin(client.copy_in::<_, Bytes>("COPY p (k) FROM STDIN").await.expect("a COPY"));
                data.send(Bytes::from("7\n".repeat(500_000))).await.expect("data");
                // A client hears of it when it asks.
                ended.wait_for(|ended| *ended).await.expect("the test goes on");
                data.as_mut().finish().await.expect_err("a COPY that has ended")
            }
            Self::Insert => loop {
                let keys: Vec<String> = (0..3000).map(|_| format!("({})", fastrand::i64(..))).collect();
                let values = format!("INSERT INTO p (k) VALUES {}", keys.join(", "));
                if let Err(error) = client.simple_query(&values).await {
                    break error;
                }
            },
        }
    }
}

/// A client that does something until it is stopped.
struct Busy {
    kind: Kind,
    cancel: CancelToken,
    doing: JoinHandle<Error>,
    connection: JoinHandle<()>,
}

impl Busy {
    async fn start(server: &Server, kind: Kind, ended: watch::Receiver<bool>) -> Self {
        let config = format!("host=127.0.0.1 port={} user=test dbname=laminardb", server.pgwire.port());
        let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
        let connection = tokio::spawn(async move { drop(connection.await) });
        let cancel = client.cancel_token();
        let doing = tokio::spawn(async move { kind.run(&client, ended).await });
        Self { kind, cancel, doing, connection }
    }

    /// SQLSTATE and message that ended it.
    async fn told(self) -> (String, String) {
        let error = self.doing.await.unwrap();
        let told = error.as_db_error().unwrap_or_else(|| panic!("{:?}: {error}", self.kind));
        (told.code().code().to_owned(), told.message().to_owned())
    }

    /// Closes its socket in the middle of whatever it does.
    fn leave(self) {
        self.connection.abort();
        self.doing.abort();
    }
}

/// Clients of each kind; they are told when their statements have ended.
async fn busy(server: &Server, kinds: &[Kind]) -> (Vec<Busy>, watch::Sender<bool>) {
    let (ended, heard) = watch::channel(false);
    let mut all = Vec::new();
    for kind in kinds {
        for _ in 0..CLIENTS {
            all.push(Busy::start(server, *kind, heard.clone()).await);
        }
    }
    (all, ended)
}

/// A server with a view to read and one that takes no more rows.
async fn server(more: &str) -> Server {
    let server = Server::with(more);
    let client = server.connect().await;
    let script = "
        CREATE TABLE v (k BIGINT PRIMARY KEY);
        CREATE SOURCE p (k BIGINT);
        CREATE MATERIALIZED VIEW brim WITH (memory_limit = '1 MiB', memory_policy = 'backpressure')
            AS SELECT k, count(*) AS n FROM p GROUP BY k;";
    client.batch_execute(script).await.unwrap();
    let keys: Vec<String> = (0..KEYS).map(|k| format!("({k})")).collect();
    client.batch_execute(&format!("INSERT INTO v (k) VALUES {}", keys.join(", "))).await.unwrap();
    server
}

/// Waits until something is so; says how long it took.
async fn until<F: Future<Output = Result<(), String>>>(mut so: impl FnMut() -> F) -> Duration {
    let began = Instant::now();
    loop {
        match so().await {
            Ok(()) => return began.elapsed(),
            Err(not) => assert!(began.elapsed() < Duration::from_secs(60), "{not}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until all clients are in the middle of what they do.
async fn all_run(server: &Server, count: usize) {
    until(|| async {
        let (statements, memory) = (server.figure("laminardb_statements"), statement_memory(server));
        let full =
            server.http("GET", "/metrics", None).1.contains("laminardb_pipeline_memory_full{pipeline=\"brim\"} 1");
        if statements == count as f64 && memory > 0.0 && full {
            return Ok(());
        }
        Err(format!("{statements} statements, {memory} bytes, the view is full: {full}"))
    })
    .await;
}

fn statement_memory(server: &Server) -> f64 {
    server.figure("laminardb_statement_memory_bytes")
}

/// Descriptors of the server.
fn descriptors(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap().count()
}

/// Waits until nothing of a statement is left.
async fn nothing_runs(server: &Server) -> Duration {
    until(|| async {
        let left = ["statements", "statement_memory_bytes", "subscriptions", "subscription_waiting_bytes"]
            .map(|name| server.figure(&format!("laminardb_{name}")));
        if left == [0.0; 4] { Ok(()) } else { Err(format!("statements, memory, subscriptions, their bytes: {left:?}")) }
    })
    .await
}

#[tokio::test]
async fn statements_that_are_cancelled_or_left_free_all_that_they_hold() {
    let server = server("").await;
    let before = descriptors(&server);

    let (left, _ended) = busy(&server, &KINDS).await;
    all_run(&server, left.len()).await;
    left.into_iter().for_each(Busy::leave);
    let mut longest = nothing_runs(&server).await;
    longest = longest.max(
        until(|| async {
            let now = descriptors(&server);
            if now <= before { Ok(()) } else { Err(format!("{now} descriptors, {before} before")) }
        })
        .await,
    );

    // Rows that were in time are in; the view is still full.
    let (cancelled, ended) = busy(&server, &KINDS).await;
    all_run(&server, cancelled.len()).await;
    for one in &cancelled {
        one.cancel.cancel_query(NoTls).await.unwrap();
    }
    longest = longest.max(nothing_runs(&server).await);
    println!("Q3: the longest took {} ms", longest.as_millis());
    ended.send(true).unwrap();
    for one in cancelled {
        // That one does not read its error.
        if one.kind != Kind::LeaveRows {
            assert_eq!(one.told().await, ("57014".to_owned(), "canceling statement due to user request".to_owned()));
        }
    }
    let client = server.connect().await;
    assert_eq!(client.query("SELECT count(*) FROM v", &[]).await.unwrap()[0].get::<_, i64>(0), KEYS);
}

#[tokio::test]
async fn statements_that_run_out_of_time_free_all_that_they_hold_and_subscriptions_go_on() {
    let server = server("statement_timeout = \"3 s\"\n").await;
    let (all, ended) =
        busy(&server, &[Kind::Compute, Kind::Constants, Kind::CopyIn, Kind::Insert, Kind::Subscribe]).await;
    let reason = "canceling statement due to statement timeout of 3000 ms";
    let (mut copies, mut subscriptions) = (Vec::new(), Vec::new());
    for one in all {
        match one.kind {
            Kind::CopyIn => copies.push(one),
            Kind::Subscribe => subscriptions.push(one),
            _ => assert_eq!(one.told().await, ("57014".to_owned(), reason.to_owned())),
        }
    }
    until(|| async {
        let running = server.figure("laminardb_statements");
        if running == CLIENTS as f64 { Ok(()) } else { Err(format!("{running} statements run")) }
    })
    .await;
    ended.send(true).unwrap();
    for one in copies {
        assert_eq!(one.told().await, ("57014".to_owned(), reason.to_owned()));
    }
    for one in subscriptions {
        assert!(!one.doing.is_finished(), "a subscription lasts");
        one.leave();
    }
    nothing_runs(&server).await;
}
