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
/// Rows that are answered in each round at least.
const ANSWERS: u64 = 12;
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

/// Waits until the target holds more than it did.
async fn await_more(server: &Server, round: u32, arrived: &impl AsyncFn() -> Option<i64>) {
    let (mut before, began) = (None, Instant::now());
    loop {
        let now = arrived().await;
        if before.is_some() && now > before {
            return;
        }
        before = before.or(now);
        let (_, sinks) = server.http("GET", "/api/v1/sinks", None);
        assert!(began.elapsed() < PATIENCE, "round {round}: nothing arrives\n{sinks}\n{}", server.log());
    }
}

/// Kills the server at random moments while rows come: in every other round soon after the target has
/// moved on, else soon after some answers. `harm` may do more to the target, somewhere in the middle of a round;
/// then the server is killed when it has found the target again.
async fn harass(
    server: &mut Server,
    seed: u64,
    arrived: impl AsyncFn() -> Option<i64>,
    mut harm: impl FnMut(u32) -> bool,
) -> u64 {
    let told = Arc::new(Told::default());
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..KILLS {
        let (answered, began) = (told.answered.load(Ordering::SeqCst), Instant::now());
        let mut writers = Vec::new();
        for _ in 0..WRITERS {
            writers.push(tokio::spawn(write(server.connect().await, told.clone())));
        }
        if round % 2 == 0 {
            await_more(server, round, &arrived).await;
        }
        while told.answered.load(Ordering::SeqCst) < answered + ANSWERS {
            assert!(began.elapsed() < PATIENCE, "round {round}: INSERTs are not answered\n{}", server.log());
            tokio::task::yield_now().await;
        }
        let (began, moment) = (Instant::now(), Duration::from_millis(random.u64(20..400)));
        let middle = moment.mul_f64(random.f64());
        let mut harmed = None;
        while began.elapsed() < moment {
            if harmed.is_none() && began.elapsed() >= middle {
                harmed = Some(harm(round));
            }
            tokio::task::yield_now().await;
        }
        if harmed == Some(true) {
            await_more(server, round, &arrived).await;
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
    let out = server.directory().join("files/out");
    let finals = || {
        let entries = out.read_dir().into_iter().flatten().map(|entry| entry.unwrap());
        let finals = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
        finals.map(|entry| std::fs::read_to_string(entry.path()).unwrap()).collect::<Vec<_>>()
    };
    let answered = harass(&mut server, 7, async || Some(finals().len() as i64), |_| false).await;
    let client = server.connect().await;
    await_equal("files", &server, async || {
        let mut ids: Vec<String> = finals().iter().flat_map(|text| lines(text)).collect();
        ids.sort_by_key(|id| id.parse::<u64>().unwrap());
        (ids, lines(&answer(&client, "SELECT id FROM all_rows ORDER BY id").await))
    })
    .await;
    assert!(finals().iter().all(|text| text.ends_with('\n')), "every final file is whole");
    assert!(finals().len() >= KILLS as usize / 2, "commits were under way: {}", finals().len());
    let count: u64 = answer(&client, "SELECT count(*) FROM all_rows").await.parse().unwrap();
    assert!(count >= answered && answered >= ANSWERS * u64::from(KILLS), "{count} rows, {answered} answered");
}

/// A client of the target.
async fn connect(host: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config.host(host).user(USER).password(PASSWORD).dbname("postgres");
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn target(cluster: &Cluster) -> tokio_postgres::Client {
    connect(&cluster.host()).await.unwrap()
}

/// How many rows have arrived; nothing while PostgreSQL is away.
async fn arrived(host: &str) -> Option<i64> {
    let client = connect(host).await.ok()?;
    Some(client.query_one("SELECT count(*) FROM copies", &[]).await.ok()?.get(0))
}

/// How often the only sink of PostgreSQL has begun.
const LIFE: &str = "SELECT life FROM laminardb_progress";

/// A copy of the data directory of a server that has stopped.
fn copied(server: &Server, place: &std::path::Path) -> std::path::PathBuf {
    let data = place.join("data");
    let copied = std::process::Command::new("cp").arg("-a").arg(server.data_dir()).arg(&data).status().unwrap();
    assert!(copied.success());
    data
}

fn sink(table: &str, from: &str, cluster: &Cluster, more: &str) -> String {
    format!(
        "CREATE SINK to_{table} FROM {from} WITH (connector = 'postgres', host = '{}', database = 'postgres', user = '{USER}', \
         password = '{PASSWORD}', table = '{table}'{more});",
        cluster.host()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_postgres_equal_the_views_whatever_is_killed_when() {
    let mut cluster = Cluster::start();
    let tables = "CREATE TABLE copies (id bigint); CREATE TABLE totals (k bigint PRIMARY KEY, n bigint, total numeric);
         CREATE TABLE odd (n bigint, k bigint PRIMARY KEY); CREATE TABLE often (LIKE totals INCLUDING ALL)";
    target(&cluster).await.batch_execute(tables).await.unwrap();
    let mut server = Server::with(CONFIG);
    let client = server.connect().await;
    client.batch_execute(DEFINE).await.unwrap();
    let (exactly, upsert) = (", delivery = 'exactly_once'", ", delivery = 'exactly_once', envelope = 'upsert'");
    for (from, more) in [("copies", exactly), ("totals", upsert), ("odd", upsert)] {
        client.batch_execute(&sink(from, from, &cluster, more)).await.unwrap();
    }
    client.batch_execute(&sink("often", "totals", &cluster, ", envelope = 'upsert'")).await.unwrap();
    let host = cluster.host();
    let answered = harass(
        &mut server,
        11,
        async || arrived(&host).await,
        |round| {
            let restart = round == 3 || round == 6;
            if restart {
                cluster.restart_immediately();
            }
            restart
        },
    )
    .await;
    let (client, target) = (server.connect().await, target(&cluster).await);
    for (there, here) in [
        ("SELECT id FROM copies ORDER BY id", "SELECT id FROM all_rows ORDER BY id"),
        ("SELECT k, n, total FROM totals ORDER BY k", "SELECT k, n, total FROM totals ORDER BY k"),
        // At least once: rows may arrive twice, but each is the row of its key.
        ("SELECT k, n, total FROM often ORDER BY k", "SELECT k, n, total FROM totals ORDER BY k"),
        ("SELECT k, n FROM odd ORDER BY k", "SELECT k, n FROM odd ORDER BY k"),
    ] {
        await_equal(there, &server, async || {
            (lines(&answer(&target, there).await), lines(&answer(&client, here).await))
        })
        .await;
    }
    let count: u64 = answer(&client, "SELECT count(*) FROM all_rows").await.parse().unwrap();
    assert!(count >= answered && answered >= ANSWERS * u64::from(KILLS), "{count} rows, {answered} answered");
    // Each start took over; commits happened in between.
    let lives = answer(&target, "SELECT max(life), count(checkpoint) FROM laminardb_progress").await;
    let (life, markers) = lives.split_once(' ').unwrap();
    assert!(life.parse::<u32>().unwrap() >= KILLS / 2 && markers == "3", "{lives}");
    let commits = answer(&target, "SELECT count(DISTINCT xmin::text) FROM copies").await;
    assert!(commits.parse::<u32>().unwrap() >= KILLS / 2, "commits were under way: {commits}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_that_postgres_refuses_is_shown_in_its_words_and_arrives_when_the_table_takes_it() {
    let cluster = Cluster::start();
    let target = target(&cluster).await;
    target.batch_execute("CREATE TABLE often (id smallint); CREATE TABLE once (id smallint)").await.unwrap();
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
    while shown("\\\" of postgres refuses rows (22003: ").0 < 2 {
        assert!(began.elapsed() < PATIENCE, "{}", shown("").1);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(shown("LDB-6606: table").0 == 2, "{}", shown("").1);
    for table in ["often", "once"] {
        assert_eq!(answer(&target, &format!("SELECT count(*) FROM {table}")).await, "0");
        target.batch_execute(&format!("ALTER TABLE {table} ALTER COLUMN id TYPE bigint")).await.unwrap();
        expect(&target, &format!("SELECT id FROM {table} ORDER BY id"), &["1\n100000"]).await;
    }
    let began = Instant::now();
    while shown("LDB-").0 > 0 {
        assert!(began.elapsed() < PATIENCE, "{}", shown("").1);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Where statements are shown, the password is not.
    let queried = sink("queried", "s", &cluster, "").replace("FROM s", "AS SELECT id FROM s");
    client.batch_execute(&queried).await.unwrap();
    expect(&client, "SHOW CREATE SINK to_queried", &["password = '***'", "table = 'queried'"]).await;
    for what in ["to_queried".to_string(), queried.replace("to_queried", "other")] {
        let plan = answer(&client, &format!("EXPLAIN (FORMAT JSON) {what}")).await;
        assert!(plan.contains("\"password\": \"***\"") && !plan.contains(PASSWORD), "{plan}");
    }
    for path in ["sinks", "pipelines"] {
        let (status, body) = server.http("GET", &format!("/api/v1/{path}"), None);
        assert!(status == 200 && body.contains("queried") && !body.contains(PASSWORD), "{path}: {body}");
    }
    assert!(!server.log().contains(PASSWORD), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_of_a_sink_decides_whether_rows_are_replaced_or_added() {
    let cluster = Cluster::start();
    let target = target(&cluster).await;
    target
        .batch_execute("CREATE TABLE replaced (id bigint PRIMARY KEY); CREATE TABLE added (id bigint)")
        .await
        .unwrap();
    let server = Server::with(CONFIG);
    let client = server.connect().await;
    client.batch_execute(DEFINE).await.unwrap();
    for (table, more) in [("replaced", ", key = 'id'"), ("added", ", key = '', delivery = 'exactly_once'")] {
        client.batch_execute(&sink(table, "copies", &cluster, more)).await.unwrap();
    }
    client.batch_execute("INSERT INTO s VALUES (1), (2), (1)").await.unwrap();
    expect(&target, "SELECT id FROM added ORDER BY id", &["1\n1\n2"]).await;
    expect(&target, "SELECT id FROM replaced ORDER BY id", &["1\n2"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copy_of_a_data_directory_takes_the_sinks_over_unless_it_is_behind_their_targets() {
    let cluster = Cluster::start();
    let target = target(&cluster).await;
    target.batch_execute("CREATE TABLE copies (id bigint)").await.unwrap();
    let files = tempfile::tempdir().unwrap();
    let config = CONFIG.replace("\"files\"", &format!("\"{}\"", files.path().display()));
    let mut original = Server::with(&config);
    let client = original.connect().await;
    client.batch_execute(DEFINE).await.unwrap();
    client.batch_execute(&sink("copies", "copies", &cluster, ", delivery = 'exactly_once'")).await.unwrap();
    let out = files.path().join("out");
    let parts = format!(
        "CREATE SINK parts FROM copies WITH (connector = 'file', path = '{}', format = 'csv', delivery = 'exactly_once')",
        out.display()
    );
    client.batch_execute(&parts).await.unwrap();
    let written = || {
        // The sink makes the directory when it begins.
        let entries = out.read_dir().into_iter().flatten().map(|entry| entry.unwrap().path());
        let entries = entries.filter(|path| path.is_file());
        let mut rows: Vec<String> = entries.flat_map(|path| lines(&std::fs::read_to_string(path).unwrap())).collect();
        rows.sort();
        rows
    };
    let arrive = async |server: &Server, rows: &[&str]| {
        await_equal("files", server, async || (written(), rows.iter().map(ToString::to_string).collect())).await;
        expect(&target, "SELECT id FROM copies ORDER BY id", &[&rows.join("\n")]).await;
    };
    client.batch_execute("INSERT INTO s VALUES (1)").await.unwrap();
    arrive(&original, &["1"]).await;
    assert_eq!(original.stop().code(), Some(0), "{}", original.log());
    let place = tempfile::tempdir().unwrap();
    let data = copied(&original, place.path());
    original.resume();
    original.connect().await.batch_execute("INSERT INTO s VALUES (2)").await.unwrap();
    arrive(&original, &["1", "2"]).await;
    // The copy knows nothing of row 2, and so less than the targets: it may write neither.
    let copy = Server::in_data_dir(&data, &config);
    let failed = async |server: &Server, code: &str| {
        let began = Instant::now();
        loop {
            let (_, sinks) = server.http("GET", "/api/v1/sinks", None);
            if sinks.matches(code).count() == 2 {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{code}: {sinks}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    failed(&copy, "LDB-3033").await;
    copy.connect().await.batch_execute("INSERT INTO s VALUES (4)").await.unwrap();
    assert_eq!(answer(&copy.connect().await, "SELECT id FROM all_rows ORDER BY id").await, "1\n4");
    // Nor has it taken anything from the original.
    original.connect().await.batch_execute("INSERT INTO s VALUES (3)").await.unwrap();
    arrive(&original, &["1", "2", "3"]).await;
    drop(copy);
    // A copy that knows all that the targets hold takes them over.
    assert_eq!(original.stop().code(), Some(0), "{}", original.log());
    let place = tempfile::tempdir().unwrap();
    let data = copied(&original, place.path());
    let life: u64 = answer(&target, LIFE).await.parse().unwrap();
    original.resume();
    // Its sinks have begun; it is the copy that comes later.
    expect(&target, LIFE, &[&(life + 1).to_string()]).await;
    let (names, began) = (|| out.read_dir().unwrap().map(|entry| entry.unwrap().file_name()), Instant::now());
    while !names().any(|name| name.to_string_lossy().starts_with('.')) {
        assert!(began.elapsed() < PATIENCE, "{}", original.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let copy = Server::in_data_dir(&data, &config);
    copy.connect().await.batch_execute("INSERT INTO s VALUES (5)").await.unwrap();
    arrive(&copy, &["1", "2", "3", "5"]).await;
    original.connect().await.batch_execute("INSERT INTO s VALUES (6)").await.unwrap();
    failed(&original, "a copy of this data directory runs elsewhere").await;
    arrive(&copy, &["1", "2", "3", "5"]).await;
}
