//! The handshake: encryption requests, cancel requests, who and which database.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};
use pgwire::messages::startup::NegotiateProtocolVersion;
use tokio::io::{AsyncRead, AsyncWrite};

use super::fault::Fault;
use super::wire::Wire;

/// The one database.
const DATABASE: &str = "laminardb";

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// What a client wants.
#[derive(Debug)]
pub enum Hello {
    /// A session.
    Session {
        /// Who; anyone may come in over loopback.
        user: String,
        /// Settings to begin with.
        settings: BTreeMap<String, String>,
    },
    /// To cancel what another connection is doing.
    Cancel((i32, i32)),
}

/// Reads packets until the client has said what it wants.
///
/// # Errors
/// An impossible packet, another protocol, or another database.
pub async fn greet<S: AsyncRead + AsyncWrite + Unpin>(wire: &mut Wire<S>) -> Result<Hello, Fault> {
    // Each kind of encryption may be asked for once before the start-up message.
    for _ in 0..3 {
        let mut packet = wire.startup_packet().await?;
        match packet.get_u32() {
            SSL_REQUEST | GSS_REQUEST if packet.is_empty() => {
                if wire.has_input() {
                    // Bytes sent before our answer could be injected by a man in the middle.
                    return Err(Fault::fatal("08P01", "received unencrypted data after an encryption request"));
                }
                wire.byte(b'N').await?;
            }
            CANCEL_REQUEST if packet.len() == 8 => return Ok(Hello::Cancel((packet.get_i32(), packet.get_i32()))),
            version if version >> 16 == 3 => return session(wire, version & 0xffff, packet),
            version => {
                let (major, minor) = (version >> 16, version & 0xffff);
                return Err(Fault::fatal(
                    "0A000",
                    format!("unsupported frontend protocol {major}.{minor}: server supports 3.0"),
                ));
            }
        }
    }
    Err(Fault::fatal("08P01", "too many encryption requests"))
}

fn session<S: AsyncRead + AsyncWrite + Unpin>(wire: &mut Wire<S>, minor: u32, packet: Bytes) -> Result<Hello, Fault> {
    let mut settings = pairs(packet)?;
    let unknown: Vec<String> = settings.keys().filter(|k| k.starts_with("_pq_.")).cloned().collect();
    settings.retain(|k, _| !k.starts_with("_pq_."));
    if minor > 0 || !unknown.is_empty() {
        wire.put(&NegotiateProtocolVersion::new(0, unknown));
    }
    let Some(user) = settings.remove("user").filter(|u| !u.is_empty()) else {
        return Err(Fault::fatal("28000", "no PostgreSQL user name specified in startup packet"));
    };
    let database = settings.remove("database").filter(|d| !d.is_empty()).unwrap_or_else(|| user.clone());
    if database != DATABASE {
        return Err(Fault::fatal("3D000", format!("database \"{database}\" does not exist"))
            .hint("the one database is `laminardb`: add `-d laminardb`"));
    }
    if settings.remove("replication").is_some_and(|r| !matches!(r.as_str(), "false" | "off" | "no" | "0")) {
        return Err(Fault::fatal("0A000", "replication connections are not supported").hint("use SUBSCRIBE"));
    }
    if let Some(options) = settings.remove("options") {
        settings.extend(command_line(&options));
    }
    Ok(Hello::Session { user, settings })
}

/// Name and value texts up to an empty name.
fn pairs(mut packet: Bytes) -> Result<BTreeMap<String, String>, Fault> {
    let malformed = || Fault::fatal("08P01", "invalid startup packet layout");
    let mut text = || {
        let end = packet.iter().position(|b| *b == 0).ok_or_else(malformed)?;
        let text = packet.split_to(end);
        packet.advance(1);
        String::from_utf8(text.to_vec()).map_err(|_| malformed())
    };
    let mut pairs = BTreeMap::new();
    loop {
        let name = text()?;
        if name.is_empty() {
            break;
        }
        pairs.insert(name, text()?);
    }
    if packet.is_empty() { Ok(pairs) } else { Err(malformed()) }
}

/// `-c name=value` and `--name=value` out of the `options` setting.
fn command_line(options: &str) -> Vec<(String, String)> {
    let mut words = options.split_whitespace();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let pair = match word.strip_prefix("-c") {
            Some("") => words.next().unwrap_or_default(),
            Some(joined) => joined,
            None => word.strip_prefix("--").unwrap_or_default(),
        };
        if let Some((name, value)) = pair.split_once('=') {
            settings.push((name.replace('-', "_"), value.to_owned()));
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn hello(bytes: &[u8]) -> (Result<Hello, Fault>, Vec<u8>) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut client, server) = tokio::io::duplex(1 << 16);
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let mut wire = Wire::new(server, 1 << 20);
        let hello = greet(&mut wire).await;
        wire.close().await;
        drop(wire);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        (hello, answer)
    }

    fn packet(code: u32, body: &[u8]) -> Vec<u8> {
        let mut packet = ((body.len() + 8) as u32).to_be_bytes().to_vec();
        packet.extend(code.to_be_bytes());
        packet.extend(body);
        packet
    }

    const V3: u32 = 3 << 16;

    #[tokio::test]
    async fn session_carries_user_and_settings() {
        let (hello, _) = hello(&packet(V3, b"user\0ada\0database\0laminardb\0options\0-c a=1 --b-c=2\0\0")).await;
        let Ok(Hello::Session { user, settings }) = hello else { panic!("{hello:?}") };
        assert_eq!(user, "ada");
        assert_eq!(settings.into_iter().collect::<Vec<_>>(), [("a".into(), "1".into()), ("b_c".into(), "2".into())]);
    }

    #[tokio::test]
    async fn other_databases_are_refused_with_3d000() {
        for body in [&b"user\0ada\0\0"[..], b"user\0ada\0database\0postgres\0\0"] {
            let (hello, _) = hello(&packet(V3, body)).await;
            assert!(matches!(hello, Err(Fault::Fatal(e)) if e.sqlstate == "3D000"));
        }
    }

    #[tokio::test]
    async fn encryption_is_declined_and_newer_protocols_are_negotiated_down() {
        let (result, answer) = hello(&packet(SSL_REQUEST, b"")).await;
        assert!(matches!(result, Err(Fault::Gone)));
        assert_eq!(answer, b"N");
        let (result, answer) = hello(&packet(V3 | 2, b"user\0a\0database\0laminardb\0_pq_.x\x001\0\0")).await;
        assert!(result.is_ok());
        assert_eq!(answer, b"v\0\0\0\x13\0\0\0\0\0\0\0\x01_pq_.x\0");
    }

    #[tokio::test]
    async fn random_packets_end_in_an_error_or_a_close() {
        let mut rng = fastrand::Rng::with_seed(11);
        for _ in 0..2_000 {
            let length = rng.usize(0..64);
            let mut bytes: Vec<u8> = (0..length).map(|_| rng.u8(..)).collect();
            if rng.bool() && bytes.len() >= 8 {
                bytes[..4].copy_from_slice(&(length as u32).to_be_bytes());
                bytes[4..8]
                    .copy_from_slice(&rng.choice([V3, V3 | 2, SSL_REQUEST, CANCEL_REQUEST]).unwrap().to_be_bytes());
            }
            let (result, _) = hello(&bytes).await;
            assert!(result.is_err() || bytes.len() >= 8);
        }
    }
}
