//! INSERT is durable when it is answered: kill -9 at any moment, and every answered row is there, once.
//!
//! Without the reader of the write-ahead log this fails in the first round: rows that no checkpoint
//! holds come back from the log alone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::process::{Server, run};

const KILLS: u64 = 20;
const WRITERS: u64 = 4;
const DEADLINE: Duration = Duration::from_secs(60);

/// No checkpoint in the time of a round but those that the test asks for.
const CONFIG: &str = "\n[checkpoint]\ninterval = \"1h\"\n";

const DEFINE: &str = "
    CREATE SOURCE s (id BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts);
    CREATE MATERIALIZED VIEW rows_of_s AS SELECT id FROM s;
    CREATE MATERIALIZED VIEW count_of_s AS SELECT id % 10 AS rest, count(*) AS n FROM s GROUP BY id % 10;
    CREATE TABLE t (id BIGINT NOT NULL, PRIMARY KEY (id));";

/// What the clients were told.
#[derive(Default)]
struct Told {
    /// Next row number.
    next: AtomicU64,
    answered: Mutex<BTreeSet<u64>>,
    /// Sent, never answered: may be there or not.
    open: Mutex<BTreeSet<u64>>,
}

/// Inserts rows, alternately into the source and the table, until the connection breaks.
async fn write(client: tokio_postgres::Client, told: Arc<Told>) {
    loop {
        let first = told.next.fetch_add(3, Ordering::SeqCst);
        let rows = [first, first + 1, first + 2];
        told.open.lock().expect("a lock").extend(rows);
        let insert = if (first / 3).is_multiple_of(2) {
            let rows = rows.map(|id| format!("({id}, '2026-01-01 00:00:00')"));
            format!("INSERT INTO s VALUES {}", rows.join(", "))
        } else {
            format!("INSERT INTO t VALUES {}", rows.map(|id| format!("({id})")).join(", "))
        };
        match client.simple_query(&insert).await {
            Ok(_) => {
                let (mut answered, mut open) =
                    (told.answered.lock().expect("a lock"), told.open.lock().expect("a lock"));
                for id in rows {
                    open.remove(&id);
                    answered.insert(id);
                }
            }
            Err(error) => {
                assert!(error.is_closed() || error.code().is_none(), "the server refuses a row: {error}");
                return;
            }
        }
    }
}

async fn ids(client: &tokio_postgres::Client, relation: &str) -> Vec<u64> {
    let rows = client.query(&format!("SELECT id FROM {relation} ORDER BY id"), &[]).await.expect("a SELECT");
    rows.iter().map(|row| row.get::<_, i64>(0) as u64).collect()
}

/// Every answered row is there; no row is there twice; what is there was sent.
async fn check(client: &tokio_postgres::Client, told: &Told, round: u64) {
    let of_source = ids(client, "rows_of_s").await;
    let of_table = ids(client, "t").await;
    let counted: i64 = client
        .query_one("SELECT CAST(coalesce(sum(n), 0) AS BIGINT) FROM count_of_s", &[])
        .await
        .expect("a SELECT")
        .get(0);
    assert_eq!(counted as usize, of_source.len(), "round {round}: two views of one source differ");
    let all: Vec<u64> = of_source.iter().chain(&of_table).copied().collect();
    let there: BTreeSet<u64> = all.iter().copied().collect();
    assert_eq!(there.len(), all.len(), "round {round}: a row is there twice");
    let (answered, open) = (told.answered.lock().expect("a lock"), told.open.lock().expect("a lock"));
    let lost: Vec<&u64> = answered.difference(&there).collect();
    assert!(lost.is_empty(), "round {round}: {} answered rows are lost: {lost:?}", lost.len());
    assert!(there.iter().all(|id| answered.contains(id) || open.contains(id)), "round {round}: a row nobody sent");
    for statement in open.iter().filter(|id| *id % 3 == 0) {
        let parts = (0..3).filter(|part| there.contains(&(statement + part))).count();
        assert!(parts == 0 || parts == 3, "round {round}: {parts} of 3 rows of one INSERT");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_insert_that_was_answered_survives_kill_9_at_any_moment_once() {
    let mut server = Server::with(CONFIG);
    server.connect().await.batch_execute(DEFINE).await.expect("objects");
    let told = Arc::new(Told::default());
    let mut random = fastrand::Rng::with_seed(1);
    for round in 0..KILLS {
        let mut writers = Vec::new();
        for _ in 0..WRITERS {
            writers.push(tokio::spawn(write(server.connect().await, told.clone())));
        }
        // The moment of the kill is a number of answers, then any number of steps of this task.
        let until = told.answered.lock().expect("a lock").len() + random.usize(1..120);
        let began = Instant::now();
        while told.answered.lock().expect("a lock").len() < until {
            assert!(began.elapsed() < DEADLINE, "round {round}: INSERTs are not answered\n{}", server.log());
            tokio::task::yield_now().await;
        }
        if round % 4 == 3 {
            // In some rounds part of the rows is in a checkpoint, part in the log alone.
            server.connect().await.batch_execute("CHECKPOINT").await.expect("a checkpoint");
        }
        for _ in 0..random.u32(0..2000) {
            tokio::task::yield_now().await;
        }
        server.crash();
        for writer in writers {
            writer.await.expect("a writer that ends with its connection");
        }
        server.resume();
        check(&server.connect().await, &told, round).await;
    }
    assert!(told.answered.lock().expect("a lock").len() > 200);
    // A clean stop and start changes nothing.
    assert_eq!(server.stop().code(), Some(0), "{}", server.log());
    server.resume();
    check(&server.connect().await, &told, KILLS).await;
}

#[tokio::test]
async fn checkpoints_of_a_stopped_server_are_listed_and_verified_and_a_rotten_one_is_refused() {
    let mut server = Server::with(CONFIG);
    let client = server.connect().await;
    client
        .batch_execute(
            "CREATE TABLE t (id BIGINT PRIMARY KEY); INSERT INTO t VALUES (1), (2);
             CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM t; CHECKPOINT",
        )
        .await
        .unwrap();
    let shown = client.query("SHOW CHECKPOINTS", &[]).await.unwrap();
    let newest = shown.last().unwrap();
    assert_eq!((newest.get::<_, bool>("newest"), newest.get::<_, i64>("objects")), (true, 2));
    assert!(shown.iter().rev().skip(1).all(|older| !older.get::<_, bool>("newest")));
    let directory = server.directory().to_owned();
    let look = |what: &str| run(&directory, &["checkpoint", what]);
    let busy = look("list");
    assert_eq!(busy.status.code(), Some(4), "{}", busy.stderr);
    assert!(busy.stderr.contains(&server.id().to_string()), "who has it: {}", busy.stderr);
    client.batch_execute("INSERT INTO t VALUES (3)").await.unwrap();
    server.crash();
    let listed = look("list");
    assert!(listed.status.success(), "{}", listed.stderr);
    assert!(
        listed.stdout.contains(&format!("checkpoint {} ", newest.get::<_, i64>("checkpoint"))),
        "{}",
        listed.stdout
    );
    assert!(listed.stdout.contains(", the newest)") && listed.stdout.contains("holds: t, v"), "{}", listed.stdout);
    let verified = look("verify");
    assert!(verified.status.success(), "{}", verified.stderr);
    assert!(verified.stdout.contains("records of pushed rows are replayed"), "{}", verified.stdout);
    assert_eq!(look("verify").stdout, verified.stdout, "looking changes nothing");
    // One byte in the state of the newest checkpoint: in the youngest root of one shard.
    let states = std::fs::read_dir(server.data_dir().join("state")).unwrap().map(|entry| entry.unwrap().path());
    let found = states.map(|path| (std::fs::read(&path).unwrap(), path)).find_map(|(content, path)| {
        let generation =
            |at: &usize| content[at + 8..at + 16].iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte));
        let roots = (0..content.len()).step_by(4096).filter(|at| content[*at..].starts_with(b"ROOT"));
        let at = roots.max_by_key(generation)?;
        Some((path, content, at))
    });
    let (path, mut content, root) = found.expect("a shard with state");
    content[root + 16] ^= 0x40;
    std::fs::write(&path, content).unwrap();
    let rotten = look("verify");
    assert_eq!(rotten.status.code(), Some(4), "{}", rotten.stdout);
    assert!(rotten.stdout.contains("NOT usable: LDB-") && rotten.stderr.contains("state/"), "{}", rotten.stderr);
    let empty = tempfile::tempdir().unwrap();
    std::fs::write(empty.path().join("laminardb.toml"), "[server]\ndata_dir = \"none\"\n").unwrap();
    let nothing = run(empty.path(), &["checkpoint", "list"]);
    assert!(nothing.status.code() == Some(4) && nothing.stderr.contains("holds no data"), "{}", nothing.stderr);
    assert!(!empty.path().join("none").exists(), "nothing is created");
}

/// The files below a directory with their content.
fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[tokio::test]
async fn a_lost_log_and_a_rotten_outbox_are_found_by_verify_as_by_a_start() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = Server::with(CONFIG);
    let client = server.connect().await;
    client
        .batch_execute(&format!(
            "CREATE SOURCE s (id BIGINT); CREATE STREAM texts AS SELECT id FROM s;
             CREATE SINK away FROM texts WITH (connector = 'kafka', topic = 't', format = 'json',
               \"bootstrap.servers\" = '127.0.0.1:{port}');
             CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM s"
        ))
        .await
        .unwrap();
    for id in 0..100 {
        client.batch_execute(&format!("INSERT INTO s VALUES ({id})")).await.unwrap();
    }
    client.batch_execute("CHECKPOINT; INSERT INTO s VALUES (100)").await.unwrap();
    server.crash();
    let directory = server.directory().to_owned();
    let verify = || run(&directory, &["checkpoint", "verify"]);
    let usable = verify();
    assert!(usable.status.success(), "{}", usable.stderr);
    assert!(usable.stdout.contains("; 1 records of pushed rows are replayed"), "{}", usable.stdout);
    for (part, code) in [("wal", "LDB-1010"), ("outbox", "LDB-1004")] {
        let whole = files(&server.data_dir().join(part));
        for (path, content) in &whole {
            if part == "wal" {
                std::fs::remove_file(path).unwrap();
                continue;
            }
            let end = content.iter().rposition(|byte| *byte != 0).unwrap_or(0);
            let rotten =
                content.iter().enumerate().map(|(at, byte)| if (end / 2..end).contains(&at) { !byte } else { *byte });
            std::fs::write(path, rotten.collect::<Vec<_>>()).unwrap();
        }
        let refused = verify();
        assert_eq!(refused.status.code(), Some(4), "{part}: {}", refused.stdout);
        assert!(refused.stdout.contains(&format!("NOT usable: {code}")), "{part}: {}", refused.stdout);
        let start = run(&directory, &[]);
        assert!(!start.status.success() && start.stderr.contains(code), "{part}: {}", start.stderr);
        for (path, content) in whole {
            std::fs::write(path, content).unwrap();
        }
    }
    assert!(verify().status.success());
    server.resume();
    let client = server.connect().await;
    assert_eq!(client.query_one("SELECT n FROM v", &[]).await.unwrap().get::<_, i64>(0), 101);
}

/// A restart reads state back while it serves: what was damaged meanwhile must still be found, and end the server.
#[tokio::test]
async fn state_that_rotted_while_the_server_was_down_ends_it_with_the_file_and_the_offset() {
    let mut server = Server::with(CONFIG);
    let client = server.connect().await;
    client.batch_execute("CREATE TABLE t (id BIGINT PRIMARY KEY, text VARCHAR)").await.unwrap();
    let rows = |from: usize| (from..from + 4000).map(|id| format!("({id}, 'this is row {id} of many')"));
    for from in [0, 4000] {
        client
            .batch_execute(&format!("INSERT INTO t VALUES {}", rows(from).collect::<Vec<_>>().join(", ")))
            .await
            .unwrap();
    }
    client.batch_execute("CHECKPOINT").await.unwrap();
    server.crash();
    server.resume();
    let client = server.connect().await;
    let read = client.query_one("SELECT count(*), min(text) FROM t", &[]).await.unwrap();
    assert_eq!((read.get::<_, i64>(0), read.get::<_, &str>(1)), (8000, "this is row 0 of many"));
    server.crash();

    let needle = b"this is row 5432 of many";
    let mut damaged = None;
    for entry in std::fs::read_dir(server.data_dir().join("state")).unwrap() {
        let path = entry.unwrap().path();
        let mut content = std::fs::read(&path).unwrap();
        if let Some(at) = content.windows(needle.len()).rposition(|window| window == needle) {
            content[at] ^= 0x40;
            std::fs::write(&path, content).unwrap();
            damaged = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        }
    }
    let damaged = damaged.expect("the row lies in some page file");
    server.launch(&[]);
    let code = server.wait().code();
    let log = server.log();
    // The loader may come to it before the server is ready, or after.
    assert!(matches!(code, Some(1 | 4)), "{code:?} {log}");
    for words in ["LDB-1004", damaged.as_str(), "is damaged at offset"] {
        assert!(log.contains(words), "{words} not in {log}");
    }
}
