//! PAUSE and RESUME as a user meets them: over SQL and HTTP, with a kill in between.

use std::io::Write as _;

use crate::process::Server;
use crate::tried::{answer, expect};

#[tokio::test]
async fn paused_view_stands_still_over_a_kill_and_resumes_where_it_was() {
    let mut server = Server::with("[files]\nroots = [\"files\"]\n");
    let files = server.directory().join("files");
    std::fs::create_dir(&files).unwrap();
    let append = |rows: &[i64]| {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(files.join("rows.json")).unwrap();
        rows.iter().for_each(|v| writeln!(file, "{{\"v\": {v}}}").unwrap());
    };
    append(&[]);
    let client = server.connect().await;
    client
        .batch_execute(
            "CREATE SOURCE s (v BIGINT) WITH (connector = 'file', path = 'files/rows.json', format = 'json', follow = 'true');
             CREATE MATERIALIZED VIEW held AS SELECT count(*) AS n, sum(v) AS total FROM s;
             CREATE MATERIALIZED VIEW free AS SELECT count(*) AS n, sum(v) AS total FROM s",
        )
        .await
        .unwrap();
    append(&[1, 2]);
    expect(&client, "SELECT * FROM held", &["2 3"]).await;

    let (status, body) = server.http("POST", "/api/v1/pipelines/held/pause", None);
    assert!(status == 200 && body.contains("paused"), "{body}");
    append(&[10]);
    expect(&client, "SELECT * FROM free", &["3 13"]).await;
    assert_eq!(answer(&client, "SELECT * FROM held").await, "2 3");
    expect(&client, "EXPLAIN WATERMARK held", &["is paused; RESUME held lets it go on"]).await;
    let (_, pipelines) = server.http("GET", "/api/v1/pipelines", None);
    assert!(pipelines.contains("Paused"), "{pipelines}");

    server.crash();
    server.resume();
    let client = server.connect().await;
    append(&[20]);
    expect(&client, "SELECT * FROM free", &["4 33"]).await;
    assert_eq!(answer(&client, "SELECT * FROM held").await, "2 3");
    client.batch_execute("PAUSE held; RESUME held; RESUME held").await.unwrap();
    expect(&client, "SELECT * FROM held", &["4 33"]).await;
    append(&[100]);
    expect(&client, "SELECT * FROM held", &["5 133"]).await;
    let (status, body) = server.http("POST", "/api/v1/pipelines/nope/pause", None);
    assert!(status == 404 && body.contains("nope"), "{body}");
}
