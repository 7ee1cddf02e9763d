//! What every client of the HTTP side can rely on, asked over a real socket.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::server::{Limits, serve};
use crate::gate::Gate;

const LIMITS: Limits = Limits {
    connections: 4,
    body_bytes: 1024,
    result_rows: 10,
    head_timeout: Duration::from_millis(200),
    request_timeout: Duration::from_secs(5),
};

/// Sends bytes to a server that is still starting and returns everything it answers.
async fn ask(request: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gate = Gate::new();
    let tasks = TaskTracker::new();
    tasks.spawn(serve(listener, gate.clone(), LIMITS, tasks.clone()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset after an answer counts as its end.
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.expect("an end");
    gate.stop().cancel();
    tasks.close();
    tokio::time::timeout(Duration::from_secs(10), tasks.wait()).await.expect("all connections end");
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn health_answers_before_the_server_is_ready() {
    let answer = ask(&get("/health")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = ask(&get("/ready")).await;
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"step\":\"opening the data directory\""),
        "{answer}"
    );
    let answer = ask(&get("/metrics")).await;
    assert!(answer.contains("\nlaminardb_ready 0\n"), "{answer}");
}

#[tokio::test]
async fn every_error_is_problem_json() {
    for (request, status) in [
        (get("/nope"), "404"),
        (get("/api/v1/sql"), "405"),
        (get("/api/v1/pipelines"), "503"),
        (
            "POST /api/v1/sql HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"
                .to_owned(),
            "415",
        ),
        (
            format!(
                "POST /api/v1/sql HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{}",
                "x".repeat(5000)
            ),
            "413",
        ),
    ] {
        let answer = ask(&request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains("content-type: application/problem+json"), "{answer}");
    }
}

#[tokio::test]
async fn other_hosts_and_origins_are_refused() {
    let answer = ask("GET /health HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
    let answer =
        ask("POST /api/v1/checkpoint HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test]
async fn head_that_does_not_end_is_cut() {
    let answer = ask("GET /health HTTP/1.1\r\nHost: loc").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let answer = ask(&format!("GET /health HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(100_000))).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
}
