//! Memory limits of queries as a user meets them: over SQL, HTTP and metrics, with a kill in between.

use std::io::Write as _;

use crate::process::Server;
use crate::tried::{answer, expect};

const ROWS: i64 = 30_000;

fn counted(name: &str, with: &str) -> String {
    format!("CREATE MATERIALIZED VIEW {name} {with} AS SELECT k, count(*) AS n FROM s GROUP BY k;")
}

#[tokio::test]
async fn view_at_its_memory_limit_waits_or_stops_and_goes_on_with_a_higher_one() {
    let mut server = Server::with("[files]\nroots = [\"files\"]\n");
    let files = server.directory().join("files");
    std::fs::create_dir(&files).unwrap();
    let mut file = std::fs::File::create(files.join("rows.json")).unwrap();
    let lines: String = (0..ROWS).map(|k| format!("{{\"k\": {k}}}\n")).collect();
    file.write_all(lines.as_bytes()).unwrap();
    let mut client = server.connect().await;
    let source = "CREATE SOURCE s (k BIGINT) WITH (connector = 'file', path = 'files/rows.json', format = 'json');";
    let waits = counted("waits", "WITH (memory_limit = '1 MiB', memory_policy = 'backpressure')");
    let stops = counted("stops", "WITH (memory_limit = '1MiB')");
    let free = "CREATE MATERIALIZED VIEW free AS SELECT count(*) AS n FROM s";
    // One block, so that all of them read the file from its beginning.
    client.batch_execute(&format!("BEGIN; {source} {waits} {stops} {free}; COMMIT")).await.unwrap();

    expect(&client, "SELECT * FROM free", &[&ROWS.to_string()]).await;
    expect(&client, "SHOW PIPELINES", &["waiting: its state has reached memory_limit", "stopped: LDB-3018"]).await;
    for life in 0..2 {
        expect(&client, "EXPLAIN WATERMARK waits", &["waits since ", "ALTER MATERIALIZED VIEW waits SET"]).await;
        let seen: i64 = answer(&client, "SELECT count(*) FROM waits").await.parse().unwrap();
        assert!(seen > 1000 && seen < ROWS, "{seen} rows are served");
        let refused = client.simple_query("SELECT * FROM stops").await.unwrap_err();
        let refused = format!("{:?}", refused.as_db_error());
        assert!(refused.contains("RESUME stops") && refused.contains("1048576"), "{refused}");
        let (_, pipeline) = server.http("GET", "/api/v1/pipelines/waits", None);
        let shown = |part: &str| assert!(pipeline.contains(part), "{part} not in {pipeline}");
        for part in ["\"memory_limit\":1048576", "\"memory_policy\":\"backpressure\"", "\"memory_full_since\":1"] {
            shown(part);
        }
        let (_, metrics) = server.http("GET", "/metrics", None);
        for line in ["memory_full{pipeline=\"waits\"} 1", "memory_full{pipeline=\"stops\"} 0", "state_bytes{pipeline="]
        {
            assert!(metrics.contains(line), "{line} not in {metrics}");
        }
        if life == 0 {
            server.crash();
            server.resume();
            client = server.connect().await;
        }
    }
    let refused = client.batch_execute("RESUME stops").await.unwrap_err();
    assert_eq!(refused.as_db_error().unwrap().code().code(), "53400", "{refused:?}");
    client
        .batch_execute(
            "ALTER MATERIALIZED VIEW waits SET (memory_limit = '64 MiB');
             ALTER MATERIALIZED VIEW stops SET (memory_limit = '64 MiB'); RESUME stops",
        )
        .await
        .unwrap();
    let all = format!("{ROWS} {ROWS}");
    for view in ["waits", "stops"] {
        expect(&client, &format!("SELECT count(*), sum(n) FROM {view}"), &[&all]).await;
    }
    expect(&client, "SHOW PIPELINES", &["waits materialized view s running", "67108864"]).await;
    expect(&client, "SHOW CREATE waits", &["ALTER MATERIALIZED VIEW \"waits\" SET (memory_limit = '67108864 B'"]).await;
    server.crash();
    server.resume();
    let client = server.connect().await;
    expect(&client, "SELECT count(*), sum(n) FROM stops", &[&all]).await;
}
