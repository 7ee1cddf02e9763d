//! Ports: the usual ones where they are free, others where not.

use std::net::{SocketAddr, TcpListener};

/// The two addresses of the server, and what to say about them.
pub struct Addresses {
    /// HTTP.
    pub http: SocketAddr,
    /// PostgreSQL protocol.
    pub pgwire: SocketAddr,
    /// One sentence for each port that was taken.
    pub notes: Vec<String>,
}

/// Chooses both.
///
/// # Errors
/// No port is free on loopback.
pub fn choose() -> std::io::Result<Addresses> {
    let mut notes = Vec::new();
    let http = free(8080, &mut notes)?;
    let pgwire = free(5433, &mut notes)?;
    Ok(Addresses { http, pgwire, notes })
}

fn free(usual: u16, notes: &mut Vec<String>) -> std::io::Result<SocketAddr> {
    if let Ok(listener) = TcpListener::bind(("127.0.0.1", usual)) {
        return listener.local_addr();
    }
    let other = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    notes.push(format!("port {usual} is taken, using {}", other.port()));
    Ok(other)
}
