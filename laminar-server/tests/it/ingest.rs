//! Rows over HTTP: a body is taken whole or not at all, and what is answered survives a kill.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::process::{Server, ask};
use crate::tried::answer;

const JSON: &str = "application/x-ndjson";

#[tokio::test]
async fn rows_posted_over_http_are_taken_whole_and_survive_a_kill() {
    let mut server = Server::with("");
    let client = server.connect().await;
    client
        .batch_execute(
            "CREATE TABLE t (id BIGINT PRIMARY KEY, x VARCHAR(3) NOT NULL, y DOUBLE);
             CREATE SOURCE s (id BIGINT, x VARCHAR); CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM s",
        )
        .await
        .unwrap();
    let post = |server: &Server, kind: &str, to: &str, body: &str| {
        server.http_as(kind, "POST", &format!("/api/v1/sources/{to}/rows"), body)
    };
    let rows = "{\"id\": 1, \"x\": \"a\", \"y\": 1.5}\n\n{\"id\": 2, \"x\": \"b\", \"more\": [1]}\n";
    assert_eq!(post(&server, JSON, "t", rows), (200, "{\"rows\":2}".to_owned()));
    assert_eq!(post(&server, "text/csv; charset=utf-8", "t", "x,id\r\n\"c,\",3\r\n"), (200, "{\"rows\":1}".to_owned()));
    let quoted = "\"x\",\"id\",\"y\"\n\"l\n2\",6,\nz,7,\"many\"\n";
    let (status, text) = post(&server, "text/csv", "t", quoted);
    assert!(status == 400 && text.contains("line 4: invalid value \\\"many"), "{status} {text}");
    assert_eq!(post(&server, JSON, "s", "{\"id\": 1}"), (200, "{\"rows\":1}".to_owned()));

    let refused = [
        (JSON, "t", "{\"id\": 4, \"x\": \"d\"}\nnot JSON", 400, "line 2: "),
        (JSON, "t", "{\"id\": 4, \"x\": \"d\"}\n{\"id\": 5}", 400, "NOT NULL"),
        (JSON, "t", "{\"id\": 4, \"x\": \"d\"}\n{\"id\": 1, \"x\": \"d\"}", 409, "uplicate"),
        (JSON, "t", "{\"id\": 4, \"x\": \"long\"}", 400, "too long"),
        ("text/csv", "t", "id,nope\n4,d\n", 400, "nope"),
        ("text/csv", "t", "\"a,b\",x\n4,d\n", 400, "a,b"),
        ("text/csv", "t", "", 400, "the first line names the columns"),
        ("text/plain", "t", "4,d", 415, "application/x-ndjson"),
        (JSON, "v", "{\"n\": 4}", 400, "rows cannot be inserted"),
        (JSON, "nope", "{\"n\": 4}", 404, "nope"),
    ];
    for (kind, to, body, status, words) in refused {
        let (found, text) = post(&server, kind, to, body);
        assert!(found == status && text.contains(words), "{to} {body}: {found} {text}");
    }
    server.crash();
    server.resume();
    let client = server.connect().await;
    assert_eq!(answer(&client, "SELECT id, x, y FROM t ORDER BY id").await, "1 a 1.5\n2 b NULL\n3 c, NULL");
    assert_eq!(answer(&client, "SELECT n FROM v").await, "1");
}

/// An Arrow IPC stream of one batch.
fn arrow_stream(columns: Vec<(&str, arrow::array::ArrayRef)>) -> Vec<u8> {
    let batch = arrow::array::RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(&mut bytes, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    bytes
}

#[tokio::test]
async fn an_arrow_stream_is_taken_by_column_name_and_cast_or_refused_whole() {
    use std::sync::Arc;

    use arrow::array::{Int32Array, StringArray};
    let server = Server::with("");
    let client = server.connect().await;
    client.batch_execute("CREATE TABLE t (id BIGINT PRIMARY KEY, x VARCHAR NOT NULL, y DOUBLE)").await.unwrap();
    let post =
        |body: &[u8]| server.http_as("application/vnd.apache.arrow.stream", "POST", "/api/v1/sources/t/rows", body);
    let ids = || -> arrow::array::ArrayRef { Arc::new(Int32Array::from(vec![1, 2, 3])) };
    let texts = |values: [Option<&str>; 3]| -> arrow::array::ArrayRef { Arc::new(StringArray::from(values.to_vec())) };
    let good = arrow_stream(vec![("x", texts([Some("a"), Some("b"), Some("c")])), ("id", ids())]);
    assert_eq!(post(&good), (200, "{\"rows\":3}".to_owned()));
    let refused: [(Vec<u8>, u16, &str); 6] = [
        (good.clone(), 409, "uplicate"),
        (good[..good.len() / 2].to_vec(), 400, "no whole Arrow IPC stream"),
        (b"not Arrow".to_vec(), 400, "no whole Arrow IPC stream"),
        (arrow_stream(vec![("id", texts([Some("8"), Some("9"), Some("many")])), ("x", ids())]), 400, "many"),
        (arrow_stream(vec![("id", ids()), ("nope", ids())]), 400, "nope"),
        (arrow_stream(vec![("id", ids()), ("x", texts([Some("a"), None, None]))]), 400, "NOT NULL"),
    ];
    for (body, status, words) in refused {
        let (found, text) = post(&body);
        assert!(found == status && text.contains(words), "{words}: {found} {text}");
    }
    assert_eq!(answer(&client, "SELECT id, x, y FROM t ORDER BY id").await, "1 a NULL\n2 b NULL\n3 c NULL");
}

/// Posts rows with an idempotency key.
fn post_keyed(address: SocketAddr, to: &str, key: &str, body: &str) -> std::io::Result<(u16, String)> {
    let head = format!("POST /api/v1/sources/{to}/rows HTTP/1.1\r\nContent-Type: {JSON}\r\nIdempotency-Key: {key}");
    ask(address, &head, body.as_bytes())
}

const TWO: (u16, &str) = (200, "{\"rows\":2}");
const TWO_AGAIN: (u16, &str) = (200, "{\"repeated\":true,\"rows\":2}");

#[tokio::test]
async fn requests_without_an_answer_are_sent_again_over_kills_and_are_in_once() {
    let mut server = Server::with("");
    let client = server.connect().await;
    client
        .batch_execute(
            "CREATE TABLE t (id BIGINT PRIMARY KEY); CREATE SOURCE s (id BIGINT);
             CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM s",
        )
        .await
        .unwrap();
    let body = |at: usize| format!("{{\"id\": {}}}\n{{\"id\": {}}}", 2 * at, 2 * at + 1);
    let next = AtomicUsize::new(0);
    for life in 1..=6 {
        let address = server.http;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                loop {
                    let at = next.load(Ordering::SeqCst);
                    for to in ["t", "s"] {
                        let Ok((status, text)) = post_keyed(address, to, &format!("request {at}"), &body(at)) else {
                            return;
                        };
                        assert!(status == 200 && text.contains("\"rows\":2"), "{status} {text}");
                    }
                    next.store(at + 1, Ordering::SeqCst);
                }
            });
            let began = Instant::now();
            while next.load(Ordering::SeqCst) < life * 25 {
                assert!(began.elapsed() < Duration::from_secs(40), "the client gets no further");
                std::thread::sleep(Duration::from_millis(1));
            }
            server.crash();
        });
        server.resume();
    }
    let done = next.load(Ordering::SeqCst);
    for to in ["t", "s"] {
        let again = |at: usize| post_keyed(server.http, to, &format!("request {at}"), &body(at)).unwrap();
        assert_eq!(again(0), (TWO_AGAIN.0, TWO_AGAIN.1.to_owned()), "the first one of all lives, from a checkpoint");
        assert_eq!(again(done - 1), (TWO_AGAIN.0, TWO_AGAIN.1.to_owned()), "the last one that was answered");
        again(done);
    }
    let client = server.connect().await;
    assert_eq!(answer(&client, "SELECT count(*), sum(id) FROM t").await, rows_once(done + 1));
    assert_eq!(answer(&client, "SELECT n FROM v").await, (2 * (done + 1)).to_string());
}

/// Number and sum of the ids of so many requests.
fn rows_once(requests: usize) -> String {
    let rows = 2 * requests;
    format!("{rows} {}", rows * (rows - 1) / 2)
}

#[tokio::test]
async fn one_key_is_taken_once_whoever_sends_it_at_the_same_time_and_another_body_is_refused() {
    let server = Server::with("");
    let client = server.connect().await;
    client.batch_execute("CREATE TABLE t (id BIGINT PRIMARY KEY)").await.unwrap();
    let rows = "{\"id\": 1}\n{\"id\": 2}";
    let address = server.http;
    let clients: Vec<_> =
        (0..8).map(|_| std::thread::spawn(move || post_keyed(address, "t", "a", rows).unwrap())).collect();
    let answers: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let count = |wanted: (u16, &str)| answers.iter().filter(|(s, text)| (*s, text.as_str()) == wanted).count();
    assert_eq!((count(TWO), count(TWO_AGAIN)), (1, 7), "{answers:?}");
    let long = "k".repeat(256);
    let refused = [
        ("a", "{\"id\": 3}", 422, "was used for another request"),
        ("", rows, 400, "1 to 255 printable"),
        (long.as_str(), rows, 400, "not 256 bytes"),
        ("\u{fc}", rows, 400, "printable ASCII"),
        ("a\r\nIdempotency-Key: b", rows, 400, "not more"),
        ("b", "{\"id\": 2}", 409, "uplicate"),
    ];
    for (key, body, status, words) in refused {
        let (found, text) = post_keyed(address, "t", key, body).unwrap();
        assert!(found == status && text.contains(words), "{key}: {found} {text}");
    }
    let (status, text) = post_keyed(address, "t", "b", "{\"id\": 3}").unwrap();
    assert_eq!((status, text.as_str()), (200, "{\"rows\":1}"), "a refused request leaves its key free");
    assert_eq!(answer(&client, "SELECT count(*), sum(id) FROM t").await, "3 6");
}

#[tokio::test]
async fn ready_tells_how_far_the_replay_of_the_log_is_and_so_does_the_log() {
    use std::sync::Arc;

    let mut server = Server::with("[checkpoint]\ninterval = \"1 h\"\n");
    let client = server.connect().await;
    client
        .batch_execute(
            "CREATE SOURCE s (x BIGINT); CREATE MATERIALIZED VIEW v AS SELECT x, count(*) AS n FROM s GROUP BY x",
        )
        .await
        .unwrap();
    let (posts, rows) = (50, 20_000);
    for post in 0..posts {
        let values = arrow::array::Int64Array::from_iter_values(post * rows..(post + 1) * rows);
        let values: arrow::array::ArrayRef = Arc::new(values);
        let body = arrow_stream(vec![("x", values)]);
        let answer = server.http_as("application/vnd.apache.arrow.stream", "POST", "/api/v1/sources/s/rows", &body);
        assert_eq!(answer.0, 200, "{answer:?}");
    }
    server.crash();
    server.launch(&[]);
    let address = server.listening(2);
    let mut seen: Vec<(String, u64, u64)> = Vec::new();
    loop {
        let (status, text) = ask(address, "GET /ready HTTP/1.1", b"").unwrap();
        if status == 200 {
            break;
        }
        assert_eq!(status, 503, "{text}");
        let now: serde_json::Value = serde_json::from_str(&text).unwrap();
        let bytes = |key: &str| now[key].as_u64().unwrap();
        seen.push((now["phase"].as_str().unwrap().to_owned(), bytes("done_bytes"), bytes("total_bytes")));
    }
    let replay: Vec<_> = seen.iter().filter(|(phase, ..)| phase == "replaying_log").collect();
    assert!(replay.iter().any(|(_, done, total)| done < total && *total > (posts * rows * 8) as u64), "{seen:?}");
    assert!(replay.is_sorted_by_key(|(_, done, _)| *done), "{replay:?}");
    server.wait_ready();
    let log = server.log();
    let open = log.lines().rfind(|line| line.contains("data directory open")).unwrap();
    let replayed: u64 = open.split("replayed_bytes=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert_eq!(replayed, replay[0].2, "{open}");
    let client = server.connect().await;
    assert_eq!(answer(&client, "SELECT count(*), sum(n) FROM v").await, format!("{0} {0}", posts * rows));
}

/// A record of the log takes 16 MiB, whatever the rows came in.
#[tokio::test]
async fn rows_that_no_record_of_the_log_takes_are_refused_with_what_to_do_and_none_is_there() {
    use std::sync::Arc;

    let server = Server::with("max_body = \"64 MiB\"\n");
    let client = server.connect().await;
    let columns: String = (0..50).map(|n| format!(", c{n} BIGINT")).collect();
    client.batch_execute(&format!("CREATE TABLE t (id BIGINT PRIMARY KEY, x VARCHAR{columns})")).await.unwrap();
    client.batch_execute(&format!("CREATE SOURCE s (x BIGINT{columns})")).await.unwrap();
    let arrow = |rows: usize| -> Vec<u8> {
        let nulls: arrow::array::ArrayRef = Arc::new(arrow::array::NullArray::new(rows));
        arrow_stream(vec![("x", nulls)])
    };
    // The first is refused by the log itself, which counts its frames too.
    for bytes in [(16 << 20) - 600, 17 << 20] {
        let text = "x".repeat(bytes);
        let refused = client.batch_execute(&format!("INSERT INTO t (id, x) VALUES (1, '{text}')")).await.unwrap_err();
        let refused = refused.as_db_error().expect("an error of the server").clone();
        let told = (refused.code().code(), refused.hint().unwrap_or_default());
        assert!(told.0.starts_with("54") && told.1.contains("in several"), "{told:?}");

        let sink = client.copy_in("COPY t (id, x) FROM STDIN").await.unwrap();
        let mut sink = std::pin::pin!(sink);
        let line = bytes::Bytes::from(format!("1\t{text}\n"));
        futures::SinkExt::send(&mut sink, line).await.unwrap();
        let refused = sink.finish().await.unwrap_err();
        assert_eq!(refused.code().map(tokio_postgres::error::SqlState::code), Some("54000"), "{refused:?}");

        let (first, second) = text.split_at(bytes / 2);
        let lines = format!("{{\"id\": 1, \"x\": \"{first}\"}}\n{{\"id\": 2, \"x\": \"{second}\"}}");
        let (status, told) = post_keyed(server.http, "t", "k", &lines).unwrap();
        assert!(status == 413 && told.contains("send the rows in several"), "{status} {told}");
    }
    let half = "x".repeat(9 << 20);
    let block = format!("BEGIN; INSERT INTO t (id, x) VALUES (1, '{half}')");
    client.batch_execute(&block).await.unwrap();
    let more = format!("INSERT INTO t (id, x) VALUES (2, '{half}')");
    let refused = client.batch_execute(&more).await.unwrap_err();
    assert_eq!(refused.code().map(tokio_postgres::error::SqlState::code), Some("54000"), "{refused:?}");
    client.batch_execute("ROLLBACK").await.unwrap();
    let post = |kind: &str, body: &[u8]| server.http_as(kind, "POST", "/api/v1/sources/s/rows", body);
    // Short lines and announced rows whose missing columns would be gigabytes.
    let (status, told) = post(JSON, "{}\n".repeat(5_000_000).as_bytes());
    assert!(status == 413 && told.contains("send the rows in several"), "{status} {told}");
    for rows in [100_000, 1 << 22, 1 << 27] {
        let (status, told) = post("application/vnd.apache.arrow.stream", &arrow(rows));
        assert!(status == 413 && told.contains("in several"), "{rows}: {status} {told}");
    }
    assert_eq!(answer(&client, "SELECT count(*) FROM t").await, "0");
    assert_eq!(post("application/vnd.apache.arrow.stream", &arrow(1000)), (200, "{\"rows\":1000}".to_owned()));
}
