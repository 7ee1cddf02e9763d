//! Things that go wrong in every installation: each has a message that says what to do, and nothing is lost.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::process::{Server, run};

fn check(config: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("laminardb.toml"), config).unwrap();
    let ended = run(directory.path(), &["check"]);
    assert_eq!(ended.status.code(), Some(2), "{}", ended.stdout);
    ended.stderr
}

/// All values of an answer, joined.
pub async fn answer(client: &Client, sql: &str) -> String {
    let messages = client.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|i| row.get(i).unwrap_or("NULL")).collect::<Vec<_>>().join(" "))
        }
        _ => None,
    };
    messages.iter().filter_map(row).collect::<Vec<_>>().join("\n")
}

/// Asks until the answer contains all the words.
pub async fn expect(client: &Client, sql: &str, words: &[&str]) {
    let began = Instant::now();
    loop {
        let found = answer(client, sql).await;
        if words.iter().all(|word| found.contains(word)) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(40), "{sql}: {words:?} not in\n{found}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn unknown_option_of_a_connector_is_found_by_check_with_the_nearest() {
    let stderr = check(
        "[[source]]\nname = \"s\"\nschema = \"k VARCHAR\"\nconnector = \"kafka\"\nformat = \"json\"\n\
         [source.properties]\ntopci = \"t\"\n\"bootstrap.servers\" = \"127.0.0.1:1\"\n",
    );
    assert!(stderr.contains("does not know option 'topci'; did you mean 'topic'?"), "{stderr}");
    assert!(stderr.contains("laminardb.toml:"), "{stderr}");
}

#[test]
fn unsupported_clause_is_found_by_check_at_its_line_with_the_way_out() {
    let stderr = check(
        "[[source]]\nname = \"s\"\nschema = \"k VARCHAR\"\n\
         [[pipeline]]\nname = \"v\"\nsql = \"\"\"\nSELECT k\nFROM s\nORDER BY k\n\"\"\"\n",
    );
    assert!(stderr.contains("ORDER BY in a continuous query is not supported yet"), "{stderr}");
    assert!(stderr.contains("put ORDER BY into the SELECT"), "{stderr}");
    assert!(stderr.contains("laminardb.toml:9:"), "{stderr}");
}

#[tokio::test]
async fn broker_that_is_away_at_start_is_said_and_everything_else_works() {
    // A port that nobody listens on: bound, then given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Server::with(&format!(
        "[[source]]\nname = \"far\"\nschema = \"k VARCHAR\"\nconnector = \"kafka\"\nformat = \"json\"\n\
         [source.properties]\ntopic = \"t\"\n\"bootstrap.servers\" = \"127.0.0.1:{port}\"\n\
         [[source]]\nname = \"near\"\nschema = \"k VARCHAR\"\n\
         [[pipeline]]\nname = \"waits\"\nsql = \"SELECT k, count(*) AS n FROM far GROUP BY k\"\n\
         [[pipeline]]\nname = \"works\"\nsql = \"SELECT k, count(*) AS n FROM near GROUP BY k\"\n"
    ));
    assert_eq!(server.http("GET", "/ready", None).0, 200);
    let client = server.connect().await;
    client.batch_execute("INSERT INTO near VALUES ('a')").await.unwrap();
    assert_eq!(answer(&client, "SELECT * FROM works").await, "a 1");
    expect(&client, "EXPLAIN WATERMARK waits", &["waits for the other system", &format!("127.0.0.1:{port}")]).await;
    let (status, sources) = server.http("GET", "/api/v1/sources", None);
    assert!(status == 200 && sources.contains("aiting"), "{sources}");
}

#[tokio::test]
async fn broker_that_is_away_for_long_holds_up_what_feeds_its_sink_and_nothing_else() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = Server::with("[state]\nsink_limit = \"64 KiB\"\n");
    let client = server.connect().await;
    client
        .batch_execute(&format!(
            "CREATE SOURCE s (k BIGINT, x VARCHAR); CREATE STREAM texts AS SELECT k, x FROM s;
             CREATE SINK out FROM texts WITH (connector = 'kafka', topic = 't', format = 'json',
               \"bootstrap.servers\" = '127.0.0.1:{port}');
             CREATE SOURCE other (k BIGINT); CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM other"
        ))
        .await
        .unwrap();
    let began = Instant::now();
    let refused = loop {
        match client.batch_execute(&format!("INSERT INTO s VALUES (1, '{}')", "x".repeat(10_000))).await {
            Ok(()) => assert!(began.elapsed() < Duration::from_secs(40), "the sink never becomes full"),
            Err(error) => break error,
        }
    };
    let refused = refused.as_db_error().expect("an error of the server").clone();
    assert_eq!(refused.code().code(), "53400", "{refused:?}");
    assert!(refused.message().contains("LDB-3015") || refused.message().contains("waited 10 s"), "{refused:?}");
    assert!(format!("{refused:?}").contains("nothing was written"), "{refused:?}");
    client.batch_execute("INSERT INTO other VALUES (1)").await.unwrap();
    assert_eq!(answer(&client, "SELECT * FROM n").await, "1");
    client.batch_execute("CHECKPOINT").await.unwrap();
    let (_, sinks) = server.http("GET", "/api/v1/sinks", None);
    assert!(sinks.contains("aiting") && sinks.contains(&port.to_string()), "{sinks}");
    assert!(server.stop().success(), "{}", server.log());
}

#[tokio::test]
async fn malformed_records_are_counted_and_the_newest_is_shown_with_its_place() {
    let server = Server::with("[files]\nroots = [\"files\"]\n");
    let files = server.directory().join("files");
    std::fs::create_dir(&files).unwrap();
    std::fs::write(files.join("rows.json"), "{\"v\": 1}\nnot JSON\n{\"v\": 2}\n{\"v\": \"many\"}\n{\"v\": 3}\n")
        .unwrap();
    let client = server.connect().await;
    client
        .batch_execute(
            "CREATE SOURCE s (v BIGINT) WITH (connector = 'file', path = 'files/rows.json', format = 'json', follow = 'true')",
        )
        .await
        .unwrap();
    client.batch_execute("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n, sum(v) AS total FROM s").await.unwrap();
    expect(&client, "SELECT n, total FROM v", &["3 6"]).await;
    let words =
        ["2 rows were left out: they do not decode (malformed)", "files/rows.json, offset 3", "\"many\" is not of"];
    expect(&client, "EXPLAIN WATERMARK v", &words).await;
    let (_, metrics) = server.http("GET", "/metrics", None);
    let counted = |line: &&str| line.starts_with("laminardb_source_rows_malformed_total") && line.ends_with(" 2");
    assert!(metrics.lines().any(|line| counted(&line)), "{metrics}");
}

#[tokio::test]
async fn malformed_records_are_kept_with_place_reason_and_bytes_where_somebody_reads_them() {
    let mut server = Server::with("[files]\nroots = [\"files\"]\n");
    let files = server.directory().join("files");
    std::fs::create_dir(&files).unwrap();
    let rows = files.join("rows.json");
    std::fs::write(&rows, "").unwrap();
    let client = server.connect().await;
    client
        .batch_execute(
            "CREATE SOURCE s (v BIGINT) WITH (connector = 'file', path = 'files/rows.json', format = 'json', follow = 'true');
             CREATE MATERIALIZED VIEW good AS SELECT count(*) AS n, sum(v) AS total FROM s;
             CREATE MATERIALIZED VIEW bad AS SELECT \"offset\", split, reason, CAST(payload AS VARCHAR) AS text
               FROM dead_letters.s",
        )
        .await
        .unwrap();
    std::fs::write(&rows, "{\"v\": 1}\nnot JSON\n{\"v\": 2}\n").unwrap();
    expect(&client, "SELECT * FROM good", &["2 3"]).await;
    expect(&client, "SELECT * FROM bad", &["1 ", "files/rows.json", "not JSON"]).await;
    server.crash();
    server.resume();
    let client = server.connect().await;
    let appended = "{\"v\": 1}\nnot JSON\n{\"v\": 2}\n{\"v\": \"many\"}\n{\"v\": 3}\n";
    std::fs::write(&rows, appended).unwrap();
    expect(&client, "SELECT * FROM good", &["3 6"]).await;
    expect(&client, "SELECT count(*) FROM bad", &["2"]).await;
    let kept = answer(&client, "SELECT text FROM bad ORDER BY \"offset\"").await;
    assert_eq!(kept, "not JSON\n{\"v\": \"many\"}");
    let refused = client.batch_execute("DROP SOURCE s").await.unwrap_err();
    assert!(refused.as_db_error().unwrap().detail().unwrap().contains("bad"), "{refused:?}");
}

/// A small file system of its own.
struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    const BYTES: u64 = 64 << 20;

    /// None where the machine cannot have one: not root, or loop devices are not allowed.
    fn new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(SmallDisk::BYTES).unwrap();
        std::fs::create_dir(directory.path().join("disk")).unwrap();
        let done = |command: &mut Command| command.status().is_ok_and(|status| status.success());
        if !is_root() {
            return None;
        }
        let made = done(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
        let mount = directory.path().join("disk");
        let mounted = made && done(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mount));
        mounted.then_some(Self { directory })
    }

    /// From now on every write fails, as after an error of the device.
    fn fail(&self) {
        assert!(Command::new("mount").args(["-o", "remount,abort"]).arg(self.path()).status().unwrap().success());
    }

    /// As after the disk was mended.
    fn mount_again(&self) {
        let (image, mount) = (self.directory.path().join("image"), self.path());
        assert!(Command::new("umount").arg("-l").arg(&mount).status().unwrap().success());
        assert!(Command::new("mount").args(["-o", "loop"]).args([image, mount]).status().unwrap().success());
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("disk")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim() == "0"
}

/// Fills the disk to its last block.
fn fill(path: &Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path).unwrap();
    for block in [vec![0_u8; 1 << 16], vec![0_u8; 1 << 10]] {
        while file.write_all(&block).is_ok() {}
    }
}

#[tokio::test]
async fn disk_that_fails_ends_the_server_with_the_reason_and_a_start_has_what_was_acknowledged() {
    let Some(disk) = SmallDisk::new() else {
        println!("skipped: a loop device needs root and the right to mount");
        return;
    };
    let mut server = Server::in_data_dir(&disk.path().join("data"), "");
    let client = server.connect().await;
    client.batch_execute("CREATE TABLE t (id BIGINT PRIMARY KEY)").await.unwrap();
    let mut acknowledged = 0;
    let refused = loop {
        if acknowledged == 50 {
            disk.fail();
        }
        match client.batch_execute(&format!("INSERT INTO t VALUES ({acknowledged})")).await {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 10_000, "the disk does not fail");
    };
    let (status, log) = (server.wait(), server.log());
    assert_eq!(status.code(), Some(1), "{refused:?} {log}");
    for words in ["the server ends", "mend the volume of the data directory and start again"] {
        assert!(log.contains(words), "{words} not in {log}");
    }
    disk.mount_again();
    server.resume();
    let client = server.connect().await;
    let rows: usize = answer(&client, "SELECT count(*) FROM t").await.parse().unwrap();
    assert!(rows == acknowledged || rows == acknowledged + 1, "{rows} rows, {acknowledged} acknowledged");
}

/// A row that no frame of the outbox can hold.
#[tokio::test]
async fn row_too_large_for_a_sink_stops_the_sink_with_the_reason_and_nothing_else() {
    let mut server = Server::with("[files]\nroots = [\"files\"]\n");
    std::fs::create_dir(server.directory().join("files")).unwrap();
    let client = server.connect().await;
    client
        .batch_execute(
            "CREATE SOURCE s (x VARCHAR); CREATE STREAM texts AS SELECT x FROM s;
             CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n, max(length(x)) AS longest FROM s;
             CREATE SINK out FROM texts WITH (connector = 'file', path = 'files/out', format = 'json')",
        )
        .await
        .unwrap();
    client.batch_execute(&format!("INSERT INTO s VALUES ('{}')", "x".repeat(5 << 20))).await.unwrap();
    client.batch_execute("INSERT INTO s VALUES ('y')").await.unwrap();
    let failed = |server: &Server| {
        let began = Instant::now();
        loop {
            let (_, sinks) = server.http("GET", "/api/v1/sinks", None);
            if sinks.contains("LDB-3013: the bytes of a row for a sink reached its limit of") {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(40), "{sinks}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    failed(&server);
    let sinks = answer(&client, "SHOW SINKS").await;
    assert!(sinks.starts_with("out file failed: LDB-3013: the bytes of a row for a sink"), "{sinks}");
    assert_eq!(answer(&client, "SELECT * FROM v").await, "2 5242880");
    server.crash();
    server.resume();
    let client = server.connect().await;
    failed(&server);
    client.batch_execute("INSERT INTO s VALUES ('z')").await.unwrap();
    assert_eq!(answer(&client, "SELECT n FROM v").await, "3");
}

#[tokio::test]
async fn full_disk_refuses_inserts_with_53100_and_keeps_what_was_acknowledged() {
    let Some(disk) = SmallDisk::new() else {
        println!("skipped: a loop device needs root and the right to mount");
        return;
    };
    let mut server = Server::in_data_dir(&disk.path().join("data"), "");
    let client = server.connect().await;
    client.batch_execute("CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT, x VARCHAR)").await.unwrap();
    // One row that is replaced again and again: the log grows, the state does not.
    let replace = |n: i64, x: &str| {
        format!("INSERT INTO t VALUES (1, {n}, '{x}') ON CONFLICT (id) DO UPDATE SET n = excluded.n, x = excluded.x")
    };
    client.batch_execute(&replace(1, "first")).await.unwrap();
    let ballast = disk.path().join("ballast");
    fill(&ballast);
    let pad = "x".repeat(100_000);
    let mut acknowledged = 1;
    let refused = loop {
        let insert = replace(acknowledged + 1, &pad);
        let answer = tokio::time::timeout(Duration::from_secs(30), client.simple_query(&insert)).await;
        match answer.expect("an INSERT on a full disk is answered") {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 2_000, "the disk is not full");
    };
    let refused = refused.as_db_error().expect("an error of the server").clone();
    assert_eq!(refused.code().code(), "53100", "{refused:?}");
    assert!(refused.message().contains("no space left"), "{refused:?}");
    let more = format!("{} {}", refused.message(), refused.hint().unwrap_or_default());
    assert!(more.contains("free space"), "{refused:?}");
    // Reads go on.
    assert_eq!(answer(&client, "SELECT n FROM t").await, acknowledged.to_string());
    // With space work resumes by itself.
    std::fs::remove_file(&ballast).unwrap();
    let began = std::time::Instant::now();
    while client.batch_execute(&replace(acknowledged + 1, "again")).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(60), "{}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.crash();
    server.resume();
    let client = server.connect().await;
    assert_eq!(answer(&client, "SELECT n, x FROM t").await, format!("{} again", acknowledged + 1));
}

/// The broker of the process loses its records with it, as retention would while the server is away.
#[tokio::test]
async fn source_whose_offsets_are_gone_stops_after_a_restart_and_what_reads_it_keeps_what_it_had() {
    let kafka = "connector = 'kafka', topic = 't', format = 'json', \"bootstrap.servers\" = 'embedded'";
    let mut server = Server::with("[kafka]\nembedded = true\n");
    let client = server.connect().await;
    client
        .batch_execute(&format!(
            "CREATE SOURCE s (x BIGINT); CREATE STREAM passed AS SELECT x FROM s;
             CREATE SINK out FROM passed WITH ({kafka});
             CREATE SOURCE back (x BIGINT) WITH ({kafka});
             CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM back;
             INSERT INTO s VALUES (1), (2), (3)"
        ))
        .await
        .unwrap();
    expect(&client, "SELECT n FROM v", &["3"]).await;
    client.batch_execute("CHECKPOINT").await.unwrap();
    server.crash();
    server.resume();
    let client = server.connect().await;
    let began = Instant::now();
    let told = loop {
        let (_, sources) = server.http("GET", "/api/v1/sources", None);
        if sources.contains("LDB-6104") {
            break sources;
        }
        assert!(began.elapsed() < Duration::from_secs(40), "{sources}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    for words in ["partition ", "is the next to read and is gone", "Nothing was skipped"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    client
        .batch_execute(&format!(
            "CREATE SOURCE fresh (x BIGINT) WITH ({kafka});
             CREATE MATERIALIZED VIEW seen AS SELECT count(*) AS n FROM fresh;
             INSERT INTO s VALUES (4), (5), (6); CHECKPOINT"
        ))
        .await
        .unwrap();
    // Whoever may read the topic has them, so the one that stopped could have.
    expect(&client, "SELECT n FROM seen", &["3"]).await;
    assert_eq!(answer(&client, "SELECT n FROM v").await, "3");
}
