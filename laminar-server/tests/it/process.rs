//! A server process: started, waited for, stopped, killed, started again in the same directory.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take to start or to stop; far above what it takes on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// The first lines of every configuration: ports chosen by the system, few threads.
const SERVER: &str = "[server]\nbind = \"127.0.0.1:0\"\npgwire_bind = \"127.0.0.1:0\"\nworkers = 2\n";

/// A directory with a configuration and data, and the process that serves it.
pub struct Server {
    directory: TempDir,
    child: Option<Child>,
    /// HTTP address.
    pub http: SocketAddr,
    /// PostgreSQL address.
    pub pgwire: SocketAddr,
}

/// Runs the binary to its end.
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it said on standard error.
    pub stderr: String,
}

/// The binary under test.
pub fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_laminardb-server"))
}

/// Runs the binary with arguments in a directory until it ends.
pub fn run(directory: &Path, arguments: &[&str]) -> Ended {
    let output = binary().current_dir(directory).args(arguments).output().expect("the binary runs");
    Ended {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Server {
    /// A server without objects.
    pub fn start() -> Self {
        Self::with("")
    }

    /// A server whose configuration ends with `more`; `[server]` keys come first.
    pub fn with(more: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        Self::made(directory, &data, more)
    }

    /// A server that keeps its data elsewhere.
    pub fn in_data_dir(data: &Path, more: &str) -> Self {
        Self::made(tempfile::tempdir().expect("a directory"), data, more)
    }

    fn made(directory: TempDir, data: &Path, more: &str) -> Self {
        let config = format!("{SERVER}data_dir = \"{}\"\n{more}", data.display());
        std::fs::write(directory.path().join("laminardb.toml"), config).expect("a configuration");
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self { directory, child: None, http: nowhere, pgwire: nowhere };
        server.resume();
        server
    }

    /// The directory that holds configuration, data and log.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.directory().join("data")
    }

    /// Number of the process.
    pub fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory().join("log")).unwrap_or_default()
    }

    /// Starts the process with variables of the environment.
    pub fn launch(&mut self, variables: &[(&str, &str)]) {
        assert!(self.child.is_none(), "the server runs already");
        let _ = std::fs::remove_file(self.directory().join("ready"));
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.directory().join("log")).expect("a log");
        let child = binary()
            .current_dir(self.directory())
            .args(["--ready-file", "ready"])
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        self.child = Some(child);
    }

    /// Starts the process and waits until it serves.
    pub fn resume(&mut self) {
        self.launch(&[]);
        self.wait_ready();
    }

    /// Starts the process with variables of the environment and waits until it serves or ends; then says how.
    pub fn resume_with(&mut self, variables: &[(&str, &str)]) -> Option<ExitStatus> {
        self.launch(variables);
        self.serves_or_ends()
    }

    /// Waits until the process serves.
    pub fn wait_ready(&mut self) {
        if let Some(status) = self.serves_or_ends() {
            panic!("the server ended at its start: {status}\n{}", self.log());
        }
    }

    fn serves_or_ends(&mut self) -> Option<ExitStatus> {
        let ready = self.directory().join("ready");
        let began = Instant::now();
        while !ready.exists() {
            let child = self.child.as_mut().expect("a process that was begun");
            if let Some(status) = child.try_wait().expect("a process") {
                self.child = None;
                return Some(status);
            }
            assert!(began.elapsed() < DEADLINE, "the server is not ready\n{}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
        let addresses: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&ready).expect("a ready file")).expect("JSON");
        let address = |key: &str| addresses[key].as_str().and_then(|a| a.parse().ok()).expect("an address");
        (self.http, self.pgwire) = (address("http"), address("pgwire"));
        None
    }

    /// The HTTP address of a process that was begun, as soon as it listens.
    pub fn listening(&self, lives: usize) -> SocketAddr {
        let began = Instant::now();
        loop {
            let log = self.log();
            let said = log.lines().filter(|line| line.contains("listening")).nth(lives - 1);
            let address = said.and_then(|line| line.split(" http=").nth(1)?.split(' ').next()?.parse().ok());
            if let Some(address) = address {
                return address;
            }
            assert!(began.elapsed() < DEADLINE, "the server does not listen\n{log}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// SIGTERM; returns how the process ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// kill -9.
    pub fn crash(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a process");
            child.wait().expect("a process");
        }
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("a running server");
        let began = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("a process") {
                return status;
            }
            if began.elapsed() > DEADLINE {
                let _ = child.kill();
                panic!("the server does not stop\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits a while for the process to end by itself; then says how.
    pub async fn ends_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        let began = Instant::now();
        while began.elapsed() < patience {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().expect("a process")) {
                self.child = None;
                return Some(status);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        None
    }

    /// A client over the PostgreSQL protocol.
    pub async fn connect(&self) -> tokio_postgres::Client {
        let config = format!("host=127.0.0.1 port={} user=test dbname=laminardb", self.pgwire.port());
        let (client, connection) = tokio_postgres::connect(&config, tokio_postgres::NoTls).await.expect("a connection");
        tokio::spawn(async move {
            // The end of the connection is seen by the client.
            let _ = connection.await;
        });
        client
    }

    /// Asks over HTTP: status and body.
    pub fn http(&self, method: &str, path: &str, json: Option<&str>) -> (u16, String) {
        self.http_as("application/json", method, path, json.unwrap_or_default())
    }

    /// The value of a metric without labels.
    pub fn figure(&self, name: &str) -> f64 {
        let metrics = self.http("GET", "/metrics", None).1;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_else(|| panic!("no metric {name}"))
    }

    /// One HTTP request with a body of this type; status and body of the answer.
    pub fn http_as(&self, content_type: &str, method: &str, path: &str, body: impl AsRef<[u8]>) -> (u16, String) {
        let head = format!("{method} {path} HTTP/1.1\r\nContent-Type: {content_type}");
        ask(self.http, &head, body.as_ref()).expect("an answer")
    }
}

/// One HTTP request: the head without its end, and the body; status and body of the answer. A server that is killed
/// before it has answered is an error.
pub fn ask(address: SocketAddr, head: &str, body: &[u8]) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    let head = format!("{head}\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or(std::io::ErrorKind::UnexpectedEof)?;
    Ok((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
}

impl Drop for Server {
    fn drop(&mut self) {
        self.crash();
    }
}
