//! Exactly-once sinks into files and PostgreSQL: whatever is killed when, each row is there once.
//!
//! Rows are inserted all the time; the server is killed at random moments, PostgreSQL too. In the end the
//! target holds what the view holds. A sink that sent a checkpoint twice, or dropped one, fails here: the
//! tables and files of copies have nothing that would hide a second arrival.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::NoTls;

use crate::cluster::{Cluster, PASSWORD, USER};
use crate::process::Server;
use crate::tried::{answer, expect};

const KILLS: u32 = 10;
const WRITERS: u64 = 3;
const PATIENCE: Duration = Duration::from_secs(60);

const CONFIG: &str = "\n[checkpoint]\ninterval = \"100 ms\"\n[files]\nroots = [\"files\"]\n";

const DEFINE: &str = "
    CREATE SOURCE s (id BIGINT);
    CREATE STREAM copies AS SELECT id FROM s;
    CREATE MATERIALIZED VIEW all_rows AS SELECT id FROM s;
    CREATE MATERIALIZED VIEW totals AS SELECT id % 50 AS k, count(*) AS n, sum(id) AS total FROM s GROUP BY id % 50;
    CREATE MATERIALIZED VIEW odd AS SELECT id % 50 AS k, count(*) AS n FROM s GROUP BY id % 50 HAVING count(*) % 2 = 1;";

/// Rows that were answered, and the next number.
#[derive(Default)]
struct Told {
    next: AtomicU64,
    answered: AtomicU64,
}

/// Inserts rows until the connection breaks.
async fn write(client: tokio_postgres::Client, told: Arc<Told>) {
    loop {
        let id = told.next.fetch_add(2, Ordering::SeqCst);
        match client.simple_query(&format!("INSERT INTO s VALUES ({id}), ({})", id + 1)).await {
            Ok(_) => told.answered.fetch_add(2, Ordering::SeqCst),
            Err(error) => {
                assert!(error.is_closed() || error.code().is_none(), "the server refuses a row: {error}");
                return;
            }
        };
    }
}

/// Kills the server at random moments while rows come; `in_round` does more harm.
async fn harass(server: &mut Server, seed: u64, mut in_round: impl FnMut(u32)) -> u64 {
    let told = Arc::new(Told::default());
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..KILLS {
        let mut writers = Vec::new();
        for _ in 0..WRITERS {
            writers.push(tokio::spawn(write(server.connect().await, told.clone())));
        }
        let before = told.answered.load(Ordering::SeqCst);
        let (began, moment) = (Instant::now(), Duration::from_millis(random.u64(50..500)));
        let harm = moment.mul_f64(random.f64());
        let mut harmed = false;
        while began.elapsed() < moment || told.answered.load(Ordering::SeqCst) == before {
            assert!(began.elapsed() < PATIENCE, "round {round}: INSERTs are not answered\n{}", server.log());
            if !harmed && began.elapsed() >= harm {
                in_round(round);
                harmed = true;
            }
            tokio::task::yield_now().await;
        }
        server.crash();
        for writer in writers {
            writer.await.unwrap();
        }
        server.resume();
    }
    told.answered.load(Ordering::SeqCst)
}

/// Waits until two lists are equal.
async fn await_equal(what: &str, server: &Server, mut lists: impl AsyncFnMut() -> (Vec<String>, Vec<String>)) {
    let began = Instant::now();
    loop {
        let (found, wanted) = lists().await;
        if found == wanted {
            return;
        }
        if began.elapsed() > PATIENCE {
            let differ = found.iter().zip(&wanted).position(|(a, b)| a != b).unwrap_or(found.len().min(wanted.len()));
            let (_, sinks) = server.http("GET", "/api/v1/sinks", None);
            panic!(
                "{what}: {} rows, {} wanted; at {differ}: {:?}, {:?}\n{sinks}",
                found.len(),
                wanted.len(),
                found.get(differ),
                wanted.get(differ)
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_row_is_once_in_the_final_files_whatever_is_killed_when() {
    let mut server = Server::with(CONFIG);
    std::fs::create_dir(server.directory().join("files")).unwrap();
    let client = server.connect().await;
    client.batch_execute(DEFINE).await.unwrap();
    client
        .batch_execute(
            "CREATE SINK out FROM copies WITH (connector = 'file', path = 'files/out', format = 'csv', delivery = 'exactly_once')",
        )
        .await
        .unwrap();
    let answered = harass(&mut server, 7, |_| {}).await;
    let client = server.connect().await;
    let out = server.directory().join("files/out");
    let finals = || {
        let entries = out.read_dir().unwrap().map(|entry| entry.unwrap());
        let finals = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
        finals.map(|entry| std::fs::read_to_string(entry.path()).unwrap()).collect::<Vec<_>>()
    };
    await_equal("files", &server, async || {
        let mut ids: Vec<String> = finals().iter().flat_map(|text| lines(text)).collect();
        ids.sort_by_key(|id| id.parse::<u64>().unwrap());
        (ids, lines(&answer(&client, "SELECT id FROM all_rows ORDER BY id").await))
    })
    .await;
    assert!(finals().iter().all(|text| text.ends_with('\n')), "every final file is whole");
    assert!(finals().len() > KILLS as usize, "commits were under way: {}", finals().len());
    let count: u64 = answer(&client, "SELECT count(*) FROM all_rows").await.parse().unwrap();
    assert!(count >= answered && answered > 100, "{count} rows, {answered} answered");
}

/// A client of the target.
async fn target(cluster: &Cluster) -> tokio_postgres::Client {
    let mut config = tokio_postgres::Config::new();
    config.host(cluster.host()).user(USER).password(PASSWORD).dbname("postgres");
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn sink(name: &str, from: &str, cluster: &Cluster, more: &str) -> String {
    format!(
        "CREATE SINK {name} FROM {from} WITH (connector = 'postgres', host = '{}', database = 'postgres', user = '{USER}', \
         password = '{PASSWORD}', table = '{from}'{more});",
        cluster.host()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_postgres_equal_the_views_whatever_is_killed_when() {
    let mut cluster = Cluster::start();
    let tables = "CREATE TABLE copies (id bigint); CREATE TABLE totals (k bigint PRIMARY KEY, n bigint, total numeric);
         CREATE TABLE odd (n bigint, k bigint PRIMARY KEY)";
    target(&cluster).await.batch_execute(tables).await.unwrap();
    let mut server = Server::with(CONFIG);
    let client = server.connect().await;
    client.batch_execute(DEFINE).await.unwrap();
    let (exactly, upsert) = (", delivery = 'exactly_once'", ", delivery = 'exactly_once', envelope = 'upsert'");
    for (from, more) in [("copies", exactly), ("totals", upsert), ("odd", upsert)] {
        client.batch_execute(&sink(&format!("to_{from}"), from, &cluster, more)).await.unwrap();
    }
    let answered = harass(&mut server, 11, |round| {
        if round == 3 || round == 6 {
            cluster.restart_immediately();
        }
    })
    .await;
    let (client, target) = (server.connect().await, target(&cluster).await);
    for (there, here) in [
        ("SELECT id FROM copies ORDER BY id", "SELECT id FROM all_rows ORDER BY id"),
        ("SELECT k, n, total FROM totals ORDER BY k", "SELECT k, n, total FROM totals ORDER BY k"),
        ("SELECT k, n FROM odd ORDER BY k", "SELECT k, n FROM odd ORDER BY k"),
    ] {
        await_equal(there, &server, async || {
            (lines(&answer(&target, there).await), lines(&answer(&client, here).await))
        })
        .await;
    }
    let count: u64 = answer(&client, "SELECT count(*) FROM all_rows").await.parse().unwrap();
    assert!(count >= answered && answered > 100, "{count} rows, {answered} answered");
    // Each start took over; commits happened in between.
    let lives = answer(&target, "SELECT min(life), count(checkpoint) FROM laminardb_progress").await;
    let (life, markers) = lives.split_once(' ').unwrap();
    assert!(life.parse::<u32>().unwrap() > KILLS / 2 && markers == "3", "{lives}");
    let commits = answer(&target, "SELECT count(DISTINCT xmin::text) FROM copies").await;
    assert!(commits.parse::<u32>().unwrap() > KILLS, "commits were under way: {commits}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_that_postgres_refuses_is_shown_in_its_words_and_arrives_when_the_table_takes_it() {
    let cluster = Cluster::start();
    let target = target(&cluster).await;
    target.batch_execute("CREATE TABLE copies (id smallint)").await.unwrap();
    let server = Server::with(CONFIG);
    let client = server.connect().await;
    client.batch_execute(DEFINE).await.unwrap();
    client.batch_execute(&sink("often", "copies", &cluster, "")).await.unwrap();
    client.batch_execute(&sink("once", "copies", &cluster, ", delivery = 'exactly_once'")).await.unwrap();
    client.batch_execute("INSERT INTO s VALUES (1), (100000)").await.unwrap();
    let shown = |words: &str| {
        let (_, sinks) = server.http("GET", "/api/v1/sinks", None);
        (sinks.matches(words).count(), sinks)
    };
    let began = Instant::now();
    while shown("LDB-6606: table \\\"copies\\\" of postgres refuses rows (22003: ").0 < 2 {
        assert!(began.elapsed() < PATIENCE, "{}", shown("").1);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(answer(&target, "SELECT count(*) FROM copies").await, "0");
    target.batch_execute("ALTER TABLE copies ALTER COLUMN id TYPE bigint").await.unwrap();
    expect(&target, "SELECT id, count(*) FROM copies GROUP BY id ORDER BY id", &["1 2\n100000 2"]).await;
    let began = Instant::now();
    while shown("LDB-").0 > 0 {
        assert!(began.elapsed() < PATIENCE, "{}", shown("").1);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (_, sinks) = shown("");
    let made = answer(&client, "SHOW CREATE SINK once").await;
    assert!(!sinks.contains(PASSWORD) && !made.contains(PASSWORD) && made.contains("postgres"), "{made}\n{sinks}");
}
