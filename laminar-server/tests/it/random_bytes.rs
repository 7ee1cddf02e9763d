//! Any byte sequence ends in a protocol error or the close of that one connection.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::Server;

const STARTUP: &[u8] = b"\0\0\0\x28\0\x03\0\0user\0test\0database\0laminardb\0\0";

fn startup() -> Vec<u8> {
    let mut packet = STARTUP.to_vec();
    let length = (packet.len() as u32).to_be_bytes();
    packet[..4].copy_from_slice(&length);
    packet
}

/// Sends bytes and waits for the end of the connection.
async fn send(server: &Server, bytes: &[u8]) {
    let mut stream = TcpStream::connect(server.pgwire).await.expect("a connection");
    // The server may close before all is written.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "the connection does not end after {bytes:?}");
}

fn message(rng: &mut fastrand::Rng) -> Vec<u8> {
    let tag = *rng.choice(b"QPBDECSHdcfXpFzR\0\xff").unwrap_or(&b'Q');
    let length = rng.usize(0..40);
    let body: Vec<u8> = (0..length).map(|_| if rng.bool() { rng.u8(0..4) } else { rng.u8(..) }).collect();
    let announced = if rng.u8(0..4) == 0 { rng.u32(..) } else { length as u32 + 4 };
    [&[tag][..], &announced.to_be_bytes(), &body].concat()
}

#[tokio::test]
async fn random_bytes_before_and_after_the_startup_end_only_their_own_connection() {
    let server = Server::start();
    let witness = server.connect().await;
    let mut rng = fastrand::Rng::with_seed(2024);
    for _ in 0..150 {
        let raw: Vec<u8> = (0..rng.usize(0..200)).map(|_| rng.u8(..)).collect();
        send(&server, &raw).await;
    }
    for _ in 0..300 {
        let mut bytes = startup();
        for _ in 0..rng.usize(1..6) {
            bytes.extend(message(&mut rng));
        }
        send(&server, &bytes).await;
    }
    let rows = witness.simple_query("SELECT 1").await.expect("the server lives");
    assert!(!rows.is_empty());
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[tokio::test]
async fn message_above_the_limit_is_refused_without_being_read() {
    let server = Server::with("max_message = \"64 KiB\"\n");
    let mut stream = TcpStream::connect(server.pgwire).await.unwrap();
    stream.write_all(&startup()).await.unwrap();
    stream.write_all(b"Q\x7f\xff\xff\xff").await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.expect("an end").unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("max_message"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn client_that_says_nothing_is_cut() {
    let server = Server::with("startup_timeout = \"200 ms\"\n");
    let mut stream = TcpStream::connect(server.pgwire).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.expect("an end").unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("no startup message"), "{answer:?}");
}

#[tokio::test]
async fn connection_beyond_the_limit_is_told_so() {
    let server = Server::with("max_connections = 1\n");
    let _first = server.connect().await;
    let config = format!("host=127.0.0.1 port={} user=test dbname=laminardb", server.pgwire.port());
    let refused = tokio_postgres::connect(&config, tokio_postgres::NoTls).await;
    let error = refused.err().expect("a refusal");
    assert_eq!(error.code().map(|c| c.code().to_owned()), Some("53300".to_owned()), "{error}");
}
