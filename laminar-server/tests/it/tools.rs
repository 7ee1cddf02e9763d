//! Real tools against the real server: psql, if this machine has it.

use std::process::Command;

use crate::process::Server;

/// Runs psql commands; none = there is no psql here.
fn psql(server: &Server, commands: &[&str]) -> Option<(bool, String)> {
    let mut command = Command::new("psql");
    command.args(["-X", "-h", "127.0.0.1", "-U", "test", "-d", "laminardb", "-p", &server.pgwire.port().to_string()]);
    command.args(["-v", "ON_ERROR_STOP=1"]);
    for one in commands {
        command.args(["-c", one]);
    }
    let output = command.output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn psql_lists_and_describes_objects() {
    let server = Server::start();
    let made = psql(
        &server,
        &[
            "CREATE TABLE prices (symbol VARCHAR NOT NULL, price DECIMAL(10,2), PRIMARY KEY (symbol))",
            "CREATE SOURCE trades (symbol VARCHAR, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)",
            "CREATE MATERIALIZED VIEW n AS SELECT symbol, count(*) AS n FROM trades GROUP BY symbol",
        ],
    );
    let Some((done, text)) = made else { return };
    assert!(done, "{text}");
    for (command, expected) in [
        ("\\d", &["prices", "trades", "materialized view"][..]),
        ("\\d prices", &["symbol", "numeric(10,2)", "\"prices_pkey\" PRIMARY KEY"]),
        ("\\d+ n", &["bigint", "View definition"]),
        ("\\d trades", &["timestamp(3) without time zone"]),
        ("\\dt", &["prices"]),
        ("\\dm", &["n"]),
        ("\\dv", &[]),
        ("\\l", &["laminardb"]),
        ("\\df lower", &[]),
        ("\\dn", &["public"]),
        ("\\du", &["test"]),
        ("\\x", &["Expanded display is on"]),
        ("\\timing", &["Timing is on"]),
    ] {
        let (done, text) = psql(&server, &[command]).expect("psql");
        assert!(done, "{command}: {text}");
        for part in expected {
            assert!(text.contains(part), "{command} without {part}:\n{text}");
        }
        assert!(!text.contains("ERROR"), "{command}: {text}");
    }
}
