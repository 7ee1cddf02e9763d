//! Every named crash point: the server dies there while rows, DDL and commits are under way, and starts again.
//!
//! Afterwards every answered row and table is there, the view is exact, and the files of an exactly-once sink hold
//! each row once. A point that is never reached fails the test: it guards nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

use crate::process::{Server, run};
use crate::tried::answer;

const CONFIG: &str = "\n[checkpoint]\ninterval = \"100 ms\"\n[files]\nroots = [\"files\"]\n";
const DEFINE: &str = "
    CREATE SOURCE s (id BIGINT);
    CREATE SOURCE ballast (pad VARCHAR);
    CREATE STREAM copies AS SELECT id FROM s;
    CREATE MATERIALIZED VIEW all_rows AS SELECT id FROM s;
    CREATE MATERIALIZED VIEW totals AS SELECT id % 10 AS k, count(*) AS n, sum(id) AS total FROM s GROUP BY id % 10;
    CREATE SINK out FROM copies
        WITH (connector = 'file', path = 'files/out', format = 'csv', delivery = 'exactly_once')";

const WRITERS: u64 = 2;
/// Created in each life.
const TABLES: u32 = 8;
/// A point that only a start reaches is met by the next start.
const LIFE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(60);
/// Only many rows bring the log to use a file again.
const RECYCLED: &str = "wal-recycled";
const SIGABRT: i32 = 6;

/// What the clients were told.
#[derive(Default)]
struct Told {
    next: AtomicU64,
    answered: Mutex<BTreeSet<i64>>,
    sent: Mutex<BTreeSet<i64>>,
    next_table: AtomicU64,
    tables: Mutex<BTreeSet<String>>,
}

/// A client of a server that may die at any moment.
async fn connect(port: u16) -> Option<Client> {
    let config = format!("host=127.0.0.1 port={port} user=test dbname=laminardb");
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.ok()?;
    tokio::spawn(connection);
    Some(client)
}

/// Inserts rows until the connection breaks.
async fn insert(port: u16, told: Arc<Told>) {
    let Some(client) = connect(port).await else { return };
    loop {
        let id = told.next.fetch_add(2, Ordering::SeqCst) as i64;
        told.sent.lock().unwrap().extend([id, id + 1]);
        match client.simple_query(&format!("INSERT INTO s VALUES ({id}), ({})", id + 1)).await {
            Ok(_) => told.answered.lock().unwrap().extend([id, id + 1]),
            Err(error) => {
                assert!(error.is_closed() || error.code().is_none(), "the server refuses a row: {error}");
                return;
            }
        }
    }
}

/// Creates some tables, unless the connection breaks before.
async fn define(port: u16, told: Arc<Told>) {
    let Some(client) = connect(port).await else { return };
    for _ in 0..TABLES {
        let name = format!("made_{}", told.next_table.fetch_add(1, Ordering::SeqCst));
        match client.batch_execute(&format!("CREATE TABLE {name} (id BIGINT PRIMARY KEY)")).await {
            Ok(()) => told.tables.lock().unwrap().insert(name),
            Err(error) => {
                assert!(error.is_closed() || error.code().is_none(), "the server refuses a table: {error}");
                return;
            }
        };
    }
}

/// Posts large rows until the connection breaks.
fn weigh_down(http: std::net::SocketAddr) {
    let row = format!("{{\"pad\":\"{}\"}}\n", "x".repeat(1 << 20));
    let body = row.repeat(4);
    loop {
        let Ok(mut stream) = std::net::TcpStream::connect(http) else { return };
        let head = format!(
            "POST /api/v1/sources/ballast/rows HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut reply = String::new();
        let asked = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        if asked.and_then(|()| stream.read_to_string(&mut reply)).is_err() || reply.is_empty() {
            return;
        }
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    }
}

/// Lives with a point armed, and work going on, until the process dies there.
async fn die_at(server: &mut Server, point: &str, told: &Arc<Told>) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = server.resume_with(&[("LAMINAR_CRASH_AT", point)]) {
            return status;
        }
        let mut work = Vec::new();
        for _ in 0..WRITERS {
            work.push(tokio::spawn(insert(server.pgwire.port(), told.clone())));
        }
        work.push(tokio::spawn(define(server.pgwire.port(), told.clone())));
        let mut life = LIFE;
        if point == RECYCLED {
            let http = server.http;
            work.push(tokio::task::spawn_blocking(move || weigh_down(http)));
            life = PATIENCE;
        }
        let ended = server.ends_within(life).await;
        if ended.is_none() {
            server.crash();
        }
        for task in work {
            task.await.unwrap();
        }
        if let Some(status) = ended {
            return status;
        }
        assert!(began.elapsed() < PATIENCE, "crash point {point} is never reached\n{}", server.log());
    }
}

async fn check(server: &Server, point: &str, told: &Told) {
    let client = server.connect().await;
    let rows = client.query("SELECT id FROM all_rows ORDER BY id", &[]).await.unwrap();
    let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    let there: BTreeSet<i64> = ids.iter().copied().collect();
    assert_eq!(there.len(), ids.len(), "{point}: a row is there twice");
    let lost: Vec<i64> = told.answered.lock().unwrap().difference(&there).copied().collect();
    assert!(lost.is_empty(), "{point}: {} answered rows are lost: {lost:?}", lost.len());
    assert!(there.is_subset(&told.sent.lock().unwrap()), "{point}: a row that nobody sent");

    let mut expected: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for id in &ids {
        let total = expected.entry(id % 10).or_default();
        *total = (total.0 + 1, total.1 + id);
    }
    let expected: Vec<String> = expected.iter().map(|(k, (n, total))| format!("{k} {n} {total}")).collect();
    assert_eq!(answer(&client, "SELECT k, n, total FROM totals ORDER BY k").await, expected.join("\n"), "{point}");

    let tables = std::mem::take(&mut *told.tables.lock().unwrap());
    for table in tables {
        assert_eq!(answer(&client, &format!("SELECT count(*) FROM {table}")).await, "0", "{point}");
        client.batch_execute(&format!("DROP TABLE {table}")).await.unwrap();
    }

    let began = Instant::now();
    loop {
        let mut written = final_rows(server);
        written.sort_unstable();
        if written == ids {
            return;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "{point}: the files hold {} rows, {} of them different, the view {}\n{}",
            written.len(),
            written.iter().collect::<BTreeSet<_>>().len(),
            ids.len(),
            server.http("GET", "/api/v1/sinks", None).1
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The rows of the files that have their final names.
fn final_rows(server: &Server) -> Vec<i64> {
    let entries = server.directory().join("files/out").read_dir().into_iter().flatten().map(|entry| entry.unwrap());
    let finals = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
    let texts = finals.map(|entry| std::fs::read_to_string(entry.path()).unwrap());
    texts.flat_map(|text| text.lines().map(|line| line.parse().unwrap()).collect::<Vec<i64>>()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_answered_is_there_once_whichever_crash_point_is_hit() {
    let mut server = Server::with(CONFIG);
    let listed = run(server.directory(), &["--list-failpoints"]);
    let points: Vec<&str> = listed.stdout.lines().filter_map(|line| line.split('\t').next()).collect();
    assert!(points.len() >= 20 && points.contains(&RECYCLED), "{}", listed.stdout);
    std::fs::create_dir(server.directory().join("files")).unwrap();
    server.connect().await.batch_execute(DEFINE).await.unwrap();
    server.crash();
    let told = Arc::new(Told::default());
    for point in points {
        let status = die_at(&mut server, point, &told).await;
        let said = format!("crash point {point} is reached");
        assert!(
            status.signal() == Some(SIGABRT) && server.log().contains(&said),
            "{point}: {status}\n{}",
            server.log()
        );
        server.resume();
        check(&server, point, &told).await;
        server.crash();
    }
    assert!(told.answered.lock().unwrap().len() > 100);
}

#[test]
fn a_crash_point_that_does_not_exist_is_refused_with_the_list() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("laminardb.toml"), "").unwrap();
    let mut command = crate::process::binary();
    let ended = command.current_dir(directory.path()).env("LAMINAR_CRASH_AT", "nowhere:2").output().unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("'nowhere'") && stderr.contains("--list-failpoints"), "{stderr}");
}
