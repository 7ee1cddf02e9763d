//! A query that spills, as a user meets it: over SQL, HTTP and metrics, in the memory of the process, with kills.

use std::io::{BufWriter, Write as _};

use crate::process::Server;
use crate::tried::{answer, expect};

const ROWS: u64 = 150_000;
/// Bytes of a value: the state is some forty times the limit.
const VALUE: usize = 1000;
const LIMIT: u64 = 8 << 20;

const FILES: &str = "[files]\nroots = [\"files\"]\n";

/// The view and what it reads.
fn big(limit: u64) -> String {
    format!(
        "BEGIN;
         CREATE SOURCE s (k BIGINT, v VARCHAR) WITH (connector = 'file', path = 'files/rows.json', format = 'json');
         CREATE MATERIALIZED VIEW big WITH (memory_limit = '{limit} B', memory_policy = 'spill') AS
         SELECT k, max(v) AS v FROM s GROUP BY k;
         COMMIT"
    )
}

fn write_rows(server: &Server, rows: u64) {
    let files = server.directory().join("files");
    std::fs::create_dir(&files).unwrap();
    let mut file = BufWriter::new(std::fs::File::create(files.join("rows.json")).unwrap());
    for k in 0..rows {
        writeln!(file, "{{\"k\": {k}, \"v\": \"{}\"}}", value(k)).unwrap();
    }
    file.flush().unwrap();
}

fn value(k: u64) -> String {
    format!("{k:0>VALUE$}")
}

/// Bytes of the process that are no file's: what cannot be dropped.
fn anonymous(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
}

fn metric(server: &Server, name: &str) -> u64 {
    let (_, metrics) = server.http("GET", "/metrics", None);
    let name = format!("laminardb_pipeline_{name}{{pipeline=\"big\"}} ");
    let found = metrics.lines().find_map(|line| line.strip_prefix(&name));
    found.unwrap_or_else(|| panic!("{name} not in {metrics}")).parse::<f64>().unwrap() as u64
}

#[tokio::test]
async fn a_view_many_times_its_limit_stays_small_in_memory_and_is_whole_after_kills() {
    let mut server = Server::with(FILES);
    write_rows(&server, ROWS);
    let mut client = server.connect().await;
    let before = anonymous(&server);
    client.batch_execute(&big(LIMIT)).await.unwrap();
    let sum = (0..ROWS).sum::<u64>();
    for life in 0..3 {
        // What came behind the last checkpoint before the kill is read again.
        expect(&client, "SELECT count(*), sum(k) FROM big", &[&format!("{ROWS} {sum}")]).await;
        expect(&client, "SHOW PIPELINES", &["big materialized view s running"]).await;
        let (state, spilled) = (metric(&server, "state_bytes"), metric(&server, "spilled_bytes"));
        assert!(state > 20 * LIMIT, "{state} bytes of state");
        assert!(state - spilled < LIMIT + LIMIT / 8, "{spilled} of {state} bytes are spilled, life {life}");
        // While it grows, what is decoded, in open epochs and on its way into images comes on top, and the allocator
        // keeps some of that; the lives after show what the state alone needs.
        let bound = if life == 0 { state } else { state / 2 };
        let grown = anonymous(&server).saturating_sub(before);
        assert!(grown < bound, "the process holds {grown} bytes more for {state} of state, life {life}");
        let (_, pipeline) = server.http("GET", "/api/v1/pipelines/big", None);
        for part in ["\"memory_policy\":\"spill\"", "\"spilled_bytes\":", "\"memory_full_since\":null"] {
            assert!(pipeline.contains(part), "{part} not in {pipeline}");
        }
        let k = 777 + life;
        assert_eq!(answer(&client, &format!("SELECT v FROM big WHERE k = {k}")).await, value(k));
        server.crash();
        server.resume();
        client = server.connect().await;
    }
    expect(&client, "SHOW CREATE big", &["memory_policy = 'spill'"]).await;
    client.batch_execute("ALTER MATERIALIZED VIEW big SET (memory_policy = 'backpressure')").await.unwrap();
    expect(&client, "SHOW PIPELINES", &["big materialized view s running"]).await;
}
