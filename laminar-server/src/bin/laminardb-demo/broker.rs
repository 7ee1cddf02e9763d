//! The embedded broker as a process of its own.
//!
//! Invariant: it ends when the demo does, however that ends, because its standard input ends then.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use laminar_connector_kafka::EmbeddedBroker;

use crate::Failure;
use crate::market::TOPIC;

/// Partitions of the topics.
pub const PARTITIONS: i32 = 4;

/// The broker process: says its address, then waits for the end of its input.
///
/// # Errors
/// The broker cannot start.
pub fn run() -> Result<(), Failure> {
    let broker = EmbeddedBroker::start()?;
    broker.create_topic(TOPIC, PARTITIONS)?;
    broker.create_topic("ohlc_1m", PARTITIONS)?;
    println!("{}", broker.bootstrap());
    std::io::stdout().flush()?;
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest)?;
    Ok(())
}

/// A running broker process.
pub struct Broker {
    child: Child,
    input: Option<ChildStdin>,
    /// Its address.
    pub address: String,
}

impl Broker {
    /// Starts this program again as a broker.
    ///
    /// # Errors
    /// It cannot start or says no address.
    pub fn start() -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("broker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let input = child.stdin.take();
        let mut address = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut address)?;
        }
        let address = address.trim().to_string();
        if address.is_empty() {
            return Err("the embedded broker did not start".into());
        }
        Ok(Self { child, input, address })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}
