//! Rows over HTTP: a body is taken whole or not at all, and what is answered survives a kill.

use crate::process::Server;
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
