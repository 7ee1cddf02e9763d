//! The server's process: started, waited for, killed, started again.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::ports::Addresses;

/// The log of the server, beside the configuration that is run.
pub const LOG: &str = "laminardb-demo.log";
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// Where and with what a server runs.
pub struct Setup {
    /// Its configuration.
    pub config: PathBuf,
    /// The broker.
    pub kafka: String,
    /// Where it keeps what is durable.
    pub data_dir: PathBuf,
    /// Its addresses.
    pub addresses: Addresses,
}

/// A running server.
pub struct Server {
    child: Child,
}

impl Server {
    /// Starts a server and waits until it serves. Returns how long that took.
    ///
    /// # Errors
    /// It ends at once, or is not ready in time.
    pub fn start(setup: &Setup) -> Result<(Self, Duration), Failure> {
        let began = Instant::now();
        let ready = setup.data_dir.with_extension("ready");
        let _ = std::fs::remove_file(&ready);
        let child = Command::new(program()?)
            .arg("--config")
            .arg(&setup.config)
            .arg("--ready-file")
            .arg(&ready)
            .env("LAMINAR_KAFKA", &setup.kafka)
            .env("LAMINAR_DATA_DIR", &setup.data_dir)
            .env("LAMINAR_BIND", setup.addresses.http.to_string())
            .env("LAMINAR_PGWIRE_BIND", setup.addresses.pgwire.to_string())
            .stdin(Stdio::null())
            .stdout(log()?)
            .stderr(log()?)
            .spawn()
            .map_err(|error| format!("laminardb-server cannot be started: {error}"))?;
        let mut server = Self { child };
        while !ready.exists() {
            if let Some(status) = server.child.try_wait()? {
                return Err(
                    format!("the server ended at its start ({status}); the reason stands at the end of {LOG}").into()
                );
            }
            if began.elapsed() > START_LIMIT {
                return Err(format!("the server is not ready after {START_LIMIT:?}; see {LOG}").into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok((server, began.elapsed()))
    }

    /// Whether the process is there.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// kill -9.
    ///
    /// # Errors
    /// The process cannot be waited for.
    pub fn kill(&mut self) -> std::io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Server {
    /// SIGTERM, so that it takes its last checkpoint; after the limit SIGKILL.
    fn drop(&mut self) {
        if !self.alive() {
            return;
        }
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let asked = Instant::now();
        while self.alive() && asked.elapsed() < STOP_LIMIT {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.kill();
    }
}

/// The server's binary stands beside this one.
fn program() -> Result<PathBuf, Failure> {
    let here = std::env::current_exe()?;
    let beside = here.parent().unwrap_or(Path::new(".")).join("laminardb-server");
    if beside.exists() { Ok(beside) } else { Err(format!("{} is missing: build it first", beside.display()).into()) }
}

fn log() -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(LOG)
}
