//! EXPLAIN WATERMARK answers "why is there no output?": in each case the cause and what to do.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::process::Server;

const SOURCE: &str = "CREATE SOURCE s (v BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND";
const WINDOWS: &str =
    "SELECT window_start, count(*) AS n FROM s GROUP BY TUMBLE(ts, INTERVAL '10' SECOND) EMIT ON WINDOW CLOSE";

/// The answer, one line a row: object, split, watermark, reason.
async fn explained(client: &Client, object: &str) -> String {
    let messages = client.simple_query(&format!("EXPLAIN WATERMARK {object}")).await.unwrap();
    let line = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            let words: Vec<&str> = (0..row.len()).map(|i| row.get(i).unwrap_or("NULL")).collect();
            Some(words.join(" | "))
        }
        _ => None,
    };
    messages.iter().filter_map(line).collect::<Vec<_>>().join("\n")
}

/// Asks until the answer holds all the words.
async fn expect(client: &Client, object: &str, words: &[&str]) {
    let began = Instant::now();
    loop {
        let answer = explained(client, object).await;
        let missing: Vec<&&str> = words.iter().filter(|word| !answer.contains(**word)).collect();
        if missing.is_empty() {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{missing:?} not in\n{answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn with_view(idle: &str) -> (Server, Client) {
    let server = Server::start();
    let client = server.connect().await;
    client.batch_execute(&format!("{SOURCE} {idle})")).await.unwrap();
    client.batch_execute(&format!("CREATE MATERIALIZED VIEW w AS {WINDOWS}")).await.unwrap();
    (server, client)
}

#[tokio::test]
async fn empty_partition_is_named_with_the_time_until_it_is_left_out() {
    let server = Server::with("[files]\nroots = [\"files\"]\n");
    let files = server.directory().join("files");
    std::fs::create_dir(&files).unwrap();
    std::fs::write(files.join("full.json"), "{\"v\": 1, \"ts\": \"2026-01-01 00:00:30\"}\n").unwrap();
    std::fs::write(files.join("empty.json"), "").unwrap();
    let client = server.connect().await;
    let source = format!(
        "{SOURCE} IDLE AFTER INTERVAL '1' HOUR) WITH (connector = 'file', path = 'files', format = 'json', follow = 'true')"
    );
    client.batch_execute(&source).await.unwrap();
    client.batch_execute(&format!("CREATE MATERIALIZED VIEW w AS {WINDOWS}")).await.unwrap();
    expect(
        &client,
        "w",
        &[
            "empty.json | NULL | holds time back: no row has come from it yet",
            "silent for 3600 s (IDLE AFTER in WATERMARK FOR)",
            "full.json | 2026-01-01 00:00:29",
        ],
    )
    .await;
}

#[tokio::test]
async fn quiet_source_says_that_time_stands_still_and_how_to_move_it() {
    let (_server, client) = with_view("IDLE AFTER INTERVAL '1' SECOND").await;
    client.batch_execute("INSERT INTO s VALUES (1, '2026-01-01 00:00:01')").await.unwrap();
    expect(
        &client,
        "w",
        &["w | NULL | 2026-01-01 00:00:00 | 1 rows have arrived, none late", "only a row with a newer time"],
    )
    .await;
    let words =
        ["silent, the newest row came", "time stands still and windows stay open", "ADVANCE WATERMARK FOR s TO"];
    expect(&client, "w", &words).await;
    // What it says works.
    client.batch_execute("ADVANCE WATERMARK FOR s TO '2026-01-01 00:01:00'").await.unwrap();
    let began = Instant::now();
    while client.query("SELECT n FROM w", &[]).await.unwrap().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(30), "{}", explained(&client, "w").await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn far_future_row_is_refused_counted_and_moves_no_time() {
    let (_server, client) = with_view("").await;
    client.batch_execute("INSERT INTO s VALUES (1, '2026-01-01 00:00:01'), (2, '2999-01-01 00:00:00')").await.unwrap();
    expect(
        &client,
        "w",
        &[
            "1 rows have arrived",
            "1 rows were left out: their times lie too far ahead",
            "correct the sender's clock",
            "max_future",
            "2026-01-01 00:00:00",
        ],
    )
    .await;
}

#[tokio::test]
async fn late_rows_only_says_that_all_were_late_and_what_to_raise() {
    let (_server, client) = with_view("").await;
    client.batch_execute("ADVANCE WATERMARK FOR s TO '2026-01-01 01:00:00'").await.unwrap();
    client.batch_execute("INSERT INTO s VALUES (1, '2026-01-01 00:00:01'), (2, '2026-01-01 00:00:11')").await.unwrap();
    expect(
        &client,
        "w",
        &["all 2 rows were late", "raise the delay in WATERMARK FOR", "ALLOW LATENESS", "2026-01-01 01:00:00"],
    )
    .await;
}

#[tokio::test]
async fn view_created_after_the_rows_says_that_it_does_not_see_them() {
    let (_server, client) = with_view("").await;
    client.batch_execute("INSERT INTO s VALUES (1, '2026-01-01 00:00:01')").await.unwrap();
    expect(&client, "w", &["1 rows have arrived"]).await;
    client.batch_execute(&format!("CREATE MATERIALIZED VIEW later AS {WINDOWS}")).await.unwrap();
    let words = [
        "no row has arrived since it was created or the server started, and rows from before are not seen",
        "send rows again",
    ];
    expect(&client, "later", &words).await;
}
