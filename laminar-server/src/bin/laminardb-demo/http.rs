//! As much of an HTTP client as the demo needs: one request a connection, JSON and text answers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::Failure;

const LIMIT: Duration = Duration::from_secs(5);

/// The rows that a statement answers with.
///
/// # Errors
/// The server is away, or refuses the statement.
pub fn sql(server: SocketAddr, statement: &str) -> Result<Vec<Vec<Value>>, Failure> {
    let body = serde_json::json!({ "sql": statement }).to_string();
    let request = format!(
        "POST /api/v1/sql HTTP/1.1\r\nHost: {server}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    let answer: Value = serde_json::from_str(&exchange(server, &request)?)?;
    let rows = answer["rows"].as_array().ok_or_else(|| format!("the server answers {answer}"))?;
    Ok(rows.iter().map(|row| row.as_array().cloned().unwrap_or_default()).collect())
}

/// The text of a resource.
///
/// # Errors
/// The server is away.
pub fn get(server: SocketAddr, path: &str) -> Result<String, Failure> {
    exchange(server, &format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n"))
}

/// Sends a request and returns the body of the answer.
fn exchange(server: SocketAddr, request: &str) -> Result<String, Failure> {
    let mut stream = TcpStream::connect_timeout(&server, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8(answer)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("the answer has no end of its head")?;
    let chunked = head.lines().any(|line| line.eq_ignore_ascii_case("transfer-encoding: chunked"));
    if chunked { joined(body) } else { Ok(body.to_string()) }
}

/// The body of a chunked answer.
fn joined(mut chunks: &str) -> Result<String, Failure> {
    let mut body = String::new();
    loop {
        let (size, rest) = chunks.split_once("\r\n").ok_or("a chunk has no size")?;
        let size = usize::from_str_radix(size.trim(), 16)?;
        if size == 0 {
            return Ok(body);
        }
        body.push_str(rest.get(..size).ok_or("a chunk is short")?);
        chunks = rest.get(size + 2..).ok_or("a chunk has no end")?;
    }
}
