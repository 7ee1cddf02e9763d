//! What drivers rely on: both query protocols, parameters, portals, COPY, cancel, errors with places.

use std::time::{Duration, Instant};

use futures::{SinkExt, TryStreamExt};
use tokio_postgres::types::Type;

use crate::process::Server;

const TABLE: &str = "CREATE TABLE t (id BIGINT NOT NULL, name VARCHAR, price DECIMAL(10,2), PRIMARY KEY (id))";

async fn server() -> (Server, tokio_postgres::Client) {
    let server = Server::start();
    let client = server.connect().await;
    client.batch_execute(TABLE).await.expect("a table");
    (server, client)
}

#[tokio::test]
async fn parameters_are_typed_by_their_use_and_travel_in_binary() {
    let (_server, client) = server().await;
    let insert = client.prepare("INSERT INTO t (id, name) VALUES ($1, $2)").await.unwrap();
    assert_eq!(insert.params(), [Type::INT8, Type::TEXT]);
    assert_eq!(client.execute(&insert, &[&1_i64, &"a"]).await.unwrap(), 1);
    assert_eq!(client.execute(&insert, &[&2_i64, &None::<&str>]).await.unwrap(), 1);
    let rows = client.query("SELECT id, name FROM t WHERE id >= $1 ORDER BY id", &[&1_i64]).await.unwrap();
    let found: Vec<(i64, Option<String>)> = rows.iter().map(|r| (r.get(0), r.get(1))).collect();
    assert_eq!(found, [(1, Some("a".to_owned())), (2, None)]);
}

#[tokio::test]
async fn portal_with_a_row_limit_is_suspended_and_goes_on() {
    let (_server, mut client) = server().await;
    client.batch_execute("INSERT INTO t (id) VALUES (1), (2), (3), (4), (5)").await.unwrap();
    let transaction = client.transaction().await.unwrap();
    let portal = transaction.bind("SELECT id FROM t ORDER BY id", &[]).await.unwrap();
    let mut found: Vec<i64> = Vec::new();
    for expected in [2, 2, 1] {
        let rows = transaction.query_portal(&portal, 2).await.unwrap();
        assert_eq!(rows.len(), expected);
        found.extend(rows.iter().map(|r| r.get::<_, i64>(0)));
    }
    assert_eq!(found, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn error_has_sqlstate_position_and_leaves_the_connection_usable() {
    let (_server, client) = server().await;
    let error = client.simple_query("SELECT nope FROM t").await.unwrap_err();
    let error = error.as_db_error().expect("an error of the server");
    assert_eq!(error.code().code(), "42703", "{error:?}");
    let error = client.simple_query("SELEC 1").await.unwrap_err();
    let error = error.as_db_error().expect("an error of the server");
    assert_eq!(error.code().code(), "42601", "{error:?}");
    assert!(error.position().is_some(), "{error:?}");
    assert!(client.prepare("SELECT nope FROM t").await.is_err());
    assert_eq!(client.query("SELECT id FROM t", &[]).await.unwrap().len(), 0);
}

#[tokio::test]
async fn failed_transaction_refuses_everything_until_it_is_rolled_back() {
    let (_server, client) = server().await;
    client.batch_execute("BEGIN").await.unwrap();
    assert!(client.simple_query("SELECT nope FROM t").await.is_err());
    let error = client.simple_query("SELECT 1").await.unwrap_err();
    assert_eq!(error.code().map(|c| c.code()), Some("25P02"));
    client.batch_execute("ROLLBACK").await.unwrap();
    assert!(client.simple_query("SELECT 1").await.is_ok());
    // Also where no statement was executed, or the rows of one fail.
    client.batch_execute("INSERT INTO t (id, name) VALUES (1, 'a')").await.unwrap();
    for failing in ["SELEKT 1", "SELECT 1 / (x - 1) FROM (VALUES (1)) AS v (x)"] {
        client.batch_execute("BEGIN; INSERT INTO t (id, name) VALUES (2, 'b')").await.unwrap();
        assert!(client.simple_query(failing).await.is_err());
        let error = client.simple_query("SELECT 1").await.unwrap_err();
        assert_eq!(error.code().map(|c| c.code()), Some("25P02"), "{failing}");
        client.batch_execute("COMMIT").await.unwrap();
    }
    let count = client.query_one("SELECT count(*) FROM t", &[]).await.unwrap();
    assert_eq!(count.get::<_, i64>(0), 1, "the COMMIT of a failed transaction rolls it back");
}

#[tokio::test]
async fn copy_in_is_all_or_nothing() {
    let (_server, client) = server().await;
    let sink = client.copy_in("COPY t FROM STDIN").await.unwrap();
    futures::pin_mut!(sink);
    sink.send(bytes::Bytes::from_static(b"1\ta\t1.50\n2\t\\N\t\\N\n")).await.unwrap();
    assert_eq!(sink.finish().await.unwrap(), 2);
    let sink = client.copy_in("COPY t FROM STDIN").await.unwrap();
    futures::pin_mut!(sink);
    sink.send(bytes::Bytes::from_static(b"3\tc\t1\nnot a number\td\t1\n")).await.unwrap();
    let error = sink.finish().await.unwrap_err();
    assert!(error.as_db_error().is_some_and(|e| e.message().contains("line 2")), "{error:?}");
    let rows = client.query("SELECT count(*) AS n FROM t", &[]).await.unwrap();
    assert_eq!(rows[0].get::<_, i64>(0), 2);
}

#[tokio::test]
async fn subscription_is_copied_out_as_it_changes_and_can_be_cancelled() {
    let (server, client) = server().await;
    client.batch_execute("INSERT INTO t (id, name) VALUES (1, 'a')").await.unwrap();
    let subscriber = server.connect().await;
    let lines = subscriber.copy_out("COPY (SUBSCRIBE t) TO STDOUT").await.unwrap();
    futures::pin_mut!(lines);
    let first = lines.try_next().await.unwrap().expect("the snapshot");
    assert!(String::from_utf8_lossy(&first).contains("\t1\ta\t"), "{first:?}");
    client.batch_execute("INSERT INTO t (id, name) VALUES (2, 'b')").await.unwrap();
    let second = lines.try_next().await.unwrap().expect("a change");
    assert!(String::from_utf8_lossy(&second).contains("\t2\tb\t"), "{second:?}");
    subscriber.cancel_token().cancel_query(tokio_postgres::NoTls).await.unwrap();
    let error = loop {
        match lines.try_next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a subscription does not end by itself"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code().map(|c| c.code()), Some("57014"), "{error}");
    metric(&server, "laminardb_subscriptions 0").await;
}

/// Waits until a metric has a value.
async fn metric(server: &Server, line: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !server.http("GET", "/metrics", None).1.lines().any(|l| l == line) {
        assert!(Instant::now() < deadline, "never {line}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn subscriber_that_reads_too_slowly_gets_what_waits_and_then_the_reason() {
    let server = Server::with("[state]\nsubscription_limit = \"64 KiB\"\n");
    let client = server.connect().await;
    client.batch_execute(TABLE).await.unwrap();
    let subscriber = server.connect().await;
    let lines = subscriber.copy_out("COPY (SUBSCRIBE t) TO STDOUT").await.unwrap();
    futures::pin_mut!(lines);
    metric(&server, "laminardb_subscriptions 1").await;
    // The sockets between hold some megabytes.
    let (mut inserted, text) = (0_i64, "x".repeat(100_000));
    while !server.http("GET", "/metrics", None).1.contains("laminardb_subscriptions_cut_off_total 1") {
        assert!(inserted < 2_000, "{inserted} rows of 100 kB wait for a client that does not read");
        inserted += 1;
        client.batch_execute(&format!("INSERT INTO t (id, name) VALUES ({inserted}, '{text}')")).await.unwrap();
    }
    metric(&server, "laminardb_subscriptions 0").await;
    let mut read = 0;
    let error = loop {
        match lines.try_next().await {
            Ok(Some(line)) => {
                read += 1;
                let line = String::from_utf8_lossy(&line);
                assert_eq!(line.split('\t').nth(2), Some(read.to_string().as_str()), "row {read}");
            }
            Ok(None) => panic!("the end of a subscription has a reason"),
            Err(error) => break error,
        }
    };
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "54000", "{error:?}");
    assert!(error.message().contains("too slowly"), "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("subscription_limit")), "{error:?}");
    assert!(read > 0 && read < inserted, "{read} of {inserted} rows were read");
    metric(&server, "laminardb_subscription_waiting_bytes 0").await;
}

#[tokio::test]
async fn change_behind_a_snapshot_above_the_limit_reaches_a_client_that_reads_late() {
    let server = Server::with("[state]\nsubscription_limit = \"64 KiB\"\n");
    let client = server.connect().await;
    client.batch_execute(TABLE).await.unwrap();
    // More than the sockets between hold.
    let text = "x".repeat(100_000);
    for first in (0..500).step_by(10) {
        let rows: Vec<String> = (first..first + 10).map(|id| format!("({id}, '{text}')")).collect();
        client.batch_execute(&format!("INSERT INTO t (id, name) VALUES {}", rows.join(", "))).await.unwrap();
    }
    let subscriber = server.connect().await;
    let lines = subscriber.copy_out("COPY (SUBSCRIBE t) TO STDOUT").await.unwrap();
    futures::pin_mut!(lines);
    lines.try_next().await.unwrap().expect("the snapshot");
    client.batch_execute("INSERT INTO t (id, name) VALUES (500, 'b')").await.unwrap();
    let waiting = server.figure("laminardb_subscription_waiting_bytes");
    assert!(waiting > 1e6, "{waiting} bytes of the snapshot wait for a client that does not read");
    for _ in 1..500 {
        lines.try_next().await.unwrap().expect("the snapshot");
    }
    let last = lines.try_next().await.unwrap().expect("a change");
    assert!(String::from_utf8_lossy(&last).contains("\t500\tb\t"), "{last:?}");
    metric(&server, "laminardb_subscription_waiting_bytes 0").await;
}

#[tokio::test]
async fn other_database_is_refused() {
    let server = Server::start();
    let config = format!("host=127.0.0.1 port={} user=test dbname=postgres", server.pgwire.port());
    let error = tokio_postgres::connect(&config, tokio_postgres::NoTls).await.err().expect("a refusal");
    assert_eq!(error.code().map(|c| c.code()), Some("3D000"));
}

#[tokio::test]
async fn client_is_told_the_settings_that_drivers_parse() {
    let server = Server::start();
    let config = format!("host=127.0.0.1 port={} user=test dbname=laminardb", server.pgwire.port());
    let (client, connection) = tokio_postgres::connect(&config, tokio_postgres::NoTls).await.unwrap();
    for (name, value) in [
        ("server_encoding", "UTF8"),
        ("integer_datetimes", "on"),
        ("standard_conforming_strings", "on"),
        ("TimeZone", "UTC"),
    ] {
        assert_eq!(connection.parameter(name), Some(value));
    }
    assert!(connection.parameter("server_version").is_some_and(|v| v.starts_with("15.")));
    drop(client);
}

#[tokio::test]
async fn http_answers_the_same_sql() {
    let (server, _client) = server().await;
    let ask = |sql: &str| server.http("POST", "/api/v1/sql", Some(&serde_json::json!({ "sql": sql }).to_string()));
    let (status, body) = ask("INSERT INTO t (id, name, price) VALUES (1, 'a', 1.50)");
    assert_eq!(status, 200, "{body}");
    let (status, body) = ask("SELECT id, name, price FROM t");
    assert_eq!(status, 200, "{body}");
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["rows"], serde_json::json!([[1, "a", "1.50"]]));
    assert_eq!(answer["tag"], "SELECT 1");
    let (status, body) = ask("SELECT nope FROM t");
    let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &problem["sqlstate"]), (400, &serde_json::json!("42703")), "{body}");
}
