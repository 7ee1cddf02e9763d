//! Recorded traffic of psql, psycopg, SQLAlchemy and JDBC, said again to the real server.
//!
//! `scripts/record-traffic.py` writes the files: what the client sent, a message a line, an empty line
//! between connections. Nothing but the messages of a client is kept, so the answers are judged here: the
//! rows that must be among them, and the errors that may.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::process::Server;

/// What the server said to one client program.
#[derive(Default)]
struct Heard {
    /// Rows, their columns joined by a bar; NULL and binary values as such.
    rows: Vec<String>,
    /// SQLSTATE and message.
    errors: Vec<String>,
    /// Command tags.
    tags: Vec<String>,
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex")).collect()
}

/// Reads one message: its type and body.
fn message(server: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 5];
    server.read_exact(&mut head).expect("an answer of the server");
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let mut body = vec![0; length - 4];
    server.read_exact(&mut body).expect("a whole message");
    (head[0], body)
}

fn row(body: &[u8]) -> String {
    let count = i16::from_be_bytes([body[0], body[1]]);
    let mut rest = &body[2..];
    let mut columns = Vec::new();
    for _ in 0..count {
        let length = i32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]);
        rest = &rest[4..];
        let Ok(length) = usize::try_from(length) else {
            columns.push("NULL".to_owned());
            continue;
        };
        let (value, after) = rest.split_at(length);
        let text = std::str::from_utf8(value).ok().filter(|text| !text.contains('\0'));
        columns.push(text.map_or_else(|| "binary".to_owned(), str::to_owned));
        rest = after;
    }
    columns.join("|")
}

fn field(body: &[u8], wanted: u8) -> String {
    let fields = body.split(|b| *b == 0);
    let mut found =
        fields.filter(|f| f.first() == Some(&wanted)).map(|f| String::from_utf8_lossy(&f[1..]).into_owned());
    found.next_back().unwrap_or_default()
}

/// Reads until the server waits for the client: ready, or for the rows of a COPY.
fn listen(server: &mut TcpStream, heard: &mut Heard) {
    loop {
        match message(server) {
            (b'Z' | b'G', _) => return,
            (b'D', body) => heard.rows.push(row(&body)),
            (b'E', body) => heard.errors.push(format!("{} {}", field(&body, b'C'), field(&body, b'M'))),
            (b'C', body) => heard.tags.push(String::from_utf8_lossy(&body).trim_end_matches('\0').to_owned()),
            _ => {}
        }
    }
}

/// Says all conversations of a file, one connection after the other.
fn replay(recorded: &str) -> Heard {
    let server = Server::start();
    let mut heard = Heard::default();
    for conversation in recorded.split("\n\n").filter(|text| !text.trim().is_empty()) {
        let mut connection = TcpStream::connect(server.pgwire).expect("a connection");
        connection.set_read_timeout(Some(Duration::from_secs(60))).expect("a deadline");
        for line in conversation.lines() {
            let (kind, hex) = line.split_once(' ').expect("a type and a message");
            connection.write_all(&bytes(hex)).expect("a write");
            // The startup, a simple query, a sync, the end of a COPY: the client waits for the answer.
            if matches!(kind, "-" | "Q" | "S" | "c" | "f") {
                listen(&mut connection, &mut heard);
            }
        }
    }
    heard
}

fn judge(recorded: &str, rows: &[&str], tags: &[&str], errors: &[&str]) {
    let heard = replay(recorded);
    let unexpected: Vec<_> = heard.errors.iter().filter(|e| !errors.iter().any(|known| e.contains(known))).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    assert_eq!(heard.errors.len(), errors.len(), "{:#?}", heard.errors);
    for wanted in rows {
        assert!(heard.rows.iter().any(|row| row == wanted), "no row {wanted} among {:#?}", heard.rows);
    }
    for wanted in tags {
        assert!(heard.tags.iter().any(|tag| tag == wanted), "no {wanted} among {:?}", heard.tags);
    }
}

#[test]
fn psql_is_served_as_recorded() {
    judge(
        include_str!("../traffic/psql.txt"),
        &["1|one", "2|two", "both", "public|shelf|table|traffic"],
        &["CREATE TABLE", "INSERT 0 2", "ROLLBACK", "COPY 1"],
        &["42703"],
    );
}

#[test]
fn psycopg_is_served_as_recorded() {
    judge(
        include_str!("../traffic/psycopg.txt"),
        &["one|1.50", "4", "traffic"],
        &["CREATE TABLE", "INSERT 0 1", "COMMIT", "COPY 1", "ROLLBACK"],
        &["42703"],
    );
}

#[test]
fn sqlalchemy_is_served_as_recorded() {
    judge(
        include_str!("../traffic/sqlalchemy.txt"),
        &["1|one", "2|two", "id|bigint|NULL|t|alchemy|NULL||NULL|NULL"],
        &["CREATE TABLE", "COMMIT"],
        &[],
    );
}

#[test]
fn jdbc_is_served_as_recorded() {
    judge(
        include_str!("../traffic/jdbc.txt"),
        &["bean 2|1.50", "NULL|public|beans|TABLE|NULL|||||", "3"],
        &["CREATE TABLE", "INSERT 0 1", "ROLLBACK"],
        &["42703"],
    );
}
