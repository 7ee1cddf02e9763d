//! Conservation (N1): each line of a file is in a result, or in one counter that says why it is not.

use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::process::Server;

const LINES: usize = 20_000;

/// How many lines of each fate were written; the others reach the window, where some are late.
#[derive(Debug, Default)]
struct Written {
    malformed: u64,
    timeless: u64,
    far: u64,
    filtered: u64,
    failing: u64,
}

/// Lines of all fates in a seeded order. Time rises by 10 ms a line; the delay of the watermark is 1 s, a window 10 s.
fn lines(seed: u64) -> (String, Written) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut text, mut written) = (String::new(), Written::default());
    for line in 0..LINES {
        let at = 60_000 + line as i64 * 10;
        let mut row = |name: &str, v: i64, d: i64, at: Option<i64>| {
            let time = at.map_or("null".to_owned(), |ms| {
                format!(
                    "\"2026-01-01 {:02}:{:02}:{:02}.{:03}\"",
                    ms / 3_600_000,
                    ms / 60_000 % 60,
                    ms / 1000 % 60,
                    ms % 1000
                )
            });
            writeln!(text, "{{\"k\": {name}, \"v\": {v}, \"d\": {d}, \"ts\": {time}}}").unwrap();
        };
        match rng.u32(0..20) {
            0 => {
                row("\"a\"", 1, 1, Some(at));
                text.truncate(text.len() - 5);
                text.push('\n');
                written.malformed += 1;
            }
            1 => {
                row("null", 1, 1, Some(at));
                written.malformed += 1;
            }
            2 => {
                row("\"a\"", 1, 1, None);
                written.timeless += 1;
            }
            3 => {
                text.push_str("{\"k\": \"a\", \"v\": 1, \"d\": 1, \"ts\": \"2226-01-01 00:00:00\"}\n");
                written.far += 1;
            }
            4 => {
                row("\"b\"", 3, 1, Some(at));
                written.filtered += 1;
            }
            5 => {
                row("\"b\"", 1, 0, Some(at));
                written.failing += 1;
            }
            // The first lines bring time forward.
            6 if line > 1_000 => {
                row("\"c\"", 1, 1, Some(rng.i64(0..50_000)));
            }
            _ => row("\"c\"", 1, 5, Some(at)),
        }
    }
    (text, written)
}

struct Metrics(String);

impl Metrics {
    /// The sum of a metric over the samples whose labels hold a word.
    fn of(&self, name: &str, word: &str) -> u64 {
        let head = format!("laminardb_{name}_total{{");
        let lines = self.0.lines().filter(|line| line.starts_with(&head) && line.contains(word));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum()
    }

    /// Rows that an operator of the view took, and where they went.
    fn of_operator(&self, node: &str) -> [u64; 5] {
        ["rows_in", "rows_out", "rows_filtered", "rows_evaluation_failed", "rows_late_dropped"]
            .map(|name| self.of(&format!("operator_{name}"), &format!("pipeline=\"w\",node=\"{node}\"")))
    }
}

#[tokio::test]
async fn each_line_is_in_a_result_or_in_the_counter_that_says_why_not() {
    let server = Server::with("[files]\nroots = [\"files\"]\n");
    let files = server.directory().join("files");
    std::fs::create_dir(&files).unwrap();
    let (text, written) = lines(26);
    std::fs::write(files.join("rows.json"), text).unwrap();
    let client = server.connect().await;
    client
        .batch_execute(
            "CREATE SOURCE s (k VARCHAR NOT NULL, v BIGINT, d BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
               WITH (connector = 'file', path = 'files/rows.json', format = 'json', follow = 'true');
             CREATE MATERIALIZED VIEW w AS SELECT k, window_start, count(*) AS n, sum(10 / d) AS share
               FROM s WHERE v <> 3 GROUP BY k, TUMBLE(ts, INTERVAL '10' SECOND);
             CREATE SINK copies FROM w WITH (connector = 'file', path = 'files/copies.json', format = 'json', envelope = 'changelog')",
        )
        .await
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let metrics = Metrics(server.http("GET", "/metrics", None).1);
        let counted =
            client.query_one("SELECT coalesce(sum(n), 0)::BIGINT FROM w", &[]).await.unwrap().get::<_, i64>(0);
        let copies = std::fs::read_to_string(files.join("copies.json")).unwrap_or_default().lines().count() as u64;
        let source = ["rows", "rows_malformed", "rows_null_time", "rows_far_future"]
            .map(|name| metrics.of(&format!("source_{name}"), "source=\"s\""));
        let rows = LINES as u64 - written.malformed - written.timeless - written.far;
        let (filtered, judged) = (rows - written.filtered, rows - written.filtered - written.failing);
        let window = metrics.of_operator("4");
        let found = (
            source,
            metrics.of_operator("1"),
            metrics.of_operator("2"),
            window[0],
            window[4] + counted as u64,
            (window[1], copies),
        );
        let wanted = (
            [rows, written.malformed, written.timeless, written.far],
            [rows, filtered, written.filtered, 0, 0],
            [filtered, judged, 0, written.failing, 0],
            judged,
            judged,
            (metrics.of("sink_rows", "copies"), metrics.of("sink_rows", "copies")),
        );
        if found == wanted && window[4] > 0 && copies > 0 {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?} is not {wanted:?}\n{}", metrics.0);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
